"""What Chromium and Firefox have in common here: a page that runs `window.e2e` calls and remembers console errors."""

import asyncio
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path


class BrowserError(Exception):
    """A script of the page threw, or the browser refused a command."""


class Page(ABC):
    """One tab."""

    def __init__(self):
        self.errors: list[str] = []

    @abstractmethod
    async def evaluate(self, expression: str, limit: float = 30.0):
        """Runs an expression, awaits its promise and returns the value as JSON would carry it."""

    @abstractmethod
    async def goto(self, url: str) -> None:
        """Loads a page and waits for its load event."""

    @abstractmethod
    async def close(self) -> None:
        """Closes the tab."""

    async def call(self, name: str, *args, limit: float = 30.0):
        """Calls `e2e.name(...args)`."""
        return await self.evaluate(f"e2e.{name}({', '.join(json.dumps(a) for a in args)})", limit)

    async def until(self, expression: str, limit: float = 10.0, what: str | None = None):
        """Waits until an expression is true; returns its value."""
        end = asyncio.get_running_loop().time() + limit
        while True:
            value = await self.evaluate(expression)
            if value:
                return value
            if asyncio.get_running_loop().time() > end:
                raise BrowserError(f"waited {limit:.0f} s for {what or expression}")
            await asyncio.sleep(0.05)


class Process:
    """A browser process with an empty profile that is removed at the end."""

    def __init__(self, name: str):
        self.profile = Path(tempfile.mkdtemp(prefix=f"weir-{name}-"))
        self.process: asyncio.subprocess.Process | None = None
        self.output: list[str] = []

    async def start(self, args: list[str], marker: str, limit: float = 60.0, env: dict | None = None) -> str:
        """Starts it and returns the rest of the first output line that holds `marker`."""
        self.process = await asyncio.create_subprocess_exec(
            *args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL, env=env
        )
        found = asyncio.get_running_loop().create_future()

        async def read():
            async for raw in self.process.stdout:
                line = raw.decode(errors="replace").rstrip()
                self.output = [*self.output[-200:], line]
                if marker in line and not found.done():
                    found.set_result(line.split(marker, 1)[1].strip())
            if not found.done():
                found.set_exception(BrowserError("the browser ended:\n" + "\n".join(self.output[-10:])))

        self._reader = asyncio.create_task(read())
        return await asyncio.wait_for(found, limit)

    async def stop(self) -> None:
        """Ends the process and removes its profile."""
        if self.process and self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
