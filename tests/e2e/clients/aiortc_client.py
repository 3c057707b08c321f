"""aiortc as WHIP publisher or WHEP viewer. Prints JSON lines: {"event": "connected"} and, for a viewer, {"report": …}.

    aiortc_client.py publish URL --seconds 8 --codec video/VP8
    aiortc_client.py watch URL --seconds 6
"""

import argparse
import asyncio
import fractions
import json
import sys
import time
from pathlib import Path

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from clients import whip
from harness import pattern

RATE = 48000


def say(**what) -> None:
    print(json.dumps(what), flush=True)


class Picture(MediaStreamTrack):
    """The pattern, drawn when it is asked for."""

    kind = "video"

    def __init__(self, width: int, height: int, fps: int, first: int, busy: bool = False):
        super().__init__()
        self.busy, self.random = busy, np.random.default_rng(first)
        self.painter, self.fps, self.first, self.n, self.begin = pattern.Painter(width, height), fps, first, 0, None

    async def recv(self) -> av.VideoFrame:
        self.begin = self.begin or time.time()
        await asyncio.sleep(max(0, self.begin + self.n / self.fps - time.time()))
        p = self.painter
        planes = np.frombuffer(p.i420(self.first + self.n, int(time.time() * 1000)), np.uint8).reshape(p.height * 3 // 2, p.width)
        if self.busy:
            # Blocks that no encoder foresees: it spends whatever it may.
            blocks = self.random.integers(88, 168, (p.height // 8, p.width // 8), dtype=np.uint8)
            planes = np.vstack([np.kron(blocks, np.ones((8, 8), np.uint8)), planes[p.height :]])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = self.n * 90000 // self.fps, fractions.Fraction(1, 90000)
        self.n += 1
        return frame


class Tone(MediaStreamTrack):
    """A sine in frames of 20 ms."""

    kind = "audio"

    def __init__(self, hz: float):
        super().__init__()
        self.hz, self.sample, self.begin = hz, 0, None

    async def recv(self) -> av.AudioFrame:
        self.begin = self.begin or time.time()
        await asyncio.sleep(max(0, self.begin + self.sample / RATE - time.time()))
        t = (self.sample + np.arange(960)) / RATE
        wave = (np.sin(2 * np.pi * self.hz * t) * 12000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.sample, fractions.Fraction(1, RATE)
        self.sample += 960
        return frame


async def connect(pc: RTCPeerConnection, url: str) -> str:
    """The exchange; returns the session URL once media may flow."""
    done = asyncio.Event()
    pc.add_listener("connectionstatechange", lambda: pc.connectionState in ("connected", "failed") and done.set())
    await pc.setLocalDescription(await pc.createOffer())
    answer, session = await asyncio.to_thread(whip.post, url, pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(done.wait(), 10)
    if pc.connectionState != "connected":
        raise RuntimeError(f"connection {pc.connectionState}")
    say(event="connected", at=time.time() * 1000, session=session)
    return session


async def publish(args) -> None:
    pc = RTCPeerConnection()
    pc.addTransceiver(Tone(args.hz), "sendonly")
    width, height = map(int, args.size.split("x"))
    video = pc.addTransceiver(Picture(width, height, args.fps, args.first, args.busy), "sendonly")
    video.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType.lower() == args.codec.lower()])
    session = await connect(pc, args.url)
    await asyncio.sleep(args.seconds)
    say(event="deleted", status=await asyncio.to_thread(whip.delete, session))
    await pc.close()


async def watch(args) -> None:
    pc = RTCPeerConnection()
    frames, unreadable, sizes, sound = [], 0, {}, []

    async def pictures(track) -> None:
        nonlocal unreadable
        while True:
            frame = await track.recv()
            luma = frame.to_ndarray(format="gray")
            sizes[f"{frame.width}x{frame.height}"] = sizes.get(f"{frame.width}x{frame.height}", 0) + 1
            if seen := pattern.read(luma):
                frames.append([*seen, time.time() * 1000, frame.width])
            else:
                unreadable += 1

    async def samples(track) -> None:
        while True:
            frame = await track.recv()
            wave = frame.to_ndarray().reshape(-1).astype(np.float32)
            sound.append(wave[:: len(frame.layout.channels)] / 32768)

    tasks = []
    pc.add_listener("track", lambda t: tasks.append(asyncio.ensure_future((pictures if t.kind == "video" else samples)(t))))
    pc.addTransceiver("video", "recvonly")
    pc.addTransceiver("audio", "recvonly")
    posted = time.time() * 1000
    session = await connect(pc, args.url)
    connected = time.time() * 1000
    await asyncio.sleep(args.seconds)
    heard = np.concatenate(sound[-150:]) if sound else np.zeros(0)
    tone = []
    if heard.size >= 8192:
        window = heard[-8192:]
        spectrum = np.abs(np.fft.rfft(window * np.hanning(window.size)))
        peak = int(spectrum[2:].argmax()) + 2
        level = 20 * np.log10(max(float(np.sqrt(np.mean(window**2))), 1e-9))
        tone = [{"hz": peak * RATE / window.size, "db": level}]
    say(report={"frames": frames, "unreadable": unreadable, "sizes": sizes, "postedAt": posted, "connectedAt": connected, "tone": tone})
    await asyncio.to_thread(whip.delete, session)
    for task in tasks:
        task.cancel()
    await pc.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--codec", default="video/VP8")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=15)
    parser.add_argument("--hz", type=float, default=440)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--busy", action="store_true", help="a picture that takes whatever rate the encoder may use")
    args = parser.parse_args()
    asyncio.run(publish(args) if args.role == "publish" else watch(args))


if __name__ == "__main__":
    main()
