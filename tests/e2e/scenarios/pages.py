"""The pages that the server itself serves, used as a person would, with a quiet console."""

import asyncio
from pathlib import Path

from harness.browser import Page
from harness.scenario import Env, scenario
from harness.verdict import Row, Wrong, judge

PATTERN = (Path(__file__).resolve().parents[1] / "web/pattern.js").read_text().replace("export ", "")
# The page's own tone: 440 Hz on the left, 660 Hz on the right.


async def observe(page: Page) -> None:
    """Puts our own pattern reader on the page's video element."""
    await page.until("[...document.querySelectorAll('video')].some((v) => v.videoWidth > 0)", 15, "a playing video element")
    await page.evaluate(
        f"(() => {{ {PATTERN}\n window.seen = {{ frames: [], unreadable: 0, sizes: {{}} }};"
        " observe([...document.querySelectorAll('video')].find((v) => v.videoWidth > 0), window.seen); return 1; })()"
    )


async def look(page: Page, row: Row, seconds: float, fps: float) -> None:
    """Watches the page for a while and judges."""
    await asyncio.sleep(seconds)
    judge(row, await page.evaluate("window.seen"), fps, seconds)
    if page.errors:
        row.faults.append(f"console: {page.errors[:3]}")


def add(viewer: str) -> None:
    """Registers the pages with one viewer's browser."""

    @scenario(f"pages: /publish test pattern -> /watch in {viewer}", heavy=viewer == "firefox")
    async def run(env: Env) -> None:
        http = env.server.http
        p = await env.page("chromium", f"{http}/publish/{env.room}?source=pattern&size=640x360&fps=15&codec=VP8&start=1")
        await p.until("window.weir && weir.state === 'live'", 15, "the publish page to be live")
        w = await env.page(viewer, f"{http}/watch/{env.room}")
        await observe(w)
        row = env.row()
        await look(w, row, 5, 15)
        row.codec = "VP8"
        if p.errors:
            row.faults.append(f"publisher's console: {p.errors[:3]}")
        env.check(row)
        rooms = await w.evaluate("fetch('/api/rooms').then((r) => r.json())")
        room = next((r for r in rooms["rooms"] if r["name"] == env.room), None)
        if not room or not room["participants"] or room["viewers"] < 1:
            raise Wrong(f"/api/rooms says {room}")
        await p.evaluate("weir.stop().then(() => 1)")


for name in ("chromium", "firefox"):
    add(name)


@scenario("pages: the quality menu chooses layers, and automatic follows the player's size", heavy=True)
async def quality(env: Env) -> None:
    http = env.server.http
    p = await env.page("chromium", f"{http}/publish/{env.room}?source=pattern&size=960x540&fps=15&codec=VP8&simulcast=1&start=1")
    await p.until("window.weir && weir.state === 'live'", 15, "the publish page to be live")
    w = await env.page("chromium", f"{http}/watch/{env.room}")
    await w.until("weir.state === 'playing'", 15, "the watch page to play")
    await w.until("Object.values(weir.first.quality.options).filter((text) => /\\d+p .*bit/.test(text)).length === 3", 20, "three layers in the menu")
    width = "document.querySelector('video').videoWidth"
    keys = await w.evaluate("Object.keys(weir.first.quality.options)")
    for key, wide in ((keys[3], 240), (keys[2], 480), (keys[1], 960)):
        # As a hand on the keyboard would: the select's own event.
        await w.evaluate(f"(() => {{ const menu = document.querySelector('select.quality'); menu.value = {key!r}; menu.dispatchEvent(new Event('change')); }})()")
        await w.until(f"{width} === {wide}", 15, f"the layer of width {wide}")
        await w.until("weir.first.quality.slot?.automatic === false", 10, "the event that says so")
    # A small player does with a small layer, a large one gets the largest.
    await w.evaluate("(weir.first.quality.value = 'auto', document.querySelector('.player').style.width = '200px', document.querySelector('.player').style.minWidth = 0, 1)")
    await w.until(f"{width} === 240", 20, "the layer that fits a small player")
    await w.evaluate("(document.querySelector('.player').style.width = '', document.querySelector('.player').style.minWidth = '', 1)")
    await w.until(f"{width} > 240", 20, "a larger layer for a larger player")
    await p.until("weir.findings !== null", 10, "the doctor's word on the publish page")
    found = await p.evaluate("weir.findings")
    wrong = [f["code"] for f in found if f["code"] not in ("late_frames", "clock_drift", "dead_layer")]
    if wrong or p.errors or w.errors:
        raise Wrong(f"the doctor says {wrong}; consoles: {p.errors} {w.errors}")


@scenario("pages: the start page")
async def start_page(env: Env) -> None:
    page = await env.page("chromium", f"{env.server.http}/")
    text = await page.evaluate("document.body.innerText")
    for word in ("OBS", "FFmpeg", "GStreamer"):
        if word.lower() not in text.lower():
            raise Wrong(f"the start page says nothing about {word}")
    if page.errors:
        raise Wrong(f"console: {page.errors}")
