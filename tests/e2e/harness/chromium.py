"""Chromium over the DevTools protocol: one process, one window per page so that none counts as hidden."""

import asyncio
import itertools
import json
import shutil

import aiohttp

from .browser import BrowserError, Page, Process

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling", "--disable-dev-shm-usage", "--window-size=800,600", "--remote-debugging-port=0",
]  # fmt: skip


class Chromium:
    """A running browser."""

    name = "chromium"

    def __init__(self):
        self.process = Process("chromium")
        self.ids = itertools.count(1)
        self.pending: dict[int, asyncio.Future] = {}
        self.pages: dict[str, ChromiumPage] = {}

    async def start(self) -> "Chromium":
        binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not binary:
            raise BrowserError("chromium is not installed; run tests/setup")
        address = await self.process.start([binary, *FLAGS, f"--user-data-dir={self.process.profile}", "about:blank"], "DevTools listening on ")
        self.http = aiohttp.ClientSession()
        self.socket = await self.http.ws_connect(address, max_msg_size=0)
        self.reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            data = json.loads(message.data)
            if "id" in data:
                future = self.pending.pop(data["id"], None)
                if future and not future.done():
                    if "error" in data:
                        future.set_exception(BrowserError(data["error"].get("message", str(data["error"]))))
                    else:
                        future.set_result(data["result"])
            elif page := self.pages.get(data.get("sessionId")):
                page.on_event(data["method"], data["params"])
        for future in self.pending.values():
            if not future.done():
                future.set_exception(BrowserError("the browser closed"))

    async def send(self, method: str, params: dict | None = None, session: str | None = None, limit: float = 30.0) -> dict:
        """One DevTools command."""
        number = next(self.ids)
        self.pending[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        await self.socket.send_str(json.dumps(message))
        return await asyncio.wait_for(self.pending[number], limit)

    async def page(self, url: str) -> "ChromiumPage":
        """A new window that has loaded `url`."""
        target = await self.send("Target.createTarget", {"url": "about:blank", "newWindow": True})
        attached = await self.send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        page = ChromiumPage(self, target["targetId"], attached["sessionId"])
        self.pages[page.session] = page
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable", session=page.session)
        await page.goto(url)
        return page

    async def stop(self) -> None:
        """Ends the browser."""
        await self.http.close()
        await self.process.stop()


class ChromiumPage(Page):
    """A window of Chromium."""

    def __init__(self, browser: Chromium, target: str, session: str):
        super().__init__()
        self.browser, self.target, self.session = browser, target, session
        self.loaded = asyncio.Event()

    def on_event(self, method: str, params: dict) -> None:
        """Collects load events and everything the console shows as an error."""
        if method == "Page.loadEventFired":
            self.loaded.set()
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description", ""))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def goto(self, url: str) -> None:
        self.loaded.clear()
        result = await self.browser.send("Page.navigate", {"url": url}, self.session)
        if result.get("errorText"):
            raise BrowserError(f"{url}: {result['errorText']}")
        await asyncio.wait_for(self.loaded.wait(), 30)

    async def evaluate(self, expression: str, limit: float = 30.0):
        result = await self.browser.send(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
            self.session,
            limit,
        )
        if details := result.get("exceptionDetails"):
            raise BrowserError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    async def close(self) -> None:
        self.browser.pages.pop(self.session, None)
        await self.browser.send("Target.closeTarget", {"targetId": self.target})
