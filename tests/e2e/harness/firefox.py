"""Firefox over WebDriver BiDi, which the browser speaks itself on its remote debugging port: no driver binary."""

import asyncio
import itertools
import json
import os
import shutil

import aiohttp

from .browser import BrowserError, Page, Process

PREFERENCES = {
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "privacy.reduceTimerPrecision": False,
    "dom.min_background_timeout_value": 4,
    "dom.timeout.enable_budget_timer_throttling": False,
    "widget.windows.window_occlusion_tracking.enabled": False,
    "app.update.enabled": False,
    "app.normandy.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.aboutwelcome.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.update.enabled": False,
    "remote.active-protocols": 1,
    # H.264 in WebRTC usually comes from the OpenH264 plug-in, which is a download. The system's libavcodec does it as well:
    # let Firefox take it as if it were hardware.
    "media.webrtc.hw.h264.enabled": True,
    "media.webrtc.platformencoder": True,
    "media.navigator.mediadatadecoder_h264_enabled": True,
    "gfx.blacklist.webrtc.hw.acceleration": 1,
    "gfx.blacklist.webrtc.hw.acceleration.h264": 1,
    "gfx.blacklist.webrtc.hw.acceleration.decode": 1,
    "gfx.blacklist.webrtc.hw.acceleration.encode": 1,
}


class Firefox:
    """A running browser."""

    name = "firefox"

    def __init__(self):
        self.process = Process("firefox")
        self.ids = itertools.count(1)
        self.pending: dict[int, asyncio.Future] = {}
        self.pages: dict[str, FirefoxPage] = {}

    async def start(self, sound: str | None = None) -> "Firefox":
        """Starts it; `sound` is the PulseAudio server that it plays into."""
        binary = shutil.which("firefox-esr") or shutil.which("firefox")
        if not binary:
            raise BrowserError("firefox is not installed; run tests/setup")
        preferences = "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in PREFERENCES.items())
        (self.process.profile / "user.js").write_text(preferences)
        address = await self.process.start(
            [binary, "--headless", "--no-remote", "--profile", str(self.process.profile), "--remote-debugging-port", "0", "about:blank"],
            "WebDriver BiDi listening on ",
            env={**os.environ, **({"PULSE_SERVER": sound} if sound else {})},
        )
        self.http = aiohttp.ClientSession()
        self.socket = await self.http.ws_connect(f"{address}/session", max_msg_size=0)
        self.reader = asyncio.create_task(self._read())
        await self.send("session.new", {"capabilities": {}})
        await self.send("session.subscribe", {"events": ["log.entryAdded"]})
        return self

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            data = json.loads(message.data)
            if data.get("type") in ("success", "error"):
                future = self.pending.pop(data["id"], None)
                if future and not future.done():
                    if data["type"] == "error":
                        future.set_exception(BrowserError(f"{data['error']}: {data['message']}"))
                    else:
                        future.set_result(data["result"])
            elif data.get("method") == "log.entryAdded":
                entry = data["params"]
                page = self.pages.get(entry["source"].get("context"))
                if page and entry["level"] == "error":
                    page.errors.append(entry.get("text") or "")
        for future in self.pending.values():
            if not future.done():
                future.set_exception(BrowserError("the browser closed"))

    async def send(self, method: str, params: dict, limit: float = 30.0) -> dict:
        """One BiDi command."""
        number = next(self.ids)
        self.pending[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        return await asyncio.wait_for(self.pending[number], limit)

    async def page(self, url: str) -> "FirefoxPage":
        """A new window that has loaded `url`."""
        made = await self.send("browsingContext.create", {"type": "window"})
        page = FirefoxPage(self, made["context"])
        self.pages[page.context] = page
        await page.goto(url)
        return page

    async def stop(self) -> None:
        """Ends the browser."""
        await self.http.close()
        await self.process.stop()


class FirefoxPage(Page):
    """A window of Firefox."""

    def __init__(self, browser: Firefox, context: str):
        super().__init__()
        self.browser, self.context = browser, context

    async def goto(self, url: str) -> None:
        await self.browser.send("browsingContext.navigate", {"context": self.context, "url": url, "wait": "complete"})

    async def evaluate(self, expression: str, limit: float = 30.0):
        result = await self.browser.send(
            "script.evaluate",
            {
                "expression": f"(async () => JSON.stringify(await ({expression})))()",
                "awaitPromise": True,
                "target": {"context": self.context},
                "userActivation": True,
            },
            limit,
        )
        if result["type"] == "exception":
            raise BrowserError(result["exceptionDetails"]["text"])
        value = result["result"].get("value")
        return None if value is None else json.loads(value)

    async def close(self) -> None:
        self.browser.pages.pop(self.context, None)
        await self.browser.send("browsingContext.close", {"context": self.context})
