"""Browsers behind a path whose rate steps down and up: each gets the layer that fits, and its sound goes on."""

import asyncio
import time
from dataclasses import dataclass

from harness import clients
from harness.browser import Page
from harness.freezes import longest
from harness.scenario import Env, scenario
from harness.verdict import Wrong

from .common import CODECS, publish, selected_video, watch

# Chromium makes three layers of no smaller pictures.
WIDTH, HEIGHT, FPS = 960, 540, 12
SIMULCAST = [
    {"rid": "lo", "scaleResolutionDownBy": 4, "maxBitrate": 100_000},
    {"rid": "mid", "scaleResolutionDownBy": 2, "maxBitrate": 200_000},
    {"rid": "hi", "scaleResolutionDownBy": 1, "maxBitrate": 900_000},
]
SVC = [{"scalabilityMode": "L3T3", "maxBitrate": 1_200_000}]
LAYERED = [("VP8", SIMULCAST), ("H264", SIMULCAST), ("VP9", SVC), ("AV1", SVC)]

# Not even the largest layer's base pictures fit.
NARROW_KBPS = 350
# Two cores encode ten pictures and decode four at a time here: the limits leave room for that.
GROWS_WITHIN = 25.0
SHRINKS_WITHIN = 8.0
NARROW_FOR = 8.0
NARROW_AT_FIRST = 4.0
# A keyframe has to get through what the full queue leaves.
LONGEST_MS = 3000.0
SOUND_SHARE = 0.8


@dataclass
class Pair:
    """A publisher and its viewer."""

    codec: str
    publisher: Page
    viewer: Page

    async def sound(self) -> int:
        """Packets of sound so far."""
        report = await self.viewer.call("report", "w")
        return next(r for r in report["rtp"] if r["type"] == "inbound-rtp" and r["kind"] == "audio")["packetsReceived"]

    async def until(self, condition: str, limit: float) -> float:
        """Waits until the width of the picture meets a condition; returns the seconds that took."""
        begin = time.time()
        await self.viewer.until(f"document.querySelector('video').videoWidth {condition}", limit, f"a width {condition} of {self.codec}")
        return time.time() - begin


@scenario("viewers behind a path that is narrow, wide and narrow again", heavy=True)
async def steps(env: Env) -> None:
    relay = await env.start(clients.relay(env.server.udp_ports, len(LAYERED)))
    relays = (await relay.event("relays"))["relays"]

    async def begin(index: int, codec: str, layers: list[dict]) -> Pair:
        room = f"{env.room}-{codec}"
        options = {"codec": CODECS[codec], "width": WIDTH, "height": HEIGHT, "fps": FPS, "layers": layers, "notes": True, "grainy": True}
        p = await publish(env, "chromium", url=env.server.whip(room), **options)
        w = await watch(env, "chromium", url=env.server.whep(room), descriptors=codec == "AV1", relay=relays[index])
        return Pair(codec, p, w)

    async def step(kbps: int | None) -> None:
        for index in range(len(LAYERED)):
            await relay.tell({"viewer": index, "kbps": kbps})

    await step(NARROW_KBPS)
    pairs = await asyncio.gather(*(begin(i, *entry) for i, entry in enumerate(LAYERED)))

    async def all_until(condition: str, limit: float) -> list[float]:
        return [round(t, 1) for t in await asyncio.gather(*(pair.until(condition, limit) for pair in pairs))]

    # Small first: a layer that was lost soon after it was taken would be taken again only after ten seconds and more.
    await asyncio.sleep(NARROW_AT_FIRST)
    small = f"> 0 && document.querySelector('video').videoWidth < {WIDTH}"
    took = {"small": await all_until(small, SHRINKS_WITHIN)}
    await step(None)
    took["full"] = await all_until(f"=== {WIDTH}", GROWS_WITHIN)
    await asyncio.sleep(1)
    sound = [await pair.sound() for pair in pairs]
    narrow = time.time()
    await step(NARROW_KBPS)
    took["down"] = await all_until(small, SHRINKS_WITHIN)
    await asyncio.sleep(max(0.0, narrow + NARROW_FOR - time.time()))
    wide = time.time()
    heard = [await pair.sound() - before for pair, before in zip(pairs, sound)]
    took["gap"], wrong = [], []
    for pair, packets in zip(pairs, heard):
        report = await pair.viewer.call("report", "w")
        seen = longest([f[4] for f in report["frames"]], narrow * 1000, time.time() * 1000)
        base = [f[0] for f in await pair.publisher.call("encoded", "p") if f[1] in (None, "lo") and f[2:] == [0, 0]]
        made = longest(base, narrow * 1000 - 1000, time.time() * 1000)
        took["gap"].append(round(seen))
        if seen > LONGEST_MS + made:
            wrong.append(f"{pair.codec} stood for {seen:.0f} ms, its encoder for {made:.0f} ms: {selected_video(report)}")
        if packets < SOUND_SHARE * 50 * (wide - narrow):
            wrong.append(f"{pair.codec}: {packets} packets of sound in {wide - narrow:.1f} s")
    print(f"     {[c for c, _ in LAYERED]}: s to a small picture, a full one, a smaller one again; longest gap in ms: {took}; sound {heard}", flush=True)
    if wrong:
        raise Wrong("\n".join(wrong))
