"""Publishers get feedback good enough to reach their full bitrate."""

import asyncio

from harness import clients
from harness.scenario import Env, scenario
from harness.verdict import Wrong
from harness.web import get_json

from .common import CODECS

# Browsers begin at 300 kb/s and probe; without feedback that they trust they stay below a megabit or take minutes.
WITHIN = 25.0
SHARE = 0.9


async def reaches(env: Env, browser: str, goal: int, **options) -> None:
    """A page publishes; waits until its encoders' targets together reach the share of `goal`."""
    page = await env.page(browser)
    await page.call("publish", {"id": "p", "url": env.whip, "width": 1280, "height": 720, "fps": 15, "bitrate": goal, **options})
    row = env.row()
    begin = asyncio.get_running_loop().time()
    seen = []
    while (at := asyncio.get_running_loop().time() - begin) < WITHIN:
        report = await page.call("report", "p")
        video = [r for r in report["rtp"] if r["type"] == "outbound-rtp" and r["kind"] == "video" and r.get("active", True)]
        target = sum(r.get("targetBitrate", 0) for r in video)
        limits = {r.get("qualityLimitationReason") for r in video}
        seen.append((round(at, 1), round(target / 1000), sorted(str(limit) for limit in limits)))
        if target >= SHARE * goal and "bandwidth" not in limits:
            row.tone = f"full in {at:.1f} s"
            row.codec = (video[0].get("codec") or "").removeprefix("video/")
            return
        await asyncio.sleep(0.25)
    raise Wrong(f"{goal / 1000:.0f} kb/s not reached: {seen[:: max(1, len(seen) // 12)]}")


async def arrives(env: Env, codec: str, goal: int) -> None:
    """Waits until so much video of the room's publisher arrives."""
    row = env.row()
    begin = asyncio.get_running_loop().time()
    seen = []
    while (at := asyncio.get_running_loop().time() - begin) < WITHIN:
        rooms = (await get_json(f"{env.server.http}/api/rooms"))["rooms"]
        tracks = [t for r in rooms if r["name"] == env.room for p in r["participants"] for t in p["tracks"]]
        rate = next((t["bitrate"] for t in tracks if t["kind"] == "video"), 0)
        seen.append((round(at, 1), round(rate / 1000)))
        if rate >= SHARE * goal:
            row.tone, row.codec = f"full in {at:.1f} s", codec
            return
        await asyncio.sleep(0.25)
    raise Wrong(f"{goal / 1000:.0f} kb/s not reached: {seen[:: max(1, len(seen) // 20)]}")


for name in ("VP8", "VP9", "H264", "AV1"):

    @scenario(f"chromium {name} 720p reaches its full bitrate", heavy=True)
    async def full(env: Env, name: str = name) -> None:
        await reaches(env, "chromium", 2_500_000, codec=CODECS[name])


@scenario("chromium simulcast reaches the full bitrate of all layers", heavy=True)
async def simulcast(env: Env) -> None:
    layers = [
        {"rid": "l", "scaleResolutionDownBy": 4, "maxBitrate": 150_000},
        {"rid": "m", "scaleResolutionDownBy": 2, "maxBitrate": 500_000},
        {"rid": "h", "scaleResolutionDownBy": 1, "maxBitrate": 2_000_000},
    ]
    await reaches(env, "chromium", sum(layer["maxBitrate"] for layer in layers), codec=CODECS["VP8"], layers=layers)


# aiortc knows no transport-wide feedback: it encodes at 500 kb/s until a REMB says otherwise, and at these at most.
# (3 Mb/s with H.264, but at 30 pictures a second, and half of them come.)
AIORTC = {"VP8": 1_500_000, "H264": 1_500_000}

for name in AIORTC:

    @scenario(f"aiortc {name} reaches its full bitrate by REMB")
    async def by_remb(env: Env, name: str = name) -> None:
        client = await env.start(clients.aiortc("publish", env.whip, WITHIN + 5, "--busy", codec=f"video/{name}"))
        await client.event("connected")
        await arrives(env, name, AIORTC[name])


@scenario("firefox VP8 720p reaches its full bitrate", heavy=True)
async def firefox(env: Env) -> None:
    # Firefox does not tell its encoder's target.
    page = await env.page("firefox")
    await page.call("publish", {"id": "p", "url": env.whip, "width": 1280, "height": 720, "fps": 15, "bitrate": 2_500_000, "busy": True, "codec": CODECS["VP8"]})
    await arrives(env, "VP8", 2_500_000)
