"""What happens to a running session: waiting, joining late, publishers that go and come back, other paths."""

import asyncio
import time

from harness import clients, media
from harness.scenario import Env, scenario
from harness.verdict import Wrong, judge, judge_tone

from .common import CODECS, SECONDS, publish, see, selected_video, watch

SOON_MS = 1000.0
# From the server's first packet to a shown picture a loaded machine adds the decoder's start and the screen's turn.
SLACK_MS = 500.0
SECOND = 1_000_000
GONE = "e2e.report('w').then((r) => r.state)"


@scenario("a viewer waits for the publisher")
async def viewer_first(env: Env) -> None:
    w = await watch(env, "chromium")
    await asyncio.sleep(1)
    p = await publish(env, "chromium", codec=CODECS["VP8"])
    row = env.row()
    report = await see(env, w, row, seconds=3)
    connected = (await p.call("report", "p"))["connectedAt"]
    row.first_ms = report["frames"][0][2] - connected
    if row.first_ms > SOON_MS + SLACK_MS:
        row.faults.append(f"the first picture came {row.first_ms:.0f} ms after the publisher connected")
    env.check(row)


def add_late(codec: str) -> None:
    """Registers a joiner in the middle of an endless group of pictures."""

    @scenario(f"a late joiner sees {codec} within a second")
    async def run(env: Env) -> None:
        await publish(env, "chromium", codec=CODECS[codec])
        first = await watch(env, "chromium")
        await first.until("e2e.report('w').then((r) => r.frames.length > 20)")
        await asyncio.sleep(2)
        await first.call("clear", "w")
        late = await watch(env, "chromium")
        row = env.row()
        await see(env, late, row, seconds=2)
        if row.first_ms > SOON_MS + SLACK_MS:
            row.faults.append(f"the first picture came {row.first_ms:.0f} ms after connecting")
        seen = judge(env.row(f"{env.name}, the one who was there"), await first.call("report", "w"), 20, 2)
        env.check(row, seen)


for name in ("VP8", "H264"):
    add_late(name)


@scenario("a late joiner of a publisher that ignores PLI")
async def late_obs(env: Env) -> None:
    packets = await asyncio.to_thread(media.packets, [(1280, 720, 2500)])
    client = await env.start(clients.obs(env.whip, packets, 14))
    begin = (await client.event("playing"))["at"]
    await asyncio.sleep(max(0.0, begin / 1000 + 2.6 - time.time()))
    w = await watch(env, "chromium")
    row = env.row()
    await see(env, w, row, seconds=3, fps=25, origin=begin)
    # Key frames come every two seconds, so this is what a joiner waits at most.
    if row.first_ms > 2000 + SLACK_MS:
        row.faults.append(f"the first picture came {row.first_ms:.0f} ms after connecting")
    env.check(row)


async def comes_back(env: Env, end) -> None:
    """A publisher ends somehow (`end` gets its page), another one takes its place: the viewer's session goes on."""
    p = await publish(env, "chromium", codec=CODECS["VP8"])
    w = await watch(env, "chromium")
    await w.until("e2e.report('w').then((r) => r.frames.length > 20)")
    before = selected_video(await w.call("report", "w"))
    await end(p)
    await w.call("clear", "w")
    q = await publish(env, "chromium", codec=CODECS["VP8"], first=SECOND, hz=700)
    await w.until(f"e2e.report('w').then((r) => r.frames.some((f) => f[0] >= {SECOND}))", 10, "the new publisher's picture")
    await asyncio.sleep(3)
    heard = await w.call("tone", "w")
    report = await w.call("report", "w")
    connected = (await q.call("report", "p"))["connectedAt"]
    report["frames"] = [f for f in report["frames"] if f[0] >= SECOND]
    row = env.row()
    judge(row, report, 20, 3)
    judge_tone(row, heard, 700)
    row.first_ms = report["frames"][0][2] - connected
    if row.first_ms > SOON_MS + SLACK_MS:
        row.faults.append(f"pictures came back {row.first_ms:.0f} ms after the new publisher connected")
    after = selected_video(report)
    if after["ssrc"] != before["ssrc"]:
        row.faults.append("the viewer's SSRC changed")
    if after["framesDecoded"] < before["framesDecoded"]:
        row.faults.append("the viewer's session was replaced")
    env.check(row)


