"""The batch shape: a handler turns a polled batch into outcomes, which are committed as one transaction."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import Consumer, Producer

from headrace.streams import metrics
from headrace.streams.commit_metadata import CommitPoint
from headrace.streams.config import GroupMemory, StreamConfig, consumer_properties, producer_properties
from headrace.streams.errors import Unavailable
from headrace.streams.intake import Intake
from headrace.streams.memory import CommittedPartitions, patiently
from headrace.streams.records import Outcome, Outgoing, Partition, Record
from headrace.streams.transactions import DeadLetter, Epoch, TransactionCycle

Handler = Callable[[Sequence[Record]], Sequence[Sequence[Outgoing]]]
"""Records in, for each (in their order) what is to be produced for it.

It may be called again with the same records, whole or in parts, so its effects must be repeatable. It raises
Unavailable when a platform part is away; anything else it raises is a bug, and costs only the record that provokes it.
"""


class BatchProcessor:
    """Runs a handler over a stream: every outcome is produced, and its offset committed, exactly once."""

    def __init__(self, config: StreamConfig, handler: Handler, dead_letter: DeadLetter, memory: GroupMemory) -> None:
        self._config = config
        self._handler = handler
        self._dead_letter = dead_letter
        self._stop = threading.Event()
        self._committed = CommittedPartitions(memory, self._stop)
        self._busy_since: float | None = None
        self._log = structlog.get_logger().bind(group=config.group)
        self._intake = Intake(
            Consumer(consumer_properties(config)),
            config.group,
            config.topics,
            self._committed.__contains__,
            capacity=4 * config.max_batch,
            capacity_bytes=4 * config.max_batch_bytes,
            begins_at_end=config.begins_at_end,
        )
        self._cycle = TransactionCycle(
            lambda: Producer(producer_properties(config)), self._intake, dead_letter, self._stop
        )

    @property
    def ready(self) -> bool:
        """Whether it has joined its group and got partitions at least once."""
        return self._intake.joined.is_set()

    def stalled_s(self) -> float:
        """Seconds since the poll loop or the handler last made progress: liveness is progress."""
        now, busy = time.monotonic(), self._busy_since
        return max(now - self._intake.last_beat, 0.0 if busy is None else now - max(busy, self._cycle.asked_at))

    def stop(self) -> None:
        """Asks `run` to finish the batch under way, commit it and leave the group. Callable from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed when the stream cannot go on."""
        self._committed.load()
        self._cycle.prepare()
        if self._stop.is_set():
            return
        self._intake.start()
        try:
            while not self._stop.is_set():
                self._step()
        finally:
            self._intake.close()
            self._cycle.close()

    def _step(self) -> None:
        batch = self._intake.take(self._config.max_batch, self._config.max_batch_bytes, wait_s=0.5)
        if not batch.records and not batch.positions:
            return
        self._busy_since = time.monotonic()
        records = [record for record, _ in batch.records]
        outputs: Sequence[Sequence[Outgoing]] | None = self._handle(records) if records else ()
        if outputs is not None:
            outcomes = [
                Outcome(record, epoch, made) for (record, epoch), made in zip(batch.records, outputs, strict=True)
            ]
            if self._cycle.commit(outcomes, BatchProgress(batch.positions)):
                self._committed.add(self._cycle.reached)
        self._busy_since = None

    def _handle(self, records: Sequence[Record]) -> Sequence[Sequence[Outgoing]] | None:
        """The handler's outputs, however long a platform part is away; None if it was asked to stop meanwhile."""
        metrics.BATCH_RECORDS.observe(len(records))
        began = time.perf_counter()
        outputs = patiently(lambda: self._isolating(records), self._stop, self._not_busy)
        metrics.HANDLER_SECONDS.observe(time.perf_counter() - began)
        return outputs

    def _isolating(self, records: Sequence[Record]) -> Sequence[Sequence[Outgoing]]:
        """The handler's outputs; a record that provokes a bug becomes a dead letter, its neighbours are handled."""
        try:
            return self._handler(records)
        except Unavailable:
            raise
        except Exception as bug:  # noqa: BLE001 - a bug must cost one record, not the stream; it is logged and kept
            if len(records) == 1:
                record = records[0]
                self._log.exception("handler failed", topic=record.topic, partition=record.partition, at=record.offset)
                metrics.DEAD_LETTERS.labels("internal_error").inc()
                return [[self._dead_letter(record, "internal_error", f"a bug in the service: {type(bug).__name__}")]]
        middle = len(records) // 2
        return [*self._isolating(records[:middle]), *self._isolating(records[middle:])]

    def _not_busy(self) -> None:
        self._busy_since = None


class BatchProgress:
    """How far a batch brings each partition: behind its last record, or to the position of an idle one."""

    def __init__(self, positions: Mapping[Partition, tuple[Epoch, int]]) -> None:
        self._positions = positions

    def points(self, outcomes: Sequence[Outcome]) -> Mapping[Partition, tuple[Epoch, CommitPoint]]:
        """The points to commit with `outcomes`."""
        reached = dict(self._positions)
        reached.update({each.record[:2]: (each.epoch, each.record.offset + 1) for each in outcomes})
        return {partition: (epoch, CommitPoint(offset, offset)) for partition, (epoch, offset) in reached.items()}

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing is kept between batches."""
