"""Publishers and viewers that are not browsers: FFmpeg, GStreamer, aiortc, and a client that behaves as OBS does."""

import asyncio
import contextlib
import time

from harness import clients, media
from harness.pattern import Painter
from harness.scenario import Env, scenario
from harness.verdict import Wrong, judge, judge_tone

from .common import CODECS, publish, see, watch


@scenario("ffmpeg -f whip, file H264 -> chromium")
async def ffmpeg_file(env: Env) -> None:
    movie = await asyncio.to_thread(media.movie)
    client = await env.start(clients.ffmpeg(env.whip, "-re", "-i", str(movie), "-t", "11", "-c", "copy"))
    await published(env, client)
    w = await watch(env, "chromium")
    row = env.row()
    # A file says nothing about when FFmpeg read a frame.
    await see(env, w, row, fps=25, origin=None)
    env.check(row)
    if await client.ended() != 0:
        raise Wrong("ffmpeg failed:\n" + "\n".join(client.output[-10:]))


@scenario("ffmpeg -f whip, live H264 -> chromium", heavy=True)
async def ffmpeg_live(env: Env) -> None:
    width, height, fps = 640, 360, 20
    client = await env.start(clients.ffmpeg(
        env.whip, "-fflags", "nobuffer", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(fps),
        "-thread_queue_size", "4", "-i", "-", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-ac", "2",
        "-filter:a", "volume=6dB", "-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency",
        "-g", str(fps * 2), "-b:v", "1000k", "-c:a", "libopus", "-b:a", "64k",
    ))  # fmt: skip

    async def feed() -> None:
        painter, n, begin = Painter(width, height), 0, time.time()
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(max(0, begin + n / fps - time.time()))
                client.process.stdin.write(painter.i420(n, int(time.time() * 1000)))
                await client.process.stdin.drain()
                n += 1

    feeder = asyncio.create_task(feed())
    try:
        await published(env, client)
        w = await watch(env, "chromium")
        row = env.row()
        await see(env, w, row, fps=fps)
        env.check(row)
    finally:
        feeder.cancel()


async def published(env: Env, client: clients.Client) -> None:
    """Waits until the server knows the room of a client that says nothing about its state."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if client.process.returncode is not None:
            raise Wrong(f"{client.name} ended:\n" + "\n".join(client.output[-12:]))
        if any("WHIP" in line and "eady" in line for line in client.output) or any("Output #0" in line for line in client.output):
            return
        await asyncio.sleep(0.05)
    raise Wrong(f"{client.name} did not connect:\n" + "\n".join(client.output[-12:]))


def add_gstreamer(codec: str) -> None:
    """Registers GStreamer with one codec."""

    @scenario(f"gstreamer webrtcbin {codec} -> chromium")
    async def run(env: Env) -> None:
        client = await env.start(clients.gstreamer(env.whip, 12, codec=codec))
        await client.event("connected")
        w = await watch(env, "chromium")
        row = env.row()
        await see(env, w, row)
        env.check(row)
        await client.ended()
        if {"event": "deleted", "status": 200} not in client.events:
            raise Wrong("DELETE failed:\n" + "\n".join(client.output[-5:]))


for name in ("H264", "VP8"):
    add_gstreamer(name)


# aiortc's encoders work at 500 kbit/s and blur small things that stand still; here a block of the code is a whole macroblock.
AIORTC = {"size": "1280x720", "fps": 12}


def add_aiortc(codec: str) -> None:
    """Registers aiortc as publisher and as viewer of one codec."""

    @scenario(f"aiortc {codec} -> chromium")
    async def out(env: Env) -> None:
        client = await env.start(clients.aiortc("publish", env.whip, 20, codec=f"video/{codec}", **AIORTC))
        await client.event("connected")
        w = await watch(env, "chromium")
        row = env.row()
        await see(env, w, row, fps=12)
        env.check(row)

    @scenario(f"chromium {codec} -> aiortc")
    async def back(env: Env) -> None:
        await publish(env, "chromium", codec=CODECS[codec])
        client = await env.start(clients.aiortc("watch", env.whep, 7))
        report = (await client.event("report", 25))["report"]
        row = env.row()
        row.codec = codec
        judge(row, report, 20, 6)
        judge_tone(row, report["tone"], 440)
        env.check(row)


for name in ("VP8", "H264"):
    add_aiortc(name)


@scenario("aiortc VP8 -> aiortc")
async def aiortc_both(env: Env) -> None:
    publisher = await env.start(clients.aiortc("publish", env.whip, 20, codec="video/VP8", hz=600, **AIORTC))
    await publisher.event("connected")
    viewer = await env.start(clients.aiortc("watch", env.whep, 6))
    report = (await viewer.event("report", 25))["report"]
    row = env.row()
    row.codec = "VP8"
    judge(row, report, 12, 5)
    judge_tone(row, report["tone"], 600)
    env.check(row)


@scenario("obs-like H264 -> chromium")
async def obs(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(1280, 720, 2500)])
    client = await env.start(clients.obs(env.whip, packets, 10))
    begin = (await client.event("playing"))["at"]
    w = await watch(env, "chromium")
    row = env.row()
    await see(env, w, row, fps=25, origin=begin)
    env.check(row)
    await client.ended()
    if (await client.event("deleted"))["status"] != 200:
        raise Wrong("OBS wants 200 for DELETE, also after it closed the connection")


@scenario("obs-like H264, unnegotiated rid -> chromium")
async def obs_rid(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(1280, 720, 2500)])
    client = await env.start(clients.obs(env.whip, packets, 12, "--unnegotiatedRid"))
    begin = (await client.event("playing"))["at"]
    w = await watch(env, "chromium")
    row = env.row()
    await see(env, w, row, seconds=3, fps=25, origin=begin)
    env.check(row)


@scenario("obs-like H264 simulcast 0;1;2 -> chromium")
async def obs_simulcast(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(1280, 720, 2500), (640, 360, 800), (320, 180, 250)])
    client = await env.start(clients.obs(env.whip, packets, 14, layers=3))
    begin = (await client.event("playing"))["at"]
    w = await watch(env, "chromium")
    row = env.row()
    report = await see(env, w, row, seconds=6, fps=25, origin=begin)
    if report["frames"] and report["frames"][-1][3] != 1280:
        row.faults.append(f"the best layer (rid 0, 1280 wide) did not arrive: {report['sizes']}")
    env.check(row)
