"""Rooms of several: viewers follow who speaks."""

import asyncio
import time

from harness.scenario import Env, scenario
from harness.verdict import Wrong, judge_tone
from harness.web import get_json

from .common import CODECS

ALICE, BOB = 0, 1_000_000
HZ = {ALICE: 440, BOB: 660}
# From the page's call to the picture on the viewer's screen: detection, a keyframe, and two busy browsers.
SEEN_WITHIN = 2500
# From the POST to the last of the first pictures, beside other browsers.
ALL_WITHIN = 2500


async def talk(pages: dict, who: int) -> float:
    """One speaks and the other is silent; returns when, in the wall clock's milliseconds."""
    for first, page in pages.items():
        await page.call("talk", "p", first == who)
    return time.time() * 1000


def newest(report: dict) -> int:
    return BOB if report["frames"][-1][0] >= BOB else ALICE


@scenario("a room's viewer follows the speaker")
async def follows(env: Env) -> None:
    pages = {}
    for name, first in (("alice", ALICE), ("bob", BOB)):
        page = pages[first] = await env.page("chromium")
        options = {"id": "p", "url": f"{env.whip}/{name}", "codec": CODECS["VP8"], "fps": 15, "first": first, "hz": HZ[first], "talking": first == ALICE}
        await page.call("publish", options)
    room, fixed = await env.page("chromium"), await env.page("chromium")
    await room.call("watch", {"id": "w", "url": env.whep})
    await fixed.call("watch", {"id": "w", "url": f"{env.whep}?participant=alice"})
    row = env.row()
    for who in (ALICE, BOB, ALICE, BOB):
        at = await talk(pages, who)
        await asyncio.sleep(3)
        report = await room.call("report", "w")
        if not report["frames"] or newest(report) != who:
            raise Wrong(f"the picture is not {'bob' if who else 'alice'}'s")
        first = next(f for f in reversed(report["frames"]) if (f[0] >= BOB) == (who == BOB) and f[2] >= at)
        shown = [f for f in report["frames"] if f[2] >= at and (f[0] >= BOB) == (who == BOB)]
        first = shown[0]
        if first[2] - at > SEEN_WITHIN:
            row.faults.append(f"{first[2] - at:.0f} ms until the picture moved")
        if at > report["frames"][0][2]:
            gaps = [b[2] - a[2] for a, b in zip(report["frames"], report["frames"][1:]) if a[2] >= at]
            row.longest_ms = max(row.longest_ms, *gaps)
        row.first_ms = max(row.first_ms or 0, first[2] - at)
        judge_tone(row, await room.call("tone", "w"), HZ[who])
        row.frames = len(report["frames"])
    report = await fixed.call("report", "w")
    if any(f[0] >= BOB for f in report["frames"]) or not report["frames"]:
        row.faults.append("the viewer of one participant did not stay with it")
    for page in pages.values():
        if page.errors:
            row.faults.append(f"console: {page.errors[:3]}")
    env.check(row)


@scenario("a viewer with slots sees and hears all of a room")
async def slots(env: Env) -> None:
    pages = {}
    for name, first in (("alice", ALICE), ("bob", BOB)):
        page = pages[first] = await env.page("chromium")
        options = {"id": "p", "url": f"{env.whip}/{name}", "codec": CODECS["VP8"], "fps": 15, "first": first, "hz": HZ[first], "width": 320, "height": 180}
        await page.call("publish", options)
    viewer = await env.page("chromium")
    await viewer.call("watch", {"id": "w", "url": env.whep, "videos": 3, "audios": 2})
    named = await viewer.call("slots", "w", 2)
    if sorted(v for v in named.values() if v) != ["alice", "alice", "bob", "bob"]:
        raise Wrong(f"slots: {named}")
    await asyncio.sleep(2)
    report = await viewer.call("report", "w")
    flowing = [r for r in report["rtp"] if r["type"] == "inbound-rtp" and r.get("packetsReceived", 0) > 20]
    mids = {r["mid"] for r in flowing}
    if mids != {mid for mid, who in named.items() if who}:
        raise Wrong(f"media in {sorted(mids)}, told {named}")
    decoded = [r["framesDecoded"] for r in flowing if r["kind"] == "video"]
    row = env.row()
    row.frames = min(decoded)
    if min(decoded) < 10:
        raise Wrong(f"decoded {decoded}")


