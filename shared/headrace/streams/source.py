"""The source shape: what comes from outside of Kafka becomes records, with the place where the source is.

Who reads the source is decided by a group: it is the one to whom the group gives the partition that stands for it. Its
place is in the metadata of that partition's offset, so that it is committed in the transaction that holds the records,
or neither is. The partition has no records.

Each owner first initialises the source's transactional id, which ends what the last owner left open, and then asks for
the place: what it is told is decided.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from headrace.streams import metrics
from headrace.streams.commit_metadata import CommitPoint, Tokens, decode, encode
from headrace.streams.config import GroupMemory, StreamConfig, consumer_properties, producer_properties
from headrace.streams.errors import StreamFailed, Unavailable
from headrace.streams.intake import Intake
from headrace.streams.memory import CommittedPartitions, patiently
from headrace.streams.offsets import COMMITTED_TIMEOUT_S, committed
from headrace.streams.records import Outcome, Outgoing, Partition, Record
from headrace.streams.transactions import COMMIT_TIMEOUT_S, INIT_TIMEOUT_S, DeadLetter, Epoch, TransactionCycle

READ_WAIT_S = 0.5
"""How long the source is waited for: how late a stop, or the loss of the partition, is noticed."""

QUIET_COMMIT_S = 5.0
"""How often the place is committed when it moves and nothing comes of it: rarely beside the minutes and hours for which
sources keep what is behind them, and often beside nothing."""

STANDS_BY_AFTER_S = 5.0
"""Whoever was not given the partition by then is not the one who will be next: the group takes it from a dead owner
within its session time-out, 3 s where the broker is set as ours. Nobody is told that he gets none."""

_T = TypeVar("_T")


class Item(NamedTuple):
    """What one thing that was read leads to, and the place behind it.

    `record` stands for it where it becomes a dead letter: it names the source's partition, and has no value.
    """

    record: Record
    outputs: Sequence[Outgoing]
    position: str


class Reading(NamedTuple):
    """Things in their order, and the place behind them and all that was passed by."""

    items: Sequence[Item]
    position: str


class Source(Protocol):
    """What is read; called in the thread of `run`.

    Places are texts without `;` and NUL, of at most 4,000 characters. Each method raises Unavailable when the source is
    away, and StreamFailed when it cannot go on.
    """

    def open(self, position: str | None, *, is_known: bool) -> str:
        """Goes on behind `position`, and answers the place where it is.

        None: no place is committed. `is_known` says whether one ever was: then it is lost. "": it is no place of ours.
        """
        ...

    def read(self, wait_s: float) -> Reading:
        """What comes next; waits up to `wait_s` for it. After Unavailable it goes on behind what it gave."""
        ...

    def committed(self, position: str) -> None:
        """The place is committed, and so is all that was given before it."""
        ...

    def close(self) -> None:
        """Lets go of it; never raises."""
        ...


class SourceProcessor:
    """Produces what `source` gives, exactly once, while it owns the partition 0 of the config's only topic."""

    def __init__(self, config: StreamConfig, source: Source, dead_letter: DeadLetter, memory: GroupMemory) -> None:
        self._config = config
        self._source = source
        self._dead_letter = dead_letter
        self._stop = threading.Event()
        self._committed = CommittedPartitions(memory, self._stop)
        (topic,) = config.topics
        self._partition: Partition = (topic, 0)
        self._busy_since: float | None = None
        self._is_open = False
        self._waits_since: float | None = None
        self._log = structlog.get_logger().bind(group=config.group)
        self._intake = Intake(
            Consumer(consumer_properties(config)),
            config.group,
            config.topics,
            self._committed.__contains__,
            capacity=1,
            capacity_bytes=1,
            whole=True,
        )

    @property
    def ready(self) -> bool:
        """Whether it reads the source, or stands by while another does."""
        since = self._waits_since
        stands_by = since is not None and time.monotonic() - since > STANDS_BY_AFTER_S
        return self._is_open or (stands_by and not self._intake.epochs)

    @property
    def is_owner(self) -> bool:
        """Whether it reads the source."""
        return self._is_open

    def stalled_s(self) -> float:
        """Seconds since the poll loop, the source or a commit last made progress: liveness is progress."""
        now, busy = time.monotonic(), self._busy_since
        return max(now - self._intake.last_beat, 0.0 if busy is None else now - busy)

    def stop(self) -> None:
        """Asks `run` to finish the transaction under way and leave the group. Callable from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed when the source or the stream cannot go on."""
        self._committed.load()
        if self._stop.is_set():
            return
        self._intake.start()
        self._waits_since = time.monotonic()
        try:
            while not self._stop.is_set():
                self._intake.take(1, 1, READ_WAIT_S)  # raises what ended it; there is nothing in it
                epoch = self._intake.epochs.get(self._partition)
                if epoch is not None:
                    self._own(epoch)
        finally:
            self._intake.close()

    def _own(self, epoch: Epoch) -> None:
        """Reads the source until the partition is lost, or `stop`."""
        cycle = TransactionCycle(
            lambda: Producer(producer_properties(self._config)), self._intake, self._dead_letter, self._stop
        )
        try:
            cycle.prepare()
            found = self._patiently(self._place)
            if found is None:
                return
            position, is_known = found
            begun = self._patiently(lambda: self._source.open(position, is_known=is_known))
            if begun is None:
                return
            self._log.info("source opened", position=begun)
            self._read(cycle, _Places(self._partition, epoch, begun), is_new=begun != position)
        finally:
            self._is_open, self._busy_since = False, None
            self._source.close()
            cycle.close()

    def _read(self, cycle: TransactionCycle, places: "_Places", *, is_new: bool) -> None:
        next_commit = 0.0 if is_new else time.monotonic() + QUIET_COMMIT_S
        reading = Reading((), places.position)
        while self._intake.holds(self._partition, places.epoch):
            is_due = places.position != places.committed_position and time.monotonic() >= next_commit
            if reading.items or is_due:
                self._busy_since = time.monotonic()
                if not cycle.commit(places.outcomes(reading), places):
                    return
                if self._intake.holds(self._partition, places.epoch):
                    self._committed.add([self._partition])
                    self._source.committed(places.committed_position)
                next_commit = time.monotonic() + QUIET_COMMIT_S
            self._busy_since = None
            if self._stop.is_set():
                return
            self._intake.take(1, 1, 0.0)  # raises what ended it
            found = self._patiently(lambda: self._source.read(READ_WAIT_S))
            if found is None:
                return
            reading, self._is_open = found, True
            places.position = found.position
            metrics.BATCH_RECORDS.observe(len(found.items))

    def _place(self) -> tuple[str | None, bool]:
        """What is committed, and whether anything ever was; raises Unavailable."""
        try:
            (found,) = self._intake.committed([self._partition])
        except (KafkaException, TimeoutError) as error:
            raise Unavailable(f"the committed place is not known yet: {error}") from None
        if found.offset < 0:
            return None, self._partition in self._committed
        point = decode(found.metadata or "", found.offset)
        return ("" if point is None else point.note), True

    def _patiently(self, call: Callable[[], _T]) -> _T | None:
        return patiently(call, self._stop, self._not_busy)

    def _not_busy(self) -> None:
        self._busy_since = None


