"""A viewer is moved between the layers of simulcast publishers, and its decoder notices nothing but the size."""

import asyncio
import json
import urllib.request

from harness.scenario import Env, scenario
from harness.verdict import Wrong

from .common import CODECS, publish, selected_video, watch

FPS = 15
# Chromium makes three layers of no smaller pictures.
WIDTH, HEIGHT = 1280, 720
SIZES = [320, 640, 1280]
SWITCHES = 34

SIMULCAST = [
    {"rid": "lo", "scaleResolutionDownBy": 4, "maxBitrate": 100000},
    {"rid": "mid", "scaleResolutionDownBy": 2, "maxBitrate": 250000},
    {"rid": "hi", "scaleResolutionDownBy": 1, "maxBitrate": 600000},
]

SVC = [{"scalabilityMode": "L3T3", "maxBitrate": 900000}]

# Codec, encodings, and the wish for each size.
LAYERED = [
    ("VP8", SIMULCAST, [{"rid": e["rid"]} for e in SIMULCAST]),
    ("VP9", SVC, [{"spatialLayerId": layer} for layer in range(3)]),
    ("H264", SIMULCAST, [{"rid": e["rid"]} for e in SIMULCAST]),
]


async def state(env: Env) -> str:
    """What the server says of the room, for a failure's message."""

    def read() -> dict:
        with urllib.request.urlopen(f"{env.server.http}/api/rooms") as reply:
            return json.load(reply)

    rooms = await asyncio.to_thread(read)
    return json.dumps(next((r for r in rooms["rooms"] if r["name"] == env.room), None))


def add(codec: str, encodings: list[dict], wishes: list[dict]) -> None:
    """Registers one codec."""
    kind = "simulcast" if len(encodings) > 1 else "SVC"

    @scenario(f"layers of chromium {codec} {kind}", heavy=True)
    async def run(env: Env) -> None:
        await publish(env, "chromium", codec=CODECS[codec], width=WIDTH, height=HEIGHT, fps=FPS, layers=encodings)
        w = await watch(env, "chromium")
        # The publisher's own estimate has to grow before it sends all of them.
        first = await w.call("choose", "w", {}, WIDTH, 25000)
        if first["ms"] is None:
            raise Wrong(f"the largest layer never came: {first}, {await state(env)}")
        await asyncio.sleep(2)
        before = selected_video(await w.call("report", "w"))
        times, shown = [], 2
        for turn in range(SWITCHES):
            shown = (shown + 1 + turn % 2) % 3
            wish = dict(wishes[shown])
            if codec == "VP9" and turn % 5 == 4:
                # Of this layer, half of the pictures; fewer would count as a freeze, and so does
                # half of them where the encoder leaves one out, as VP8's does at these rates.
                wish["temporalLayerId"] = 1
            told = await w.call("choose", "w", wish, SIZES[shown], 6000)
            if told["status"] != 200 or told["ms"] is None:
                raise Wrong(f"switch {turn} to {wish}: {told} after {times}, {await state(env)}")
            times.append(round(told["ms"]))
            await asyncio.sleep(0.4)
        if (await w.call("choose", "w", {}, WIDTH, 6000))["ms"] is None:
            raise Wrong("an empty wish did not return to the best layer")
        refused = await w.call("choose", "w", {"rid": "nosuch"}, WIDTH, 100)
        if not 400 <= refused["status"] < 500:
            raise Wrong(f"an unknown rid gave {refused['status']}")
        after = selected_video(await w.call("report", "w"))
        print(f"     {codec} {kind}: ms to the first picture of each switch: {sorted(times)}", flush=True)
        rise = {key: after.get(key, 0) - before.get(key, 0) for key in ("freezeCount", "nackCount", "packetsLost", "framesDropped")}
        if rise["freezeCount"] or rise["nackCount"] or rise["packetsLost"] > 0:
            raise Wrong(f"over {SWITCHES} switches: {rise}")


for entry in LAYERED:
    add(*entry)
