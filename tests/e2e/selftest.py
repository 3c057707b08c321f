"""Proves that the judge of the end-to-end tests can fail, and that the picture's code reads back. Needs no server."""

import sys
import unittest

import numpy as np

from harness.freezes import Wish, freezes, unexplained
from harness.pattern import Painter, read
from harness.verdict import Row, judge, judge_tone

FPS = 20


def report(counters, delay=80.0, unreadable=0, wide_from=None):
    """What a viewer of these counters would report, one picture every 50 ms; from picture `wide_from` on it is twice as wide."""
    start = 1_700_000_000_000
    wide = lambda i: wide_from is not None and i >= wide_from  # noqa: E731
    frames = [[n, start + i * 50, start + i * 50 + delay, 1280 if wide(i) else 640] for i, n in enumerate(counters)]
    return {"frames": frames, "unreadable": unreadable, "sizes": {"640x360": len(frames)}, "connectedAt": start}


class Judge(unittest.TestCase):
    """Each fault is found, and a good run has none."""

    def faults(self, *args, **kwargs):
        return " ".join(judge(Row("x"), report(*args, **kwargs), FPS, 5).faults)

    def test_a_good_run_passes(self):
        row = judge(Row("x"), report(range(100)), FPS, 5)
        self.assertEqual(row.faults, [])
        self.assertAlmostEqual(row.p50, 80.0)
        self.assertEqual((row.repeats, row.skipped), (0, 0))

    def test_skipped_pictures_are_counted(self):
        self.assertEqual(judge(Row("x"), report(range(0, 200, 2)), FPS, 5).skipped, 99)

    def test_black_fails(self):
        self.assertIn("0 pictures", self.faults([]))

    def test_too_few_fail(self):
        self.assertIn("30 pictures", self.faults(range(30)))

    def test_backward_jump_fails(self):
        self.assertIn("went back: ['49 to 10 at 640 to 640 px", self.faults([*range(50), *range(10, 60)]))

    def test_one_picture_back_is_for_a_change_of_size_alone(self):
        once, twice = [*range(50), *range(48, 98)], [*range(50), *range(47, 97)]
        self.assertEqual(self.faults(once, wide_from=50), "")
        self.assertIn("49 to 48 at 640 to 640 px", self.faults(once))
        self.assertIn("49 to 47 at 640 to 1280 px", self.faults(twice, wide_from=50))

    def test_repeats_fail(self):
        self.assertIn("repeated", self.faults([n // 2 for n in range(100)]))

    def test_a_frozen_picture_fails(self):
        self.assertIn("repeated", self.faults([7] * 100))

    def test_damaged_pictures_fail(self):
        self.assertIn("do not read", self.faults(range(100), unreadable=10))

    def test_delay_fails(self):
        self.assertIn("delay", self.faults(range(100), delay=1500.0))

    def test_a_clock_that_runs_ahead_fails(self):
        self.assertIn("before it was drawn", self.faults(range(100), delay=-200.0))

    def test_tone(self):
        good, other, silence = {"hz": 440.5, "db": -20.0}, {"hz": 600.0, "db": -20.0}, {"hz": 440.0, "db": -120.0}
        self.assertEqual(judge_tone(Row("x"), [good, good, other], 440).faults, [])
        for heard in ([], [other] * 3, [silence] * 3, [good, other, other]):
            self.assertTrue(judge_tone(Row("x"), heard, 440).faults)


class Pattern(unittest.TestCase):
    """The code in the picture."""

    def test_reads_back_at_any_scale(self):
        for width, height in ((1280, 720), (640, 360), (320, 180)):
            painter = Painter(width, height)
            for counter, ms in ((0, 0), (1, 1_700_000_000_123), (2**32 - 1, 2**48 - 1)):
                self.assertEqual(read(painter.luma(counter, ms)), (counter, ms))

    def test_reads_a_layer_scaled_down(self):
        luma = Painter(1280, 720).luma(123456, 1_700_000_000_123)
        small = luma.reshape(180, 4, 320, 4).mean(axis=(1, 3))
        self.assertEqual(read(small), (123456, 1_700_000_000_123))

    def test_damage_does_not_read(self):
        luma = Painter(640, 360).luma(123456, 1_700_000_000_123)
        luma[0:8, 20 * 8 : 21 * 8] = 255 - luma[0:8, 20 * 8 : 21 * 8]
        self.assertIsNone(read(luma))

    def test_black_does_not_read(self):
        self.assertIsNone(read(np.zeros((360, 640), np.uint8)))


class Freezes(unittest.TestCase):
    """A freeze is a switch's only where neither the encoder nor a viewer without switches has such a gap."""

    STEP = 1000 / 15

    def wrong(self, shown, encoded, control, wishes=None):
        wishes = wishes or [Wish(0, None, 2, 2)]
        return unexplained(shown, wishes, encoded, control)

    def times(self, *left_out):
        return [n * self.STEP for n in range(90) if n not in left_out]

    def layers(self, times):
        """Three spatial layers a picture; temporal layers 0 2 1 2."""
        return [[at, None, spatial, [0, 2, 1, 2][round(at / self.STEP) % 4]] for at in times for spatial in range(3)]

    def test_no_gap_is_no_freeze(self):
        self.assertEqual(freezes(self.times()), [])
        self.assertEqual(freezes(self.times(40)), [])

    def test_a_gap_of_the_switch_is_found(self):
        hole = range(40, 45)
        self.assertEqual(len(freezes(self.times(*hole))), 1)
        self.assertEqual(len(self.wrong(self.times(*hole), self.layers(self.times()), self.times())), 1)

    def test_the_encoder_and_the_machine_are_let_off(self):
        hole = range(40, 45)
        self.assertEqual(self.wrong(self.times(*hole), self.layers(self.times(*hole)), self.times()), [])
        self.assertEqual(self.wrong(self.times(*hole), self.layers(self.times()), self.times(*hole)), [])

    def test_pictures_of_layers_that_were_not_wanted_are_not_missed(self):
        seen = [at for at in self.times() if round(at / self.STEP) % 4 == 0 or at < 2000]
        wishes = [Wish(0, None, 2, 2), Wish(2000, None, 2, 0)]
        self.assertGreaterEqual(len(freezes(seen)), 1)
        self.assertEqual(self.wrong(seen, self.layers(self.times()), self.times(), wishes), [])
        self.assertGreaterEqual(len(self.wrong(seen, self.layers(self.times()), self.times())), 1)

    def test_a_gap_long_before_does_not_excuse(self):
        shown = self.times(*range(60, 66))
        self.assertEqual(len(self.wrong(shown, self.layers(self.times(*range(20, 26))), self.times(*range(20, 26)))), 1)


if __name__ == "__main__":
    result = unittest.main(exit=False, argv=[sys.argv[0]], verbosity=0).result
    bad = len(result.failures) + len(result.errors)
    print(f"self-test: {result.testsRun - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
