"""End to end: real clients publish to and watch from the real binary; what they decode is checked.

    run.py [--only TEXT] [--list] [--jobs N]

The binary is target/debug/weir, or $E2E_SERVER. Exit code 1 when anything failed.
"""

import argparse
import asyncio
import os
import sys
import time

from harness import web
from harness.scenario import SCENARIOS, Shared, run
from harness.server import Server
from harness.verdict import table
import scenarios  # noqa: F401  (registers)

STOP_WITHIN = 10.0


async def main(args) -> int:
    chosen = [s for s in SCENARIOS if not args.only or any(o.lower() in s.name.lower() for o in args.only)]
    if args.list:
        print("\n".join(s.name for s in chosen))
        return 0
    runner, base = await web.serve()
    failed: dict[str, str] = {}
    begin = time.monotonic()
    async with Server() as server:
        shared = Shared(server, base)
        slots = asyncio.Semaphore(args.jobs)

        async def one(scenario) -> None:
            async with Slots(slots, args.jobs if scenario.heavy else 1):
                at = time.monotonic()
                wrong = await run(scenario, shared)
                print(f"{'FAIL' if wrong else 'ok  '} {scenario.name} ({time.monotonic() - at:.1f} s)", flush=True)
                if wrong:
                    failed[scenario.name] = wrong
                    print("     " + wrong.replace("\n", "\n     "), flush=True)

        try:
            await asyncio.gather(*(one(s) for s in sorted(chosen, key=lambda s: not s.heavy)))
        finally:
            await shared.stop()
        at = time.monotonic()
        code = await server.stop()
        took = time.monotonic() - at
        if code != 0 or took > STOP_WITHIN:
            failed["the server stops cleanly"] = f"exit code {code} after {took:.1f} s\n" + "\n".join(server.log[-10:])
        if server.panics():
            failed["the server never panics"] = "\n".join(server.panics())
        if args.log:
            with open(args.log, "w") as f:
                f.write("\n".join(server.log))
    await runner.cleanup()
    print("\nWhat viewers saw, with the delay from drawing a picture to seeing it:\n")
    print(table(sorted(shared.rows, key=lambda r: r.name)))
    for name, wrong in failed.items():
        print(f"\nFAILED {name}\n  " + wrong.replace("\n", "\n  "))
    total = len(chosen) + 2
    print(f"\ne2e: {total - len(failed)} passed, {len(failed)} failed in {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


class Slots:
    """Takes several slots of a semaphore, one after the other under the semaphore's fairness."""

    gate = asyncio.Lock()

    def __init__(self, slots: asyncio.Semaphore, count: int):
        self.slots, self.count = slots, count

    async def __aenter__(self) -> None:
        async with self.gate:
            for _ in range(self.count):
                await self.slots.acquire()

    async def __aexit__(self, *exc) -> None:
        for _ in range(self.count):
            self.slots.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="only scenarios whose name contains this")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("E2E_JOBS", "2")), help="scenarios at a time")
    parser.add_argument("--log", help="write the server's log here")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments)))
