"""One `weir` process: started on free ports, stopped by its own process handle."""

import asyncio
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("E2E_SERVER", ROOT / "target/debug/weir"))
READY_WITHIN = 15.0


class Server:
    """A running server. `http` is its base URL, `udp_ports` its workers', `log` everything it wrote."""

    def __init__(self, *extra: str, workers: int = 2):
        self.args = [str(BINARY), "--http", "127.0.0.1:0", "--udp-port", "0", "--workers", str(workers), "--auth", "open", *extra]
        self.log: list[str] = []
        self.http = ""
        self.udp_ports: list[int] = []
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Server":
        # The configuration is the command line and the defaults, whatever the caller's environment says.
        env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")} | {"RUST_BACKTRACE": "1"}
        self.process = await asyncio.create_subprocess_exec(
            *self.args, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env, cwd=ROOT
        )
        ready = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(ready))
        try:
            line = await asyncio.wait_for(ready, READY_WITHIN)
        except (asyncio.TimeoutError, RuntimeError) as e:
            await self._stop()
            raise RuntimeError(f"the server did not come up ({e!r}):\n" + "\n".join(self.log[-20:])) from e
        address = re.search(r"http=(?:https?://)?(\S+)", line)
        if not address:
            raise RuntimeError(f"no http= in {line!r}")
        self.http = "http://" + address[1].rstrip("/")
        self.udp_ports = [int(port) for port in re.search(r"udp=(\S+)", line)[1].split(",")]
        return self

    async def _read(self, ready: asyncio.Future) -> None:
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.log.append(line)
            if line.startswith("weir ready ") and not ready.done():
                ready.set_result(line)
        if not ready.done():
            ready.set_exception(RuntimeError("it ended"))

    async def __aexit__(self, *exc) -> None:
        await self._stop()

    async def _stop(self) -> int | None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
        await self._reader
        return self.process.returncode

    async def stop(self) -> int | None:
        """SIGTERM and wait; returns the exit code."""
        return await self._stop()

    def whip(self, room: str) -> str:
        return f"{self.http}/whip/{room}"

    def whep(self, room: str) -> str:
        return f"{self.http}/whep/{room}"

    def panics(self) -> list[str]:
        """Lines of the log that no run may contain."""
        return [line for line in self.log if "panicked at" in line]
