"""Browsers publish and browsers watch, codec by codec."""

from harness.scenario import Env, scenario
from harness.verdict import Wrong

from .common import CODECS, publish, see, watch

PAIRS = [
    ("chromium", "chromium", "VP8", False),
    ("chromium", "chromium", "VP9", False),
    ("chromium", "chromium", "H264", False),
    ("chromium", "chromium", "AV1", True),
    ("chromium", "firefox", "VP8", False),
    ("chromium", "firefox", "H264", False),
    ("firefox", "chromium", "VP8", False),
    ("firefox", "firefox", "VP8", True),
]

# A layer is measured for a second, aimed at within another one, and begins with a keyframe.
TAKEN_WITHIN_MS = 4000.0


def add(publisher: str, viewer: str, codec: str, heavy: bool) -> None:
    """Registers one pair."""

    @scenario(f"{publisher} {codec} -> {viewer}", heavy)
    async def run(env: Env) -> None:
        fps = 15 if codec == "AV1" else 20
        p = await publish(env, publisher, codec=CODECS[codec], fps=fps)
        w = await watch(env, viewer)
        row = env.row()
        await see(env, w, row, fps=fps)
        if row.codec.upper() != codec:
            row.faults.append(f"the viewer decoded {row.codec!r}")
        if p.errors:
            row.faults.append(f"publisher's console: {p.errors[:3]}")
        env.check(row)
        status = await w.call("stop", "w")
        if status != 200 or await p.call("stop", "p") != 200:
            raise Wrong(f"DELETE gave {status}")


for pair in PAIRS:
    add(*pair)


@scenario("chromium VP8 simulcast -> chromium")
async def simulcast(env: Env) -> None:
    layers = [
        {"rid": "l", "scaleResolutionDownBy": 4, "maxBitrate": 150000},
        {"rid": "m", "scaleResolutionDownBy": 2, "maxBitrate": 400000},
        {"rid": "h", "scaleResolutionDownBy": 1, "maxBitrate": 1200000},
    ]
    p = await publish(env, "chromium", codec=CODECS["VP8"], width=1280, height=720, fps=15, layers=layers, notes=True)
    w = await watch(env, "chromium")
    row = env.row()
    report = await see(env, w, row, seconds=9, fps=15)
    # The best layer starts when the publisher's own estimate allows it, on a busy machine after ten seconds and more.
    made = [f[0] for f in await p.call("encoded", "p") if f[1] == "h"]
    newest = report["frames"][-1] if report["frames"] else None
    if newest and made and newest[4] > made[0] + TAKEN_WITHIN_MS and newest[3] != 1280:
        row.faults.append(f"the best layer, which has come for {newest[4] - made[0]:.0f} ms, was not forwarded: {report['sizes']}")
    env.check(row)


def add_audio(codec: str) -> None:
    """Registers one audio codec."""

    @scenario(f"chromium {codec} -> chromium")
    async def run(env: Env) -> None:
        await publish(env, "chromium", codec=CODECS["VP8"], width=320, height=180, fps=10, hz=520, audioCodec={"mime": f"audio/{codec}"})
        w = await watch(env, "chromium")
        row = env.row()
        report = await see(env, w, row, seconds=2, fps=10, hz=520)
        audio = next(r for r in report["rtp"] if r["type"] == "inbound-rtp" and r["kind"] == "audio")
        row.codec += f"+{audio.get('codec', '').removeprefix('audio/')}"
        # Chromium names the codec inside RED, so only the others can be told apart by name.
        if codec != "red" and audio.get("codec") != f"audio/{codec}":
            row.faults.append(f"the viewer plays {audio.get('codec')}")
        env.check(row)


for name in ("PCMU", "PCMA", "G722", "red"):
    add_audio(name)
