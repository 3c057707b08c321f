"""Media files with the pattern and a tone, made once and kept in tests/.cache/media.

The stamps in these pictures are milliseconds since the start of the file: a viewer's delay is its wall-clock minus the moment
at which the publisher began to play.
"""

import os
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from .pattern import Painter

FOLDER = Path(__file__).resolve().parents[2] / ".cache/media"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
RATE = 48000
VERSION = 1
AUDIO = 255


def _ready(path: Path) -> bool:
    FOLDER.mkdir(parents=True, exist_ok=True)
    return path.exists()


def movie(seconds: int = 20, width: int = 640, height: int = 360, fps: int = 25, hz: int = 440, gop: int = 2) -> Path:
    """H.264 and Opus in Matroska, a key frame every `gop` seconds, for `ffmpeg -re -c copy`."""
    path = FOLDER / f"movie-{VERSION}-{seconds}s-{width}x{height}-{fps}-{hz}-{gop}.mkv"
    if _ready(path):
        return path
    part = path.with_suffix(f".{os.getpid()}.mkv")
    command = [
        FFMPEG, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-",
        "-f", "lavfi", "-i", f"sine=frequency={hz}:sample_rate={RATE}:duration={seconds}", "-ac", "2", "-filter:a", "volume=6dB",
        "-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-tune", "zerolatency", "-g", str(gop * fps), "-keyint_min", str(gop * fps), "-sc_threshold", "0", "-b:v", "1200k",
        "-c:a", "libopus", "-b:a", "64k", str(part),
    ]  # fmt: skip
    encoder = subprocess.Popen(command, stdin=subprocess.PIPE)
    painter = Painter(width, height)
    for n in range(seconds * fps):
        encoder.stdin.write(painter.i420(n, n * 1000 // fps))
    encoder.stdin.close()
    if encoder.wait() != 0:
        raise RuntimeError("ffmpeg could not make the test file")
    part.rename(path)
    return path


def _video(width: int, height: int, seconds: int, fps: int, kbps: int, bframes: int):
    """Annex B access units of H.264 High as OBS's x264 makes them: parameter sets in-band, a key frame every two seconds."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.bit_rate, encoder.gop_size = Fraction(1, fps), Fraction(fps), kbps * 1000, 2 * fps
    encoder.options = {"preset": "veryfast", "profile": "high", "x264-params": f"bframes={bframes}:b-adapt=0:scenecut=0:repeat-headers=1:rc-lookahead=0:sync-lookahead=0"}
    painter = Painter(width, height)
    for n in range(seconds * fps):
        planes = np.frombuffer(painter.i420(n, n * 1000 // fps), np.uint8).reshape(height * 3 // 2, width)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = n
        for packet in encoder.encode(frame):
            yield packet.pts * 1000 // fps, bytes(packet)
    for packet in encoder.encode(None):
        yield packet.pts * 1000 // fps, bytes(packet)


def _opus(seconds: int, hz: int):
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "stereo", "s16", 96000
    for n in range(seconds * 50):
        t = (n * 960 + np.arange(960)) / RATE
        wave = (np.sin(2 * np.pi * hz * t) * 12000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, n * 960, Fraction(1, RATE)
        for packet in encoder.encode(frame):
            yield n * 20, bytes(packet)


def packets(layers: list[tuple[int, int, int]], seconds: int = 16, fps: int = 25, hz: int = 440, bframes: int = 0) -> Path:
    """Encoded frames for a client that packetises itself: records of kind (u8: layer, or AUDIO), ms (u32), length (u32), bytes.

    `layers` are (width, height, kbit/s), best first. With `bframes` pictures refer to later ones; they stand in the order of their times.
    """
    kind = f"-b{bframes}" if bframes else ""
    path = FOLDER / f"packets-{VERSION}-{'-'.join(f'{w}x{h}' for w, h, _ in layers)}-{seconds}s-{fps}-{hz}{kind}.bin"
    if _ready(path):
        return path
    records = [(ms, AUDIO, data) for ms, data in _opus(seconds, hz)]
    for index, (width, height, kbps) in enumerate(layers):
        records += [(ms, index, data) for ms, data in _video(width, height, seconds, fps, kbps, bframes)]
    records.sort(key=lambda r: (r[0], r[1]))
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(b"".join(struct.pack(">BII", kind, ms, len(data)) + data for ms, kind, data in records))
    part.rename(path)
    return path
