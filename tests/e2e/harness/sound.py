"""A sound device for machines without one: Firefox runs no AudioContext without an output. PulseAudio with a null sink,
private to this run, on a socket in a folder of its own."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path


class NullSound:
    """A PulseAudio daemon that plays into nothing, at real-time speed."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="weir-sound-"))
        self.process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """What clients take as PULSE_SERVER."""
        return f"unix:{self.folder}/socket"

    async def start(self) -> "NullSound":
        self.process = await asyncio.create_subprocess_exec(
            "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes",
            "-L", "module-null-sink", "-L", f"module-native-protocol-unix auth-anonymous=1 socket={self.folder}/socket",
            env={**os.environ, "HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(100):
            if (self.folder / "socket").exists():
                return self
            await asyncio.sleep(0.05)
        raise RuntimeError("pulseaudio did not come up; run tests/setup")

    async def stop(self) -> None:
        """Ends the daemon."""
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
