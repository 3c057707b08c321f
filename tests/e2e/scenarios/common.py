"""Steps that scenarios share."""

import asyncio

from harness.browser import Page
from harness.scenario import Env
from harness.verdict import Row, judge, judge_tone

SECONDS = 5.0
FPS = 20
H264 = {"mime": "video/H264", "fmtp": "profile-level-id=42e01f"}
CODECS = {"VP8": {"mime": "video/VP8"}, "VP9": {"mime": "video/VP9", "fmtp": "profile-id=0"}, "H264": H264, "AV1": {"mime": "video/AV1"}}


async def publish(env: Env, browser: str, page: Page | None = None, **options) -> Page:
    """A browser page publishes the pattern; returns it once it is connected."""
    page = page or await env.page(browser)
    options = {"id": "p", "url": env.whip, "fps": FPS, **options}
    await page.call("publish", options)
    return page


async def watch(env: Env, browser: str, **options) -> Page:
    """A browser page watches; returns it once it is connected."""
    page = await env.page(browser)
    await page.call("watch", {"id": "w", "url": env.whep, **options})
    return page


async def see(env: Env, page: Page, row: Row, seconds: float = SECONDS, fps: float = FPS, hz: float | None = 440, origin: float | None = 0.0) -> dict:
    """Lets a viewer watch, then judges picture and sound; returns its report."""
    await page.until("e2e.report('w').then((r) => r.frames.length > 0)", 10, "the first picture")
    await asyncio.sleep(seconds)
    heard = await page.call("tone", "w") if hz else []
    report = await page.call("report", "w")
    judge(row, report, fps, seconds, origin)
    if hz:
        judge_tone(row, heard, hz)
    if page.errors:
        row.faults.append(f"console: {page.errors[:3]}")
    return report


def selected_video(report: dict) -> dict:
    """The inbound video statistics of a browser's report."""
    return next(r for r in report["rtp"] if r["type"] == "inbound-rtp" and r["kind"] == "video")
