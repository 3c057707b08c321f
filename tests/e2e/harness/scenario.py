"""Registers scenarios and gives them what they share: the server, the browsers, the page server."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .browser import Page
from .chromium import Chromium
from .firefox import Firefox
from .server import Server
from .sound import NullSound
from .verdict import Row, Wrong

LIMIT = 75.0


@dataclass
class Scenario:
    """A named test. `heavy` ones have the machine to themselves."""

    name: str
    run: Callable[["Env"], Awaitable[None]]
    heavy: bool


SCENARIOS: list[Scenario] = []


def scenario(name: str, heavy: bool = False):
    """Registers an async function as a test."""

    def register(run):
        SCENARIOS.append(Scenario(name, run, heavy))
        return run

    return register


class Shared:
    """What all scenarios of a run use."""

    def __init__(self, server: Server, base: str):
        self.server, self.base = server, base
        self.rows: list[Row] = []
        self.numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._browsers: dict[str, Chromium | Firefox] = {}
        self._sound: NullSound | None = None

    async def browser(self, name: str) -> Chromium | Firefox:
        """A browser by name, started at first use."""
        async with self._lock:
            if name not in self._browsers:
                if name == "firefox":
                    self._sound = await NullSound().start()
                    self._browsers[name] = await Firefox().start(self._sound.address)
                else:
                    self._browsers[name] = await Chromium().start()
            return self._browsers[name]

    async def stop(self) -> None:
        """Ends the browsers."""
        for browser in self._browsers.values():
            await browser.stop()
        if self._sound:
            await self._sound.stop()


class Env:
    """One scenario's view: a room of its own, pages and processes that end with it."""

    def __init__(self, shared: Shared, name: str, stack: contextlib.AsyncExitStack):
        self.shared, self.name, self.stack = shared, name, stack
        self.server = shared.server
        self.room = f"e2e-{next(shared.numbers)}"
        self.whip, self.whep = self.server.whip(self.room), self.server.whep(self.room)

    async def page(self, browser: str, url: str | None = None) -> Page:
        """A page of the harness (or of `url`) in a browser; closed at the end, console errors fail the scenario."""
        page = await (await self.shared.browser(browser)).page(url or self.shared.base)
        self.stack.push_async_callback(page.close)
        if url is None:
            await page.until("window.ready")
        return page

    async def start(self, client):
        """Runs a client process until the end of the scenario."""
        return await self.stack.enter_async_context(client)

    def row(self, name: str | None = None) -> Row:
        """A new line of the table."""
        row = Row(name or self.name)
        self.shared.rows.append(row)
        return row

    def check(self, *rows: Row) -> None:
        """Fails where a row has faults."""
        faults = [f"{row.name}: {fault}" for row in rows for fault in row.faults]
        if faults:
            raise Wrong("\n".join(faults))


async def run(scenario: Scenario, shared: Shared) -> str | None:
    """Runs one; returns None or what went wrong."""
    try:
        async with asyncio.timeout(LIMIT):
            async with contextlib.AsyncExitStack() as stack:
                await scenario.run(Env(shared, scenario.name, stack))
        return None
    except TimeoutError:
        return f"not done within {LIMIT:.0f} s"
    except Exception as e:  # a scenario's failure is its result
        return f"{type(e).__name__}: {e}"
