"""Callers that wait for the end of a run, whichever process executes it: each gateway reads all replies."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import structlog
from prometheus_client import Counter, Gauge
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from headrace.contracts.errors import ContractError
from headrace.contracts.replies import Reply, read_reply
from headrace.contracts.runs import FINAL_STATUSES
from headrace.engine.errors import PlatformUnavailable
from headrace.streams import Record

MOST_CALLERS = 5_000
"""That wait at a time: half of the connections, so that callers of slow runs never keep out all others. Who comes
beyond is told at once where the run will be found."""

FIRST_LOOK_S = 0.25
"""After so long the records are asked for the run, and then after twice the time each: of a delivery that comes again
the run may have ended long ago, and nobody tells it a second time. Most first deliveries are answered before."""

CALLERS = Gauge("headrace_callers_waiting", "Callers of synchronous webhooks that wait for a run")
TOLD = Counter("headrace_callers_told_total", "Callers of synchronous webhooks, by how their wait ended", ["how"])
REFUSED = Counter("headrace_replies_refused_total", "Records of the replies topic that could not be used")

Find = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""A run's record by its id; raises PlatformUnavailable."""

_Waiting = asyncio.Future[Reply | None]
"""Ends with None where nobody is to wait any longer."""


class Replies:
    """Who waits for which run. Replies are applied in the thread that reads their topic, all else is the loop's."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._waiting: dict[str, list[_Waiting]] = {}
        self._count = 0
        self._is_draining = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """To be called once, in the loop in which callers wait."""
        self._loop = asyncio.get_running_loop()

    def drain(self) -> None:
        """Lets nobody wait any longer: who waits, and who comes, is told where the run will be found."""
        self._is_draining = True
        for run_id in list(self._waiting):
            self._deliver(run_id, None)

    def apply(self, record: Record) -> None:
        """Takes up a reply; never raises. What nobody here waits for is not even read."""
        run_id = (record.key or b"").decode(errors="replace")
        if run_id not in self._waiting or self._loop is None:
            return
        try:
            reply = read_reply(record.value)
        except ContractError as error:
            REFUSED.inc()
            structlog.get_logger().error(
                "reply refused", partition=record.partition, at=record.offset, reason=error.message
            )
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver, run_id, reply)
        except RuntimeError:
            return  # the loop is closed: the process ends, and nobody waits

    @contextmanager
    def expecting(self, run_id: str) -> Generator[_Waiting | None]:
        """Within it the run's reply is caught; None where too many wait already, or the process is about to end.

        To be entered before the event is sent: no reply is too early then.
        """
        if self._is_draining or self._count >= MOST_CALLERS:
            TOLD.labels("draining" if self._is_draining else "full").inc()
            yield None
            return
        waiting: _Waiting = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(waiting)
        self._count += 1
        CALLERS.set(self._count)
        try:
            yield waiting
        finally:
            others = self._waiting[run_id]
            others.remove(waiting)
            if not others:
                del self._waiting[run_id]
            self._count -= 1
            CALLERS.set(self._count)

    async def outcome(self, waiting: _Waiting, run_id: str, wait_s: float, receive: Receive) -> Reply | None:
        """The run's reply, or what its record says, within `wait_s` seconds; else None. Raises ClientDisconnect."""
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            for pause in _pauses(wait_s):
                await asyncio.wait((waiting, gone), timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    reply = waiting.result()
                    TOLD.labels("draining" if reply is None else "reply").inc()
                    return reply
                if gone.done():
                    TOLD.labels("gone").inc()
                    gone.result()
                    raise ClientDisconnect
                if (found := await self._recorded(run_id)) is not None:
                    TOLD.labels("record").inc()
                    return found
        finally:
            gone.cancel()
        TOLD.labels("late").inc()
        return None

    async def _recorded(self, run_id: str) -> Reply | None:
        try:
            run = await self._find(run_id)
        except PlatformUnavailable:
            # Webhooks need no database: the reply may still come, and else the answer is where the run will be.
            return None
        return None if run is None or run["status"] not in FINAL_STATUSES else _told_by(run)

    def _deliver(self, run_id: str, reply: Reply | None) -> None:
        for waiting in self._waiting.get(run_id, ()):
            if not waiting.done():
                waiting.set_result(reply)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pauses(wait_s: float) -> Iterator[float]:
    """Between looks into the records, `wait_s` together."""
    pause = FIRST_LOOK_S
    while wait_s > pause:
        yield pause
        wait_s -= pause
        pause *= 2
    yield wait_s


def _told_by(run: Mapping[str, Any]) -> Reply:
    found: object = run.get("collected")
    marker = cast("dict[str, object]", found) if isinstance(found, dict) else {}
    size = marker.get("bytes")
    if marker.get("_cut") is True and isinstance(size, int):
        return Reply(status=run["status"], answers=True, oversize=size)
    return Reply(status=run["status"], answers="collected" in run, value=found)
