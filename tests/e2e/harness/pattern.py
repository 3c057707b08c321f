"""The test picture in Python: the same code as web/pattern.js.

Row 0: sync 10101100, a 32-bit frame counter, a check byte (XOR of the bytes of counter and clock). Row 1: 48 bits of
milliseconds. White is 1, black is 0, most significant bit first; the picture is COLUMNS blocks wide.
"""

from functools import reduce
from operator import xor

import numpy as np

COLUMNS = 80
BITS = 48
SYNC = 0b10101100


def _code(counter: int, ms: int) -> np.ndarray:
    """The two rows of bits."""
    body = counter.to_bytes(4, "big"), ms.to_bytes(6, "big")
    rows = bytes([SYNC, *body[0], reduce(xor, body[0] + body[1])]), body[1]
    return np.array([np.unpackbits(np.frombuffer(row, np.uint8)) for row in rows])


class Painter:
    """Draws frames as planar I420 bytes of one size."""

    def __init__(self, width: int, height: int):
        self.width, self.height, self.block = width, height, width // COLUMNS
        x = np.arange(width, dtype=np.uint32)
        y = np.arange(height, dtype=np.uint32)[:, None]
        self.ground = (60 + (x[None, :] + y) * 100 // (width + height)).astype(np.uint8)
        u = np.full((height // 2, width // 2), 110, np.uint8)
        v = np.full((height // 2, width // 2), 140, np.uint8)
        self.chroma = np.concatenate([u.ravel(), v.ravel()])

    def luma(self, counter: int, ms: int) -> np.ndarray:
        """The Y plane of frame `counter` that carries the stamp `ms`."""
        y = self.ground.copy()
        left = (counter * 7) % (self.width - 4 * self.block)
        y[self.height // 3 : 2 * self.height // 3, left : left + 4 * self.block] = 210
        code = np.where(_code(counter, ms) == 1, 235, 16).astype(np.uint8)
        y[: 2 * self.block, : BITS * self.block] = code.repeat(self.block, 0).repeat(self.block, 1)
        return y

    def i420(self, counter: int, ms: int) -> bytes:
        """The whole frame as I420."""
        return np.concatenate([self.luma(counter, ms).ravel(), self.chroma]).tobytes()


def read(luma: np.ndarray) -> tuple[int, int] | None:
    """`(counter, ms)` of a decoded Y plane, or None where the code does not read."""
    block = luma.shape[1] / COLUMNS
    reach = max(int(block * 0.4), 1)
    bits = np.zeros((2, BITS), np.uint8)
    for row in range(2):
        y = int((row + 0.3) * block)
        for column in range(BITS):
            x = int((column + 0.3) * block)
            bits[row, column] = luma[y : y + reach, x : x + reach].mean() > 127
    rows = [np.packbits(row).tobytes() for row in bits]
    counter, ms = rows[0][1:5], rows[1]
    if rows[0][0] != SYNC or rows[0][5] != reduce(xor, counter + ms):
        return None
    return int.from_bytes(counter, "big"), int.from_bytes(ms, "big")
