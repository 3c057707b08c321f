"""Which freezes a viewer owes to the server: those that neither the publisher's encoder nor the machine made."""

from dataclasses import dataclass

# Chromium's rule for `freezeCount` (W3C webrtc-stats): a gap is a freeze when it is longer than three average ones and than
# an average one and 150 ms.
EXTRA_MS = 150.0
FACTOR = 3
AVERAGE_OVER = 30
# A gap that is longer than its cause by less than this has no other one: decoders and screens jitter.
SLACK_MS = 120.0
# What was encoded is shown within this.
ON_THE_WAY_MS = 1200.0


@dataclass
class Wish:
    """What was asked for from `at` (ms) on: of a rid (None without simulcast) and up to layers."""

    at: float
    rid: str | None
    spatial: int
    temporal: int

    def has(self, frame: list) -> bool:
        """An encoded frame [at, rid, spatial, temporal] is the top one of its picture, so that the picture is shown with it."""
        return frame[1] == self.rid and frame[2] == self.spatial and frame[3] <= self.temporal


def freezes(shown: list[float]) -> list[tuple[float, float]]:
    """The gaps that Chromium counts as freezes among the times (ms) at which pictures were shown."""
    gaps = [b - a for a, b in zip(shown, shown[1:])]
    found = []
    for at, gap in enumerate(gaps):
        before = gaps[max(0, at - AVERAGE_OVER) : at]
        if not before:
            continue
        average = sum(before) / len(before)
        if gap > max(FACTOR * average, average + EXTRA_MS):
            found.append((shown[at], shown[at + 1]))
    return found


def longest(times: list[float], since: float, until: float) -> float:
    """The longest gap among times that touches a span."""
    return max((b - a for a, b in zip(times, times[1:]) if b > since and a < until), default=0.0)


def unexplained(shown: list[float], wishes: list[Wish], encoded: list[list], control: list[float]) -> list[str]:
    """The freezes of a viewer that another one of the same publisher did not have, nor the encoder's output for the viewer's wishes."""
    wrong = []
    for begin, end in freezes(shown):
        since = begin - ON_THE_WAY_MS
        in_force = [w for w, after in zip(wishes, [*wishes[1:], None]) if w.at < end and (after is None or after.at > since)]
        by_encoder = max((longest([f[0] for f in encoded if w.has(f)], since, end) for w in in_force), default=0.0)
        by_machine = longest(control, begin, end)
        if end - begin > max(by_encoder, by_machine) + SLACK_MS:
            wrong.append(f"{end - begin:.0f} ms at {begin - shown[0]:.0f} ms, encoder {by_encoder:.0f}, viewer without switches {by_machine:.0f}")
    return wrong