@scenario("a viewer named like a publisher sees and hears the others only")
async def not_himself(env: Env) -> None:
    people = ["alice", "bob", "carol", "dave"]
    for number, name in enumerate(people):
        page = await env.page("chromium")
        options = {"id": "p", "url": f"{env.whip}/{name}", "codec": CODECS["VP8"], "fps": 10, "first": number * BOB, "width": 320, "height": 180}
        await page.call("publish", options)
    others = ["alice", "carol", "dave"]
    viewer = await env.page("chromium")
    # A section more of each kind than there are others: it stays empty rather than show him to himself.
    await viewer.call("watch", {"id": "w", "url": f"{env.whep}?identity=bob", "videos": 4, "audios": 3, "each": True})
    named = await viewer.call("slots", "w", len(others))
    if sorted(v for v in named.values() if v) != sorted(2 * others):
        raise Wrong(f"slots: {named}")
    await asyncio.sleep(2)
    report = await viewer.call("report", "w")
    row = env.row()
    firsts = {}
    for section in report["pictures"]:
        seen = {people[frame[0] // BOB] for frame in section["frames"]}
        told = {named[section["mid"]]} - {None}
        if seen != told:
            raise Wrong(f"section {section['mid']} shows {sorted(seen)}, told {sorted(told)}")
        firsts.update({name: section["frames"][0][2] - report["postedAt"] for name in seen})
        row.frames = min(row.frames or 1000, len(section["frames"]) or 1000)
    if sorted(firsts) != others:
        raise Wrong(f"pictures of {sorted(firsts)}")
    row.first_ms = max(firsts.values())
    if row.first_ms > ALL_WITHIN:
        row.faults.append(f"first pictures after {firsts} ms")
    env.check(row)


for viewer in ("chromium", "firefox"):

    @scenario(f"sound alone: chromium -> {viewer}")
    async def sound(env: Env, viewer: str = viewer) -> None:
        page = await env.page("chromium")
        await page.call("publish", {"id": "p", "url": env.whip, "soundOnly": True})
        w = await env.page(viewer)
        await w.call("watch", {"id": "w", "url": env.whep})
        await asyncio.sleep(5)
        row = env.row()
        judge_tone(row, await w.call("tone", "w"), 440)
        report = await w.call("report", "w")
        heard = next(r for r in report["rtp"] if r["type"] == "inbound-rtp" and r["kind"] == "audio")
        # The jitter buffer conceals a little at its start, then it plays what comes. (Firefox counts its start-up as delay.)
        concealed = heard["concealedSamples"] / heard["totalSamplesReceived"]
        buffered = 1000 * heard["jitterBufferDelay"] / max(1, heard["jitterBufferEmittedCount"])
        if heard["packetsLost"] or concealed > 0.1 or viewer == "chromium" and buffered > 200 or heard["packetsReceived"] < 200:
            row.faults.append(f"{heard['packetsReceived']} packets, {heard['packetsLost']} lost, {concealed:.3f} concealed, {buffered:.0f} ms buffered")
        row.codec = f"{concealed:.3f}/{buffered:.0f}ms"
        rooms = (await get_json(f"{env.server.http}/api/rooms"))["rooms"]
        room = next(r for r in rooms if r["name"] == env.room)
        # It is told by transport-wide feedback, about one and a half times what arrives.
        estimate = room["viewing"][0].get("estimate")
        if not estimate or not 20_000 < estimate < 400_000:
            row.faults.append(f"estimate {estimate}")
        env.check(row)
