"""Serves web/ on loopback, from another origin than the server's, so that CORS is used as real players use it."""

from pathlib import Path

import aiohttp
from aiohttp import web

FOLDER = Path(__file__).resolve().parents[1] / "web"


async def serve() -> tuple[web.AppRunner, str]:
    """Starts the page server; returns its runner and base URL."""
    app = web.Application()
    app.router.add_get("/", lambda _: web.FileResponse(FOLDER / "index.html"))
    app.router.add_static("/", FOLDER)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"


async def get_json(url: str) -> dict:
    """What a URL of the server answers, as JSON."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()
