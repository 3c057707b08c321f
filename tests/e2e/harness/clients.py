"""Starts the clients that are processes of their own and reads the JSON lines that they print."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from .media import FFMPEG

CLIENTS = Path(__file__).resolve().parents[1] / "clients"


class Client:
    """A running client. `events` are the JSON objects it printed, `output` every line."""

    def __init__(self, name: str, *command: str):
        self.name, self.command = name, [str(c) for c in command]
        self.events: list[dict] = []
        self.output: list[str] = []
        self.news = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Client":
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"}, limit=64 << 20,
        )  # fmt: skip
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.output = [*self.output[-400:], line[:2000]]
            if line.startswith("{"):
                try:
                    self.events.append(json.loads(line))
                except ValueError:
                    pass
            self.news.set()
        await self.process.wait()
        self.news.set()

    async def event(self, name: str, limit: float = 15.0) -> dict:
        """Waits for an event by name (or by key, as "report")."""
        end = asyncio.get_running_loop().time() + limit
        while True:
            for event in self.events:
                if event.get("event") == name or name in event:
                    return event
            refused = [e for e in self.events if e.get("event") in ("refused", "error", "failed")]
            left = end - asyncio.get_running_loop().time()
            if refused or left <= 0 or self.reader.done():
                raise AssertionError(f"{self.name}: no {name!r}; it said:\n" + "\n".join(self.output[-15:]))
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), left)
            except asyncio.TimeoutError:
                pass

    async def tell(self, what: dict) -> None:
        """Gives it a JSON line."""
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.process.stdin.drain()

    async def ended(self, limit: float = 20.0) -> int:
        """Waits for its end; returns the exit code."""
        await asyncio.wait_for(asyncio.shield(self.reader), limit)
        return self.process.returncode

    def kill(self) -> None:
        """Ends it at once, as a crash or a pulled plug would."""
        if self.process.returncode is None:
            self.process.kill()

    async def __aexit__(self, *exc) -> None:
        if self.process.returncode is None:
            self.process.kill()
        with contextlib.suppress(ConnectionError):
            self.process.stdin.close()
            await self.process.stdin.wait_closed()
        await self.reader


def aiortc(role: str, url: str, seconds: float, *flags: str, **options) -> Client:
    """aiortc as "publish" or "watch"."""
    return Client(f"aiortc {role}", sys.executable, CLIENTS / "aiortc_client.py", role, url, "--seconds", seconds, *flags, *_flags(options))


def gstreamer(url: str, seconds: float, **options) -> Client:
    """GStreamer's webrtcbin as publisher."""
    return Client("gstreamer", sys.executable, CLIENTS / "gstreamer_client.py", url, "--seconds", seconds, *_flags(options))


def obs(url: str, packets: Path, seconds: float, *flags: str, layers: int = 1) -> Client:
    """The OBS-like publisher on libdatachannel."""
    return Client("obs-like", "node", CLIENTS / "obs_client.mjs", url, packets, "--layers", layers, "--seconds", seconds, *flags)


def relay(ports: list[int], viewers: int) -> Client:
    """A rate-limited relay in front of the server's UDP ports, with a path for each viewer."""
    return Client("relay", sys.executable, CLIENTS / "relay.py", "--viewers", viewers, *ports)


def ffmpeg(url: str, *source: str) -> Client:
    """FFmpeg's WHIP muxer."""
    return Client("ffmpeg", FFMPEG, "-nostats", "-v", "info", *source, "-f", "whip", url)


def _flags(options: dict) -> list[str]:
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]
