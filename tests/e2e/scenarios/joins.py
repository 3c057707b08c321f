"""Joining in the middle of a long keyframe interval, from a publisher that ignores keyframe requests."""

import asyncio
import random

from harness import clients, media
from harness.scenario import Env, scenario
from harness.verdict import Wrong, percentile

from .common import selected_video
from .processes import published

GOP = 10
LENGTH = 20
JOINS = 8
P95_MS = 400.0
WATCHED = 2.0
# A picture is live when it is seen no later than this after its usual time.
LIVE_MS = 100.0


def live_after(frames: list) -> float:
    """Milliseconds from the first picture until pictures come as they do at the end."""
    unrolled, added, before = [], 0, None
    for _, stamp, seen, *_ in frames:
        if before is not None and stamp < before - 1000:
            added += LENGTH * 1000  # the file begins again
        before = stamp
        unrolled.append((stamp + added, seen))
    end = unrolled[-1][1]
    usual = percentile([seen - stamp for stamp, seen in unrolled if seen > end - 1000], 0.5)
    late = [seen for stamp, seen in unrolled if seen - stamp > usual + LIVE_MS]
    return max(late, default=unrolled[0][1]) - unrolled[0][1]


def add(browser: str) -> None:
    """Registers one browser."""

    @scenario(f"ffmpeg, a keyframe every {GOP} s -> {JOINS} joins in {browser}", heavy=True)
    async def run(env: Env) -> None:
        movie = await asyncio.to_thread(media.movie, seconds=LENGTH, gop=GOP)
        client = await env.start(clients.ffmpeg(env.whip, "-re", "-stream_loop", "9", "-i", str(movie), "-c", "copy"))
        await published(env, client)
        page = await env.page(browser)
        # The browser starts its decoders and its network at the first call.
        await page.call("watch", {"id": "warm", "url": env.whep})
        await page.until("e2e.report('warm').then((r) => r.frames.length > 0)", 15, "the first picture")
        await page.call("stop", "warm")
        chance = random.Random(1)
        first, connected, live, frozen, missing = [], [], [], 0, 0
        for n in range(JOINS):
            await asyncio.sleep(chance.uniform(0.2, 1.4))
            id = f"j{n}"
            await page.call("watch", {"id": id, "url": env.whep})
            await asyncio.sleep(WATCHED)
            report = await page.call("report", id)
            await page.call("stop", id)
            if not report["frames"] or report["firstAt"] is None:
                missing += 1
                continue
            first.append(report["firstAt"] - report["postedAt"])
            connected.append(report["connectedAt"] - report["postedAt"])
            live.append(live_after(report["frames"]))
            frozen += selected_video(report).get("freezeCount") or 0
        if missing:
            raise Wrong(f"{missing} of {JOINS} joiners saw nothing within {WATCHED} s")
        of = lambda values: f"p50 {percentile(values, 0.5):.0f} p95 {percentile(values, 0.95):.0f} ms"  # noqa: E731
        print(f"     {browser}: first picture {of(first)}, connected {of(connected)}, live after another {of(live)}, {frozen} freezes")
        row = env.row()
        row.frames, row.first_ms = len(first), percentile(first, 0.95)
        if percentile(first, 0.95) >= P95_MS:
            row.faults.append(f"first picture {of(first)} after the POST: {[round(f) for f in first]}")
        # One joiner may be late where the browser itself had to wait for a core.
        if percentile(live, 0.75) > 1500:
            row.faults.append(f"the live edge came late: {[round(v) for v in live]}")
        if frozen:
            row.faults.append(f"{frozen} freezes")
        env.check(row)


for name in ("chromium", "firefox"):
    add(name)
