"""The doctor: publishers that have a fault are told so by the API, healthy ones have no findings."""

import asyncio
import time

from harness import clients, media
from harness.scenario import Env, scenario
from harness.verdict import Wrong
from harness.web import get_json

from .processes import published

# What a busy machine does to any publisher.
OF_THE_MACHINE = {"late_frames", "clock_drift"}


async def findings(env: Env) -> list[dict]:
    """What the doctor says of the room's publisher."""
    rooms = (await get_json(f"{env.server.http}/api/rooms"))["rooms"]
    room = next((r for r in rooms if r["name"] == env.room), None)
    return room["participants"][0]["findings"] if room and room["participants"] else []


async def finds(env: Env, code: str, seconds: float) -> dict:
    """Waits for a finding."""
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end:
        found = await findings(env)
        for finding in found:
            if finding["code"] == code:
                return finding
        await asyncio.sleep(0.5)
    raise Wrong(f"{code} was not found; the doctor says {found}")


@scenario("doctor: ffmpeg with a keyframe every 10 s")
async def rare_keyframes(env: Env) -> None:
    client = await env.start(clients.ffmpeg(
        env.whip, "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-re", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-ac", "2",
        "-t", "40", "-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0",
        "-g", "250", "-keyint_min", "250", "-sc_threshold", "0", "-c:a", "libopus",
    ))  # fmt: skip
    await published(env, client)
    finding = await finds(env, "keyframe_interval", 35)
    if "every 10." not in finding["what"] and "every 9." not in finding["what"]:
        raise Wrong(f"a keyframe every 10 s is {finding['what']!r}")
    if "-g" not in finding["change"]["ffmpeg"]:
        raise Wrong(f"no word on -g: {finding['change']}")
    others = {f["code"] for f in await findings(env)} - {"keyframe_interval"} - OF_THE_MACHINE
    if others:
        raise Wrong(f"found what is not there: {others}")


@scenario("doctor: obs-like with B-frames")
async def b_frames(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(640, 360, 800)], bframes=2)
    client = await env.start(clients.obs(env.whip, packets, 12))
    await client.event("playing")
    finding = await finds(env, "b_frames", 8)
    if finding["severity"] != "error":
        raise Wrong(f"B-frames are {finding['severity']}")
    page = await env.page("chromium", f"{env.server.http}/")
    text = f"[...document.querySelectorAll('#rooms > li')].find((card) => card.dataset.room === {env.room!r})?.textContent ?? ''"
    await page.until(f"({text}).includes('B-frames')", 10, "the finding in the room's row of the start page")
    if page.errors:
        raise Wrong(f"console: {page.errors}")


@scenario("doctor: a healthy obs-like publisher has no findings")
async def healthy(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(1280, 720, 2500)])
    client = await env.start(clients.obs(env.whip, packets, 14))
    await client.event("playing")
    await asyncio.sleep(11)
    found = [f for f in await findings(env) if f["code"] not in OF_THE_MACHINE]
    if found:
        raise Wrong(f"the doctor says {found}")
