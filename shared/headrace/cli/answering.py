"""The other side of the benches' HTTP calls: a loopback server that answers everything at once."""

import asyncio
import threading
from collections import Counter
from types import TracebackType

from aiohttp import web

from headrace.embedded.ports import HOST


class Answering:
    """Answers every request with 200 and counts it, in a thread of its own. A context manager.

    `fails_first`: the first request with an `Idempotency-Key` is answered with 503. `is_broken`: as long as it is, so
    are all, and ask to wait for a day. `done` are the keys of what was answered with 200, and how often.
    """

    def __init__(self, *, fails_first: bool = False, is_broken: bool = False) -> None:
        self.count = 0
        self.done: Counter[str] = Counter()
        self.is_broken = is_broken
        self._failed: set[str] | None = set() if fails_first else None
        self.url = ""
        self._runner: web.ServerRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="answering", daemon=True)

    def __enter__(self) -> "Answering":
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _listen(self) -> str:
        # Without a router and its middlewares: what is measured is the caller. Connections end with the server.
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}/"

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.count += 1
        key = request.headers.get("Idempotency-Key", "")
        if self.is_broken:
            return web.json_response({"ok": False}, status=503, headers={"Retry-After": "86400"})
        if self._failed is not None and key not in self._failed:
            self._failed.add(key)
            return web.json_response({"ok": False}, status=503)
        self.done[key] += 1
        return web.json_response({"ok": True})
