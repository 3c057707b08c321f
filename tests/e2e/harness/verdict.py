"""Judges what a viewer decoded."""

from dataclasses import dataclass, field

# A loaded two-core machine drops pictures at the encoder and at the screen, and browsers show one twice now and then. A broken
# forwarder does far worse: these limits are for it.
LEAST_SHARE = 0.5
MOST_REPEATED = 0.05
MOST_UNREADABLE = 0.05
MOST_DELAY_P50 = 700.0
TONE_TOLERANCE = 12.0
TONE_LEVEL = -60.0
SETTLE_MS = 1000.0
# Each simulcast encoder takes its own time: when the keyframe of a larger picture is there, the next small one may have been
# shown. Nothing that forwards can help that, as it does not have the keyframe any earlier.
MOST_BACK = 1


class Wrong(AssertionError):
    """A client did not see or hear what was sent."""


@dataclass
class Row:
    """One line of the table: what a viewer saw."""

    name: str
    codec: str = ""
    frames: int = 0
    unreadable: int = 0
    repeats: int = 0
    skipped: int = 0
    first_ms: float | None = None
    p50: float | None = None
    p95: float | None = None
    longest_ms: float = 0.0
    tone: str = "-"
    size: str = ""
    faults: list[str] = field(default_factory=list)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def judge(row: Row, report: dict, fps: float, seconds: float, origin: float | None = 0.0, limit: bool = True) -> Row:
    """Fills a row from a viewer's report; collects faults.

    `origin` is added to the stamps to make them wall-clock; None means that the stamps say nothing about time.
    Where the size changes the counter may go back by MOST_BACK.
    """
    frames = report["frames"]
    row.frames, row.unreadable = len(frames), report["unreadable"]
    row.size = max(report["sizes"], key=report["sizes"].get, default="")
    steps = [b[0] - a[0] for a, b in zip(frames, frames[1:])]
    row.repeats = sum(step == 0 for step in steps)
    row.skipped = sum(step - 1 for step in steps if step > 1)
    led_back = lambda a, b: b[0] < a[0] - (MOST_BACK if a[3] != b[3] else 0)  # noqa: E731
    pairs = zip(frames, frames[1:])
    backward = [f"{a[0]} to {b[0]} at {a[3]} to {b[3]} px, {b[2] - frames[0][2]:.0f} ms in" for a, b in pairs if led_back(a, b)]
    row.longest_ms = max((b[2] - a[2] for a, b in zip(frames, frames[1:])), default=0.0)
    for video in report.get("rtp", []):
        if video["type"] == "inbound-rtp" and video["kind"] == "video":
            row.codec = (video.get("codec") or "").removeprefix("video/")
    if frames:
        row.first_ms = frames[0][2] - report["connectedAt"] if report.get("connectedAt") else None
        settled = [f for f in frames if f[2] >= frames[0][2] + SETTLE_MS]
        if origin is not None and settled:
            delays = [f[2] - (f[1] + origin) for f in settled]
            row.p50, row.p95 = percentile(delays, 0.5), percentile(delays, 0.95)
            if limit and row.p50 > MOST_DELAY_P50:
                row.faults.append(f"delay p50 {row.p50:.0f} ms > {MOST_DELAY_P50:.0f} ms")
            if min(delays) < -50:
                row.faults.append(f"a picture was seen {-min(delays):.0f} ms before it was drawn")
    total = row.frames + row.unreadable
    if row.frames < LEAST_SHARE * fps * seconds:
        row.faults.append(f"{row.frames} pictures in {seconds:.1f} s at {fps:g} fps")
    if total and row.unreadable > max(MOST_UNREADABLE * total, 2):
        row.faults.append(f"{row.unreadable} of {total} pictures do not read")
    if row.repeats > max(MOST_REPEATED * total, 2):
        row.faults.append(f"{row.repeats} repeated pictures")
    if backward:
        row.faults.append(f"the counter went back: {backward[:3]}")
    return row


def judge_tone(row: Row, heard: list[dict], hz: float) -> Row:
    """The tone must be the strongest thing heard in most looks."""
    good = [h for h in heard if h["db"] > TONE_LEVEL and abs(h["hz"] - hz) <= TONE_TOLERANCE]
    if heard and len(good) * 2 > len(heard):
        row.tone = f"{good[0]['hz']:.0f} Hz"
    else:
        row.tone = "NO"
        row.faults.append(f"the {hz:g} Hz tone was not heard: {[(round(h['hz']), round(h['db'])) for h in heard]}")
    return row


def table(rows: list[Row]) -> str:
    """The rows as text, glass-to-glass delay in milliseconds."""
    head = ("client -> client", "codec", "size", "frames", "unread", "repeat", "skip", "first ms", "p50 ms", "p95 ms", "gap ms", "tone")
    whole = lambda v: "-" if v is None else f"{v:.0f}"  # noqa: E731
    body = [
        (r.name, r.codec, r.size, r.frames, r.unreadable, r.repeats, r.skipped, whole(r.first_ms), whole(r.p50), whole(r.p95), whole(r.longest_ms), r.tone)
        for r in rows
    ]
    cells = [[str(c) for c in line] for line in [head, *body]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in cells)