@scenario("a publisher stops and comes back")
async def restart(env: Env) -> None:
    async def end(page) -> None:
        await page.call("stop", "p")

    await comes_back(env, end)


@scenario("a publisher vanishes and comes back")
async def vanish(env: Env) -> None:
    async def end(page) -> None:
        await page.call("stop", "p", True)

    await comes_back(env, end)


@scenario("a second publisher takes over")
async def takeover(env: Env) -> None:
    pages = []

    async def end(page) -> None:
        pages.append(page)

    await comes_back(env, end)
    # The old peer is told by close_notify: its transport closes without waiting for a time-out.
    await pages[0].until("e2e.report('p').then((r) => r.state !== 'connected')", 5, "the old publisher to be closed")


@scenario("a publisher changes its codec")
async def codec_change(env: Env) -> None:
    p = await publish(env, "chromium", codec=CODECS["VP8"])
    w = await watch(env, "chromium")
    await w.until("e2e.report('w').then((r) => r.frames.length > 20)")
    await p.call("stop", "p")
    await publish(env, "chromium", codec=CODECS["H264"], first=SECOND)
    await w.until(f"e2e.report('w').then((r) => r.frames.some((f) => f[0] >= {SECOND}))", 10, "a picture in the new codec")
    await w.call("clear", "w")
    row = env.row()
    await see(env, w, row, seconds=3)
    if row.codec != "H264":
        row.faults.append(f"the viewer decodes {row.codec}")
    env.check(row)


def add_ice_restart(side: str) -> None:
    """Registers an ICE restart of the publisher or of the viewer."""

    @scenario(f"the {side} restarts ICE")
    async def run(env: Env) -> None:
        p = await publish(env, "chromium", codec=CODECS["VP8"])
        w = await watch(env, "chromium")
        await w.until("e2e.report('w').then((r) => r.frames.length > 10)")
        page, name = (p, "p") if side == "publisher" else (w, "w")
        before = (await page.call("report", name))["pair"]
        answer = await page.call("restartIce", name)
        if answer["oldEtag"] == answer["etag"] or not answer["etag"]:
            raise Wrong(f"the ETag did not change: {answer['oldEtag']} -> {answer['etag']}")
        await page.until(f"e2e.report({name!r}).then((r) => r.pair && r.pair.port !== {before['port']})", 8, "a new local port")
        await w.call("clear", "w")
        row = env.row()
        await see(env, w, row, seconds=4)
        after = (await page.call("report", name))["pair"]
        if after["port"] == before["port"]:
            row.faults.append(f"the 5-tuple is the old one: {after}")
        env.check(row)


for name in ("publisher", "viewer"):
    add_ice_restart(name)


@scenario("an ICE restart whose reply is lost")
async def lost_restart(env: Env) -> None:
    await publish(env, "chromium", codec=CODECS["VP8"])
    w = await watch(env, "chromium")
    await w.until("e2e.report('w').then((r) => r.frames.length > 10)")
    await w.call("restartIce", "w", True)
    # Longer than a browser goes on without answers to its checks.
    await asyncio.sleep(20)
    await w.call("clear", "w")
    row = env.row()
    report = await see(env, w, row, seconds=3)
    if report["state"] != "connected":
        row.faults.append(f"the viewer is {report['state']}")
    env.check(row)


def add_tcp(side: str) -> None:
    """Registers a client whose UDP is blocked."""

    @scenario(f"the {side} has only TCP")
    async def run(env: Env) -> None:
        only = {"tcpOnly": True}
        p = await publish(env, "chromium", codec=CODECS["VP8"], **(only if side == "publisher" else {}))
        w = await watch(env, "chromium", **(only if side == "viewer" else {}))
        row = env.row()
        report = await see(env, w, row, seconds=SECONDS)
        pair = report["pair"] if side == "viewer" else (await p.call("report", "p"))["pair"]
        if pair["protocol"] != "tcp":
            row.faults.append(f"the pair in use is {pair}")
        env.check(row)


for name in ("publisher", "viewer"):
    add_tcp(name)
