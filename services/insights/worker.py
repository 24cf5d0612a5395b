"""The Faust worker: the stats topic into the table, each delta once."""

import asyncio
import os
import time
from typing import Any, cast

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.types import TP, EventT
from prometheus_client import Counter

from headrace.contracts.errors import ContractError
from headrace.contracts.stats import Delta, read_delta
from headrace.contracts.topics import INSIGHTS, STATS
from headrace.engine import PlatformUnavailable
from headrace.installation import group_name
from headrace.service import EXIT_FAILED
from headrace.settings import Settings
from headrace.streams import Record, StreamFailed
from services.insights.book import Book
from services.insights.credentials import broker_credentials
from services.insights.judge import Judge
from services.insights.letters import Letters
from services.insights.progress import Progress
from services.insights.table import PartitionRows, Table

NAME = "insights"

FLUSH_EVERY_S = 0.5
"""Rows are written and offsets committed so often: what a query sees is at most that old, and a row that hundreds of
deltas add to is written twice a second."""

AWAY_S = 1.0
"""Between tries while a platform part is away."""

SESSION_S = 10.0
"""Of the classic group protocol, the only one that Faust's client has; brokers accept 6 s and more. A worker started
again in its slot is the same member and has its partitions at once: only others wait for this."""

STOP_S = 10.0
"""What Faust may take to stop."""

DELTAS = Counter("headrace_insights_deltas_total", "Records of the stats topic, by what became of them", ["outcome"])
_COUNTED, _KNOWN, _REFUSED = map(DELTAS.labels, ("counted", "known", "refused"))


class App(faust.App):
    """A Faust application that keeps nothing on disk."""

    async def on_first_start(self) -> None:
        """Faust would make directories here."""


