"""Publishers get feedback good enough to reach their full bitrate."""

import asyncio

from harness.scenario import Env, scenario
from harness.verdict import Wrong

from .common import CODECS

# Browsers begin at 300 kb/s and probe; without feedback that they trust they stay below a megabit or take minutes.
WITHIN = 25.0
SHARE = 0.9


async def reaches(env: Env, browser: str, goal: int, **options) -> None:
    """A page publishes; waits until its encoders' targets together reach the share of `goal`."""
    page = await env.page(browser)
    await page.call("publish", {"id": "p", "url": env.whip, "width": 1280, "height": 720, "fps": 15, "bitrate": goal, **options})
    row = env.row()
    begin = asyncio.get_running_loop().time()
    seen = []
    while (at := asyncio.get_running_loop().time() - begin) < WITHIN:
        report = await page.call("report", "p")
        video = [r for r in report["rtp"] if r["type"] == "outbound-rtp" and r["kind"] == "video" and r.get("active", True)]
        target = sum(r.get("targetBitrate", 0) for r in video)
        limits = {r.get("qualityLimitationReason") for r in video}
        seen.append((round(at, 1), round(target / 1000), sorted(str(limit) for limit in limits)))
        if target >= SHARE * goal and "bandwidth" not in limits:
            row.tone = f"full in {at:.1f} s"
            row.codec = (video[0].get("codec") or "").removeprefix("video/")
            return
        await asyncio.sleep(0.25)
    raise Wrong(f"{goal / 1000:.0f} kb/s not reached: {seen[:: max(1, len(seen) // 12)]}")


for name in ("VP8", "VP9", "H264", "AV1"):

    @scenario(f"chromium {name} 720p reaches its full bitrate", heavy=True)
    async def full(env: Env, name: str = name) -> None:
        await reaches(env, "chromium", 2_500_000, codec=CODECS[name])


@scenario("chromium simulcast reaches the full bitrate of all layers", heavy=True)
async def simulcast(env: Env) -> None:
    layers = [
        {"rid": "l", "scaleResolutionDownBy": 4, "maxBitrate": 150_000},
        {"rid": "m", "scaleResolutionDownBy": 2, "maxBitrate": 500_000},
        {"rid": "h", "scaleResolutionDownBy": 1, "maxBitrate": 2_000_000},
    ]
    await reaches(env, "chromium", sum(layer["maxBitrate"] for layer in layers), codec=CODECS["VP8"], layers=layers)