class _Places:
    """How far the source is (transactions.Progress): behind the last thing that a transaction holds, or, where it
    holds nothing, at `position`."""

    def __init__(self, partition: Partition, epoch: Epoch, position: str) -> None:
        self._partition = partition
        self.epoch = epoch
        self.position = position
        self.committed_position = ""
        self._by_record: dict[int, str] = {}
        self._point = CommitPoint(0, 0)

    def outcomes(self, reading: Reading) -> list[Outcome]:
        """What is to be committed of it."""
        self._by_record = {id(item.record): item.position for item in reading.items}
        return [Outcome(item.record, self.epoch, item.outputs) for item in reading.items]

    def points(self, outcomes: Sequence[Outcome]) -> Mapping[Partition, tuple[Epoch, CommitPoint]]:
        """The place to commit with `outcomes`."""
        place = self._by_record[id(outcomes[-1].record)] if outcomes else self.position
        self._point = CommitPoint(0, 0, note=place)
        return {self._partition: (self.epoch, self._point)}

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The place is committed."""
        self.committed_position = self._point.note


def write_place(config: StreamConfig, position: str) -> None:
    """Sets the place from which the source is read next; the group must have no member. Raises StreamFailed."""
    consumer = Consumer({**config.kafka, "group.id": config.group})
    producer = Producer(producer_properties(config))
    (topic,) = config.topics
    offset = TopicPartition(topic, 0, 0, encode(CommitPoint(0, 0, note=position), Tokens().next()))
    try:
        # Ends what an owner left open, which could still be committed over ours.
        producer.init_transactions(INIT_TIMEOUT_S)
        producer.begin_transaction()
        producer.send_offsets_to_transaction([offset], consumer.consumer_group_metadata(), COMMIT_TIMEOUT_S)
        producer.commit_transaction(COMMIT_TIMEOUT_S)
    except KafkaException as error:
        raise StreamFailed(
            f"the place of {config.group} could not be set (is its service stopped?): {error.args[0].str()}"
        ) from None
    finally:
        consumer.close()


def read_place(config: StreamConfig) -> str | None:
    """The committed place; None where there is none. Raises KafkaException."""
    consumer = Consumer({**config.kafka, "group.id": config.group, "isolation.level": "read_committed"})
    (topic,) = config.topics
    try:
        (found,) = committed(consumer, [TopicPartition(topic, 0)], COMMITTED_TIMEOUT_S)
    finally:
        consumer.close()
    point = decode(found.metadata or "", found.offset) if found.offset >= 0 else None
    return None if point is None else point.note