class Worker:
    """Counts deltas and lets crons be judged. Belongs to the event loop in which it was made."""

    def __init__(self, settings: Settings, judge: Judge, letters: Letters, progress: Progress) -> None:
        self._judge = judge
        self._letters = letters
        self._progress = progress
        self._stats = STATS.full_name(settings.prefix)
        self._app = _app(settings)
        self._table = _table(self._app, settings)
        self._book = Book(lambda: self._table.partitions_here)
        self._table.moved = self._book.forget
        self._flushing = asyncio.Lock()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_busy = False
        self._committed: dict[int, int] = {}
        # Without Faust's acknowledging, which loses count at the markers of transactions: `_flush` commits.
        topic = self._app.topic(self._stats, acks=False, key_serializer="raw", value_serializer="raw")
        self._app.agent(topic, name="counts")(self._agent())
        cast(Any, self._app.on_partitions_revoked).connect(self._on_revoked)

    @property
    def partitions(self) -> dict[int, PartitionRows]:
        """The rows that this process has, by partition."""
        return self._table.partitions_here

    @property
    def is_settled(self) -> bool:
        """Whether it takes part in its group and has its rows."""
        return self._app.tables.actives_ready and not self._app.rebalancing

    @property
    def moves(self) -> int:
        """Changes as long as it gets its partitions."""
        return self._app.rebalancing_count

    async def positions(self) -> dict[int, int]:
        """How far each partition is: its committed offset, or as far as was read where nothing is left to do. Raises
        StreamFailed."""
        positions = {number: self._committed.get(number, -1) for number in self.partitions}
        if self.is_settled and not self._is_busy and not self._book.has_changes and not self._flushing.locked():
            for number in positions:
                try:
                    positions[number] = await self._app.consumer.position(self._partition(number)) or 0
                except IllegalStateError:
                    break  # it was taken away meanwhile
                except RuntimeError as error:
                    raise StreamFailed(f"Faust's consumer has ended: {error}") from error
        return positions

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`; raises StreamFailed when Faust fails, or what it cannot go on without."""
        failure: StreamFailed | None = None
        try:
            await self._run_until(stop)
            await self._flush_if_settled()
        except StreamFailed as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, counting has ended; it ends the process
            failure = StreamFailed(f"counting failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
        await self._end(failure)
        if failure is not None:
            raise failure

    async def _run_until(self, stop: asyncio.Event) -> None:
        self._app.in_worker = True
        starting = asyncio.ensure_future(self._app.start())
        ends = [asyncio.ensure_future(each) for each in (stop.wait(), self._flush_often(), self._notice_crash())]
        try:
            await asyncio.wait([starting, *ends, self._failure], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait([*ends, self._failure], return_when=asyncio.FIRST_COMPLETED)
            for each in (*ends, self._failure):
                if each.done():
                    each.result()
        finally:
            await self._flushed()
            for each in (starting, *ends):
                each.cancel()

    async def _flushed(self) -> None:
        """Lets a write under way end: cut off, what it had taken would be counted again by whoever comes next."""
        try:
            async with asyncio.timeout(STOP_S), self._flushing:
                pass
        except TimeoutError:
            structlog.get_logger().warning("a write is cut off; what it held is counted again")

    async def _end(self, failure: StreamFailed | None) -> None:
        try:
            await asyncio.wait_for(self._app.stop(), STOP_S)
        except Exception as error:  # noqa: BLE001 - how it fails to stop makes no difference
            # Its threads would keep the process, and its partitions from others, for ever. To Kafka this end is a
            # kill's: what was not committed is counted by whoever comes next.
            structlog.get_logger().error(
                "Faust does not stop; the process ends without it",
                reason=None if failure is None else str(failure),
                exc_info=error,
            )
            os._exit(EXIT_FAILED)

    # Counting.

    def _agent(self) -> Any:
        async def counts(stream: Any) -> None:
            try:
                async for event in stream.events():
                    self._is_busy = True
                    await self._take(event)
                    # As long as more waits it is not idle.
                    self._is_busy = not stream.channel.queue.empty()
            except Exception as error:  # noqa: BLE001 - Faust would start the agent again and go on behind the record
                if not self._failure.done():
                    self._failure.set_exception(error)

        return counts

    async def _take(self, event: EventT) -> None:
        record = _record(event)
        try:
            delta = read_delta(record.value)
            if delta["is_cron"]:
                await self._judged(record.partition, record.offset, delta)
            is_new = self._book.count(record.partition, record.offset, record.timestamp_ms / 1000, delta, time.time())
        except ContractError as error:
            await self._refuse(record, error.type, error.message)
        except Exception as bug:  # noqa: BLE001 - a bug must cost one record, not the stream; it is logged and kept
            topic, partition, offset = record[:3]
            structlog.get_logger().exception("cannot be counted", topic=topic, partition=partition, at=offset)
            await self._refuse(record, "internal_error", f"a bug in the service: {type(bug).__name__}")
        else:
            (_COUNTED if is_new else _KNOWN).inc()
        self._book.reach(record.partition, record.offset + 1)

    async def _refuse(self, record: Record, type: str, message: str) -> None:
        await self._letters.send(record, type, message)
        _REFUSED.inc()

    async def _judged(self, partition: int, offset: int, delta: Delta) -> None:
        automation = f"{delta['app']}/{delta['automation']}"
        while True:
            before = self._book.failures(partition, automation)
            if offset <= before.offset:
                return
            try:
                after = await self._judge.judged(before, offset, delta)
            except PlatformUnavailable as away:
                structlog.get_logger().warning("waits to judge", automation=automation, reason=str(away))
                self._progress.excuse()
                await asyncio.sleep(AWAY_S)
                continue
            # The partition may have been another's meanwhile, and the row another.
            if self._book.failures(partition, automation) == before:
                self._book.put_failures(partition, automation, after)
                return

    # Writing.

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self._flush_if_settled()

    async def _flush_if_settled(self) -> None:
        async with self._flushing:
            # Between the revocation of partitions and the next assignment Faust changes its producers.
            if self.is_settled:
                await self._flush()

    async def _on_revoked(self, app: object, revoked: set[TP], **_: object) -> None:
        """Leaves nothing uncommitted to the next owner."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        """Rows first, then the offsets that they count up to. Whatever fails here must end the process: rows in memory
        would be ahead of the changelog."""
        changes, reached = self._book.changes(time.time())
        await self._table.write(changes)
        offsets = {self._partition(number): at for number, at in reached.items() if number in self.partitions}
        if offsets:
            await cast(Any, self._app.consumer).transactions.commit(offsets)
            self._committed.update({each.partition: at for each, at in offsets.items()})

    def _partition(self, number: int) -> TP:
        # Faust's own type is not the client's.
        return cast(TP, TopicPartition(self._stats, number))

    async def _notice_crash(self) -> None:
        while not self._app.crashed:  # noqa: ASYNC110 - Faust has no event for it
            await asyncio.sleep(FLUSH_EVERY_S)
        reason = self._app.crash_reason
        raise reason if isinstance(reason, StreamFailed) else StreamFailed(f"Faust crashed: {reason!r}")


def _app(settings: Settings) -> App:
    group = group_name(settings, NAME)
    return App(
        group,
        broker=[f"kafka://{server}" for server in settings.kafka["bootstrap.servers"].split(",")],
        broker_credentials=broker_credentials(settings),
        broker_client_id=f"{group}-{settings.slot}",
        consumer_group_instance_id=f"{group}-{settings.slot}",
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 5,
        consumer_auto_offset_reset="earliest",
        # The only one in which it reads nothing but what is committed, and in which an earlier owner is fenced off.
        processing_guarantee="exactly_once",
        producer_compression_type="lz4",
        # The store reads its changelog itself, and is ahead of what Faust knows of its end.
        recovery_consistency_check=False,
        stream_wait_empty=False,
        # A changelog is read in seconds: a copy of every other worker's rows saves little.
        table_standby_replicas=0,
        store="memory://",
        # Topics are made by `headrace topics --make`, and checked at each start.
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        web_enabled=False,
        Table=Table,
    )


def _table(app: App, settings: Settings) -> Table:
    name = INSIGHTS.full_name(settings.prefix)
    changelog = app.topic(
        name,
        acks=False,
        allow_empty=True,
        internal=True,
        partitions=settings.partitions,
        key_serializer="raw",
        value_serializer="raw",
    )
    table = app.Table(
        INSIGHTS.name,
        partitions=settings.partitions,
        changelog_topic=changelog,
        options={"kafka": settings.kafka, "counted": STATS.full_name(settings.prefix)},
    )
    return cast(Table, table)


def _record(event: EventT) -> Record:
    message = event.message
    headers = [(name, value or b"") for name, value in dict(message.headers or {}).items()]
    timestamp_ms = int(message.timestamp * 1000)
    return Record(message.topic, message.partition, message.offset, timestamp_ms, message.key, message.value, headers)
