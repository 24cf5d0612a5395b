"""What the engine needs from outside: time, rows, HTTP, scripts. Services wire the real ones; tests give their own."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from headrace.contracts import limits
from headrace.contracts.cloudevents import Location
from headrace.engine.apps import AppConfig, nothing_configured
from headrace.engine.connections import MongoConnection, SqlConnection
from headrace.engine.rows import OutcomeT, RowEffect, RowEntry, RowStore
from headrace.engine.scripts.messages import NoScripts, ScriptRunner
from headrace.engine.web.messages import HttpTransport
from headrace.engine.web.tokens import TokenCache


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


@dataclass(frozen=True, slots=True)
class Claim:
    """One worker's wish to own a run: what it read, and how it signs.

    `source` is the event's record, `job` the job's; `owner` names the worker, its assignment epoch and this claim, and
    is never used twice.
    """

    run_id: str
    source: Location
    job: Location
    generation: int
    segment: int
    owner: str


Standing = Literal["new", "advanced", "taken_over", "duplicate", "stale"]
"""What a claim found. `new`: nobody had claimed the run. `advanced`: an earlier segment or generation had ended.
`taken_over`: the same job record was at work before (a redelivery). `duplicate`: another event record has the run.
`stale`: an older segment or generation, or the same one from another job record. The last two own nothing."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim; `journal` are the entries written so far, in their order, empty for what owns nothing."""

    standing: Standing
    journal: tuple[bytes, ...] = ()


class OwnershipLost(Exception):
    """Another claim owns the run by now: nothing was written, and this worker has no say in the run any more."""


class RunHeads(Protocol):
    """Who owns each run, and what its owner has written down of it (design: who owns a run)."""

    async def claim(self, claim: Claim) -> Claimed:
        """Makes `claim.owner` the run's owner if the claim stands; raises PlatformUnavailable.

        Claims made at the same time go to the store together. A claim that may or may not have been written is safe to
        make again, under another owner.
        """
        ...

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        """Writes entry `number` (from 0, without gaps) of the run's journal, if the claim still owns the run.

        Raises OwnershipLost, and PlatformUnavailable: then it may be written or not, and the run must be claimed again.
        """
        ...

    async def append_with_row(
        self, claim: Claim, number: int, entry: RowEntry[OutcomeT], effect: RowEffect[OutcomeT]
    ) -> OutcomeT:
        """The same, and does `effect` in the same transaction: both or neither.

        Raises also RowConflict, RowMissing and RowRefused; then neither is written.
        """
        ...


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement with its named binds. `reads`: it runs in a read-only transaction, and nothing is committed."""

    text: str
    parameters: Mapping[str, object]
    max_rows: int
    reads: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave: plain values by column. `truncated`: there were more, or they were too large together.

    `count` is the number of rows, or of those that a statement changed.
    """

    rows: Sequence[Mapping[str, object]]
    count: int
    truncated: bool = False


class SqlDatabases(Protocol):
    """The configured SQL databases."""

    async def execute(self, app: str, name: str, connection: SqlConnection, statement: SqlStatement) -> Rows:
        """Executes `statement` on `app`'s connection `name`; raises StepError. Can be cancelled at any await."""
        ...


@dataclass(frozen=True, slots=True)
class MongoFind:
    """Documents of a collection."""

    collection: str
    filter: Mapping[str, object]
    projection: Mapping[str, object] | None
    sort: Sequence[tuple[str, int]]
    skip: int
    limit: int


@dataclass(frozen=True, slots=True)
class MongoAggregate:
    """What a pipeline gives; it holds no stage that writes."""

    collection: str
    pipeline: Sequence[Mapping[str, object]]
    limit: int


@dataclass(frozen=True, slots=True)
class MongoCount:
    """How many documents fit."""

    collection: str
    filter: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class MongoInsert:
    """New documents, in their order."""

    collection: str
    documents: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class MongoUpdate:
    """A change of the first document that fits, or of all."""

    collection: str
    filter: Mapping[str, object]
    update: Mapping[str, object] | Sequence[Mapping[str, object]]
    many: bool
    upsert: bool


@dataclass(frozen=True, slots=True)
class MongoDelete:
    """The end of the first document that fits, or of all."""

    collection: str
    filter: Mapping[str, object]
    many: bool


MongoOperation = MongoFind | MongoAggregate | MongoCount | MongoInsert | MongoUpdate | MongoDelete


class MongoDatabases(Protocol):
    """The configured MongoDB databases of the apps; the platform's own is none of them."""

    async def execute(
        self, app: str, name: str, connection: MongoConnection, operation: MongoOperation
    ) -> Mapping[str, object]:
        """The outputs of `operation` on `app`'s connection `name`, as plain values; raises StepError.

        `{"$oid": text}` stands for an ObjectId in what is sent. Can be cancelled at any await.
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
    about. `apps(app)` is what the operator configured for an app; `sql` and `mongodb` reach the databases among it, and
    are None where a process has no way to them. `allow_private_hosts` lets automations call loopback and private
    addresses (development, or an installation that trusts its authors); link-local and metadata ones stay closed.
    `tokens` are shared by all runs.
    """

    rows: RowStore
    http: HttpTransport
    scripts: ScriptRunner = field(default_factory=NoScripts)
    clock: Clock = field(default_factory=SystemClock)
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    apps: Callable[[str], AppConfig] = nothing_configured
    sql: SqlDatabases | None = None
    mongodb: MongoDatabases | None = None
    allowed_topics: Callable[[str, str], bool] = only_events
    prefix: str = "headrace"
    allow_private_hosts: bool = False
    tokens: TokenCache = field(default_factory=TokenCache)
    max_chain: int = 5
    """How many runs may lead to another: the predecessor's limit. What start each other in a circle end by it."""
    max_iterations: int = limits.MAX_ITERATIONS
    """How many items a loop does, whatever its own `max` says."""
    retry_tiers: tuple[float, ...] = ()
    """Seconds, ascending: where a run waits after each attempt that failed. Without one it is a dead letter at once."""
