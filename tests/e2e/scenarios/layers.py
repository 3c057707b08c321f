"""A viewer is moved between the layers of simulcast publishers, and its decoder notices nothing but the size."""

import asyncio
import json
import time
import urllib.request

from harness.freezes import Wish, freezes, unexplained
from harness.scenario import Env, scenario
from harness.verdict import Wrong

from .common import CODECS, publish, see, selected_video, watch

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
    ("AV1", SVC, [{"spatialLayerId": layer} for layer in range(3)]),
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
    # AV1's receivers need descriptors for more than one spatial layer; VP9's do without.
    descriptors = codec == "AV1"

    def meant(wish: dict) -> Wish:
        spatial = wish.get("spatialLayerId", 0 if kind == "simulcast" else 2)
        rid = wish.get("rid", SIMULCAST[-1]["rid"] if kind == "simulcast" else None)
        return Wish(time.time() * 1000, rid, spatial, wish.get("temporalLayerId", 2))

    @scenario(f"layers of chromium {codec} {kind}", heavy=True)
    async def run(env: Env) -> None:
        p = await publish(env, "chromium", codec=CODECS[codec], width=WIDTH, height=HEIGHT, fps=FPS, layers=encodings, notes=True)
        w = await watch(env, "chromium", descriptors=descriptors)
        # The publisher's own estimate has to grow before it sends all of them.
        first = await w.call("choose", "w", {}, WIDTH, 25000)
        if first["ms"] is None:
            raise Wrong(f"the largest layer never came: {first}, {await state(env)}")
        # Another viewer in the same page, which stays with the lowest layer: what halts it too is no switch's fault.
        await w.call("watch", {"id": "still", "url": env.whep, "descriptors": descriptors})
        await w.call("choose", "still", wishes[0], SIZES[0], 6000)
        await asyncio.sleep(2)
        before = selected_video(await w.call("report", "w"))
        made = [meant({})]
        times, shown = [], 2
        for turn in range(SWITCHES):
            shown = (shown + 1 + turn % 2) % 3
            wish = dict(wishes[shown])
            if codec != "H264" and turn % 5 == 4:
                wish["temporalLayerId"] = 1
            made.append(meant(wish))
            told = await w.call("choose", "w", wish, SIZES[shown], 6000)
            if told["status"] != 200 or told["ms"] is None:
                raise Wrong(f"switch {turn} to {wish}: {told} after {times}, {await state(env)}")
            times.append(round(told["ms"]))
            await asyncio.sleep(0.4)
        made.append(meant({}))
        if (await w.call("choose", "w", {}, WIDTH, 6000))["ms"] is None:
            raise Wrong("an empty wish did not return to the best layer")
        refused = await w.call("choose", "w", {"rid": "nosuch"}, WIDTH, 100)
        if not 400 <= refused["status"] < 500:
            raise Wrong(f"an unknown rid gave {refused['status']}")
        report = await w.call("report", "w")
        after = selected_video(report)
        print(f"     {codec} {kind}: ms to the first picture of each switch: {sorted(times)}", flush=True)
        rise = {key: after.get(key, 0) - before.get(key, 0) for key in ("freezeCount", "nackCount", "packetsLost", "framesDropped")}
        control = [f[4] for f in (await w.call("report", "still"))["frames"]]
        pictures = [f[4] for f in report["frames"] if f[4] > made[0].at]
        frozen = unexplained(pictures, made, await p.call("encoded", "p"), control)
        print(f"     {codec} {kind}: {rise}, gaps of Chromium's rule {[round(b - a) for a, b in freezes(pictures)]}", flush=True)
        if frozen or rise["nackCount"] or rise["packetsLost"] > 0:
            raise Wrong(f"over {SWITCHES} switches: {rise}, freezes {frozen}")


for entry in LAYERED:
    add(*entry)


@scenario("layers of chromium VP8 simulcast by SSRCs")
async def by_ssrcs(env: Env) -> None:
    await publish(env, "chromium", codec=CODECS["VP8"], width=WIDTH, height=HEIGHT, fps=FPS, group=len(SIZES))
    w = await watch(env, "chromium")
    times = []
    for width in [SIZES[2], *SIZES, SIZES[0], SIZES[2]]:
        wish = {"maxWidth": width, "maxHeight": width * HEIGHT // WIDTH}
        told = await w.call("choose", "w", wish, width, 25000)
        if told["status"] != 200 or told["ms"] is None:
            raise Wrong(f"{wish}: {told} after {times}, {await state(env)}")
        times.append(round(told["ms"]))
        await asyncio.sleep(0.4)
    after = selected_video(await w.call("report", "w"))
    print(f"     ms to each size: {times}", flush=True)
    if after["nackCount"] or after["packetsLost"] > 0:
        raise Wrong(f"{after}")


@scenario("chromium AV1 SVC -> chromium without descriptors")
async def without_descriptors(env: Env) -> None:
    await publish(env, "chromium", codec=CODECS["AV1"], width=WIDTH, height=HEIGHT, fps=FPS, layers=SVC)
    w = await watch(env, "chromium")
    row = env.row()
    report = await see(env, w, row, seconds=4, fps=FPS)
    if set(report["sizes"]) != {"320x180"}:
        row.faults.append(f"a receiver that can't tell spatial layers apart got {report['sizes']}")
    env.check(row)
