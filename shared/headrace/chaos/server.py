"""A loopback HTTP server that remembers every call: the outside world, as it saw the system."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import cast

import orjson
from aiohttp import web

from headrace.chaos.loads.base import Answer
from headrace.chaos.observations import HttpCall
from headrace.chaos.threads import LoopThread, now_us
from headrace.embedded.ports import HOST

NO_RUN = ""
"""Stands for the run or event of a body that names none."""


class Recorder:
    """Takes calls of any path and remembers them. `start`, then `address`; `close` ends it.

    It answers as `answers` say for the path, at once where they say nothing. Which event's call is answered late, and
    how many calls of a key fail first, follows from path and event alone, so that a seed gives the same again.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self._loop = LoopThread("chaos-recorder")
        self._calls: list[_Seen] = []
        self._made: Counter[tuple[str, str]] = Counter()
        self._mended: set[str] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """`http://host:port`."""
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Listens."""
        self._loop.run(self._start())

    def calls(self) -> list[HttpCall]:
        """All calls so far, in the order of their arrival."""
        return [seen.call() for seen in tuple(self._calls)]

    def count(self) -> int:
        """How many calls there were."""
        return len(self._calls)

    def mend(self, event: str) -> None:
        """From now on no call for this event fails."""
        self._mended.add(event)

    def close(self) -> None:
        """Stops listening; calls under way are cut off."""
        self._loop.close()

    async def _start(self) -> None:
        application = web.Application(client_max_size=1 << 20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self._port = int(self._runner.addresses[0][1])

    async def _handle(self, request: web.Request) -> web.Response:
        arrived = now_us()
        body = await request.read()
        seen = _Seen(arrived, request.method, request.path, request.headers.get("Idempotency-Key", ""), body)
        self._calls.append(seen)
        answer = self._answers.get(request.path, Answer())
        share = _share(f"{request.path}/{seen.event}")
        status = 503 if self._fails(answer, seen, request.path, share) else 200
        self._made[request.path, seen.key] += 1
        if wait := answer.least_s + (answer.most_s - answer.least_s) * share**2:
            await asyncio.sleep(wait)
        seen.status, seen.answered = status, now_us()
        return web.json_response({"seen": len(self._calls)}, status=status)

    def _fails(self, answer: Answer, seen: "_Seen", path: str, share: float) -> bool:
        if answer.until_mended:
            return seen.event not in self._mended
        return self._made[path, seen.key] < answer.failing(share)


class _Seen:
    def __init__(self, arrived: int, method: str, path: str, key: str, body: bytes) -> None:
        self._arrived = arrived
        self._method = method
        self._path = path
        self.key = key
        self._run, self.event = _named(body)
        self.answered: int | None = None
        self.status: int | None = None

    def call(self) -> HttpCall:
        return HttpCall(
            self._arrived, self._method, self._path, self.key, self._run, self.event, self.answered, self.status
        )


def _named(body: bytes) -> tuple[str, str]:
    """The run and the event that a body names."""
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return NO_RUN, NO_RUN
    if not isinstance(found, dict):
        return NO_RUN, NO_RUN
    values = cast("dict[str, object]", found)
    return str(values.get("run", NO_RUN)), str(values.get("event", NO_RUN))


def _share(text: str) -> float:
    """A number in [0, 1) that is the text's own."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / (1 << 32)
