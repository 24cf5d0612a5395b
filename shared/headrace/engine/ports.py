"""What the engine needs from outside: time, rows, HTTP. The services wire the real ones; tests give their own."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from headrace.engine.web.messages import HttpTransport


class Clock(Protocol):
    """Two clocks and a wait: `now` for what people read, `perf` for durations and deadlines."""

    def now(self) -> datetime:
        """The wall clock's time: aware, UTC, with microseconds."""
        ...

    def perf(self) -> float:
        """Seconds of a monotonic clock; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    perf = staticmethod(time.perf_counter)

    def now(self) -> datetime:
        """The wall clock's time: aware, UTC, with microseconds."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds` of the event loop's time."""
        await asyncio.sleep(seconds)


class RowRefused(Exception):
    """The store will never take this row as it is; the message, for the author, says why and quotes no value."""


class RowConflict(RowRefused):
    """A row with this id exists already, and another step, run or writer made it."""


@dataclass(frozen=True, slots=True)
class RowCreated:
    """The row as it stands in the store; `created` is False when an earlier attempt of the same step made it."""

    row: Mapping[str, object]
    created: bool


class RowStore(Protocol):
    """The rows of the apps."""

    async def create(self, app: str, table: str, row_id: str, row: Mapping[str, object], origin: str) -> RowCreated:
        """Creates `app`'s row `row_id` in `table`, once per `origin` (the step key).

        With the same origin again it returns the row as it is, `created` False. Raises RowConflict when the id exists
        with another origin, RowRefused for a row it can never take, PlatformUnavailable when the store is away.
        """
        ...


def only_events(app: str, topic: str) -> bool:
    """The default of `Ports.allowed_topics`: no app may publish anywhere but to the common events topic."""
    return False


@dataclass(frozen=True, slots=True)
class Ports:
    """All that the engine reaches outside of itself.

    `settings` is what templates see under that name (url, logo, company). `allowed_topics(app, topic)` says whether an
    app may publish to a topic beside `<prefix>.events`, which everyone may; topics of our own prefix are never asked
    about. `allow_private_hosts` lets automations call loopback and private addresses (development, or an installation
    that trusts its authors); link-local and metadata addresses stay closed.
    """

    rows: RowStore
    http: HttpTransport
    clock: Clock = field(default_factory=SystemClock)
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    allowed_topics: Callable[[str, str], bool] = only_events
    prefix: str = "headrace"
    allow_private_hosts: bool = False
