"""The polling thread: reads into a bounded buffer and owns the consumer.

Every call of the consumer is made in this thread. The client lets one call in at a time, so a call from another thread
waits for the poll under way, and starves while polls follow each other. What others need (group metadata, committed
offsets) this thread takes for them.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import NamedTuple

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.streams import metrics
from headrace.streams.buffer import Buffer
from headrace.streams.commit_metadata import CommitPoint, decode
from headrace.streams.config import nowhere
from headrace.streams.errors import HOPELESS, OffsetsLost, StreamFailed
from headrace.streams.listener import Listener, NoListener
from headrace.streams.offsets import COMMITTED_TIMEOUT_S, committed, committed_at_last
from headrace.streams.records import Partition, Record, read_message

POLL_WAIT_S = 0.1
"""How long a poll waits: bounds how late a request or a stop is noticed; a record ends the wait at once."""

PAUSED_WAIT_S = 0.02
"""The same while fetching is paused: a record does not end the wait then, and what is paused goes on as late."""

REVOKE_WAIT_S = 5.0
"""How long a revocation waits for a transaction under way; far below max.poll.interval.ms (300 s)."""

IDLE_AFTER_S = 1.0
"""After this long without records positions are offered for commit: transaction markers occupy offsets, and lag would
never reach 0 behind them."""


NO_LIMIT = 1 << 30
"""Of a rank that has no limit of its own: more than any buffer holds."""


class Batch(NamedTuple):
    """Records with the epochs of their partitions, or (then without records) positions of idle partitions."""

    records: list[tuple[Record, int]]
    positions: dict[Partition, tuple[int, int]]
    """(epoch, position) by partition."""


class _Stopped(Exception):
    """Asked to stop within an assignment, which is given up."""


class Intake:
    """Reads `topics` as a member of the consumer's group.

    `known` answers whether the group committed a partition before. `commit_lock` is held by whoever commits: a
    revocation waits for it, so that no offset of a partition is committed after the partition was given away.
    `ranks`: topics whose records are handed out after those of lower ranks, see `Buffer`.
    `whole`: a partition is read from its beginning, whatever is committed; `known` is not asked, and `target` tells how
    far it must be read.
    `begins_at_end`: of which topics a partition that was never committed is begun with what comes.
    """

    def __init__(
        self,
        consumer: Consumer,
        group: str,
        topics: Sequence[str],
        known: Callable[[Partition], bool],
        capacity: int,
        capacity_bytes: int,
        listener: Listener | None = None,
        *,
        whole: bool = False,
        ranks: Mapping[str, int] = MappingProxyType({}),
        begins_at_end: Callable[[str], bool] = nowhere,
    ) -> None:
        self._begins_at_end = begins_at_end
        self._whole = whole
        self._listener = listener or NoListener()
        self.commit_lock = threading.Lock()
        self.joined = threading.Event()
        self._consumer = consumer
        self._group = group
        self._topics = list(topics)
        self._known = known
        self._capacity = capacity
        self._changed = threading.Condition()
        self._buffer = Buffer(ranks, capacity, capacity_bytes)
        self._idle: dict[Partition, tuple[int, int]] = {}
        self._offered: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        """Where a partition's end was reached. A new owner of a quiet partition has read nothing there, so it has no
        position, and only this passes the markers that its predecessor left behind the last record."""
        self._targets: dict[Partition, tuple[int, int]] = {}
        self._is_end_news = False
        self._epochs: dict[Partition, int] = {}
        self._last_epoch = 0
        self._group_metadata: object = consumer.consumer_group_metadata()
        self._requests: SimpleQueue[tuple[list[TopicPartition], Future[list[TopicPartition]]]] = SimpleQueue()
        self._failure: StreamFailed | None = None
        self._stopping = threading.Event()
        self._full: frozenset[int] = frozenset()
        self._held: frozenset[Partition] = frozenset()
        self._paused: frozenset[Partition] = frozenset()
        self._last_record = time.monotonic()
        self.last_beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._log = structlog.get_logger().bind(group=group)

    def start(self) -> None:
        """Joins the group and begins to read."""
        self._thread.start()

    def stop_reading(self) -> None:
        """No record is handed out any more; the member stays in the group until `close`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def close(self) -> None:
        """Leaves the group. What was read and not committed will be read again by the next owner."""
        self.stop_reading()
        self._thread.join()

    def take(self, most: int, most_bytes: int, wait_s: float, rooms: Sequence[int] = (NO_LIMIT,)) -> Batch:
        """The next records in order, at most `most` and about `most_bytes`; waits up to `wait_s` for a first one.

        `rooms`: for each rank how many of it. Raises StreamFailed when the stream cannot go on.
        """
        with self._changed:
            if not self._buffer and not self._idle and self._failure is None and not self._stopping.is_set():
                self._changed.wait(wait_s)
            if self._failure is not None:
                raise self._failure
            if self._stopping.is_set():
                return Batch([], {})
            taken = self._buffer.take(rooms, most, most_bytes)
            positions: dict[Partition, tuple[int, int]] = {}
            if not self._buffer and not taken:
                positions, self._idle = self._idle, {}
            self._changed.notify_all()
        return Batch(taken, positions)

    def hold(self, partitions: frozenset[Partition]) -> None:
        """From now on fetching pauses for `partitions`, and for no other; what is buffered is still handed out."""
        self._held = partitions

    def holds(self, partition: Partition, epoch: int) -> bool:
        """Whether the partition is still assigned as it was in `epoch`. Decisive only under `commit_lock`."""
        return self._epochs.get(partition) == epoch

    @property
    def epochs(self) -> dict[Partition, int]:
        """All assigned partitions with their epochs, as of now."""
        return dict(self._epochs)

    def target(self, partition: Partition, epoch: int) -> int | None:
        """Whoever has read a `whole` partition up to here has read all that was written before it was assigned, and
        what was written in transactions is decided. None: it is not known yet, and nothing of it was handed out."""
        known = self._targets.get(partition)
        return known[1] if known is not None and known[0] == epoch else None

    @property
    def group_metadata(self) -> object:
        """The group's metadata after the last poll; the broker refuses it if a rebalance came since."""
        return self._group_metadata

    def committed(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        """Committed offsets with their metadata. Not to be called under `commit_lock`: a revocation may wait for it.

        Raises KafkaException or TimeoutError.
        """
        answer: Future[list[TopicPartition]] = Future()
        self._requests.put(([TopicPartition(*partition) for partition in partitions], answer))
        return answer.result(COMMITTED_TIMEOUT_S + REVOKE_WAIT_S)

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stopping.is_set():
                self._serve_requests()
                self._read()
                self._beat()
        except _Stopped:
            self._log.warning("stopped before its partitions' offsets were known")
        except StreamFailed as failure:
            self._fail(failure)
        except KafkaException as error:
            self._fail(StreamFailed(f"reading from Kafka failed: {error.args[0]}"))
        finally:
            self._consumer.close()

    def _fail(self, failure: StreamFailed) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()
        self._listener.available()

    def _read(self) -> None:
        self._wait_for_room()
        messages = self._consumer.consume(1, PAUSED_WAIT_S if self._full else POLL_WAIT_S)
        if messages and not self._full - {self._yielding}:
            # Without this second call the rest of what is there would wait for the next round; with a time-out it
            # would sit the time-out out to fill the batch.
            messages += self._consumer.consume(self._capacity, 0)
        self._group_metadata = self._consumer.consumer_group_metadata()
        now = time.monotonic()
        records = [self._record(message) for message in messages]
        items = [(record, self._epochs[record[:2]]) for record in records if record is not None]
        if items:
            self._last_record = now
            metrics.RECORDS_READ.inc(len(items))
        elif now - self._last_record > IDLE_AFTER_S or self._is_end_news:
            self._is_end_news = False
            self._offer_positions()
        with self._changed:
            if items:
                # Behind these records an offered position would take their committed offset back.
                self._idle = {}
                self._offered.clear()
            self._buffer.extend(items)
            metrics.BUFFERED.set(len(self._buffer))
            self._changed.notify_all()
            is_news = bool(items or self._idle)
        if is_news:
            self._listener.available()

    def _record(self, message: Message) -> Record | None:
        error = message.error()
        if error is None:
            record = read_message(message)
            if record[:2] not in self._epochs:
                return None
            self._note_target(record[:2])
            return record
        if error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
            partition = str(message.topic()), int(message.partition() or 0)
            if partition in self._epochs:  # else told before it was given away: when it comes back, more may be there
                self._ends[partition] = int(message.offset() or 0)
                self._note_target(partition)
                self._is_end_news = self._whole
            return None
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # pyright: ignore[reportPrivateUsage]
            raise OffsetsLost(self._group, str(message.topic()), int(message.partition() or 0), error.str())
        if error.fatal() or error.code() in HOPELESS:
            raise StreamFailed(f"reading from Kafka failed: {error}")
        self._log.warning("kafka consumer", error=str(error))
        return None

    def _note_target(self, partition: Partition) -> None:
        """Takes the end that the first fetch after the assignment told. It is the true one, behind open transactions of
        the last owner, which are so waited for; asked for it, the client answers with the end of what can be read."""
        if self._whole and partition not in self._targets:
            ends = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            self._targets[partition] = self._epochs[partition], ends[1]

    def _wait_for_room(self) -> None:
        """Pauses fetching while the buffer is full; polling goes on, because callbacks and membership hang on it."""
        with self._changed:
            if not self._full - {self._yielding}:
                # A brief fullness is waited out: pausing throws away what the client has fetched ahead. Not so that of
                # the rank that gives way: others would wait with it.
                self._changed.wait_for(self._has_room, POLL_WAIT_S)
            self._full = self._buffer.full(self._full)
        wanted = self._held & self._epochs.keys()
        if self._full:
            wanted |= {partition for partition in self._epochs if self._buffer.rank(partition[0]) in self._full}
        if wanted != self._paused:
            self._consumer.pause(_topic_partitions(wanted - self._paused))
            self._consumer.resume(_topic_partitions(self._paused - wanted))
            self._paused = wanted

    @property
    def _yielding(self) -> int:
        """The rank that gives way to all others, -1 where there is only one."""
        return self._buffer.last or -1

    def _has_room(self) -> bool:
        return not self._buffer.full(self._full) - {self._yielding}

    def _offer_positions(self) -> None:
        # Of a held partition some records are not handed out yet; it is asked again once it is no longer.
        partitions = _topic_partitions(frozenset(self._epochs) - self._held)
        self._measure_lag()
        reached = {
            (found.topic, found.partition): max(found.offset, self._ends.get((found.topic, found.partition), -1))
            for found in self._consumer.position(partitions)
        }
        changed = {
            partition: offset
            for partition, offset in reached.items()
            if offset >= 0 and self._offered.get(partition) != offset
        }
        if changed:
            self._offered.update(changed)
            with self._changed:
                # Those offered before may not be taken yet, and are not offered twice.
                self._idle |= {partition: (self._epochs[partition], offset) for partition, offset in changed.items()}

    def _measure_lag(self) -> None:
        for found in self._consumer.position([TopicPartition(*partition) for partition in self._epochs]):
            ends = self._consumer.get_watermark_offsets(found, cached=True)
            if ends and found.offset >= 0:
                metrics.LAG.labels(found.topic, found.partition).set(max(0, ends[1] - found.offset))

    def _serve_requests(self) -> None:
        while True:
            try:
                partitions, answer = self._requests.get_nowait()
            except Empty:
                return
            try:
                answer.set_result(committed(self._consumer, partitions, COMMITTED_TIMEOUT_S))
            except KafkaException as error:
                answer.set_exception(error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._stopping.is_set():
            # Told within `close`, in which no question is answered: the client gives them back by itself.
            return
        offsets = committed_at_last(consumer, self._group, partitions, self._beat_or_stop)
        for found in offsets:
            if found.error is not None:
                raise StreamFailed(f"no committed offset for {found.topic}/{found.partition}: {found.error}")
            if self._whole:
                found.offset = OFFSET_BEGINNING
            elif found.offset < 0:
                if self._known((found.topic, found.partition)):
                    raise OffsetsLost(self._group, found.topic, found.partition, "none is committed")
                found.offset = OFFSET_END if self._begins_at_end(found.topic) else OFFSET_BEGINNING
        for found in offsets:
            self._last_epoch += 1
            partition = found.topic, found.partition
            self._epochs[partition] = self._last_epoch
            self._ends.pop(partition, None)
            known = None if found.offset < 0 else _point(found)
            self._listener.assigned(partition, self._last_epoch, known)
        consumer.incremental_assign(offsets)
        if full := [found for found in offsets if self._buffer.rank(found.topic) in self._full]:
            consumer.pause(full)
            self._paused |= {(found.topic, found.partition) for found in full}
        metrics.ASSIGNED.set(len(self._epochs))
        self.joined.set()
        self._log.info("partitions assigned", partitions=_names(partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        deadline = time.monotonic() + REVOKE_WAIT_S
        gone = self._with_epochs(partitions)
        self._listener.revoking(gone, REVOKE_WAIT_S)
        held = self.commit_lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        try:
            self._give_up(consumer, partitions)
        finally:
            if held:
                self.commit_lock.release()
        self._listener.lost(gone)
        self._log.info("partitions revoked", partitions=_names(partitions), commit_finished=held)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # They have an owner already, and the broker refuses our metadata: there is nothing to wait for.
        gone = self._with_epochs(partitions)
        self._give_up(consumer, partitions)
        self._listener.lost(gone)
        self._log.warning("partitions lost", partitions=_names(partitions))

    def _beat_or_stop(self) -> None:
        self._beat()
        if self._stopping.is_set():
            raise _Stopped

    def _beat(self) -> None:
        self.last_beat = time.monotonic()

    def _with_epochs(self, partitions: list[TopicPartition]) -> dict[Partition, int]:
        named = ((found.topic, found.partition) for found in partitions)
        return {partition: self._epochs[partition] for partition in named if partition in self._epochs}

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(lost.topic, lost.partition) for lost in partitions}
        # The client keeps a partition's pause beyond its assignment: it would come back paused, and stay so.
        consumer.resume(_topic_partitions(self._paused & gone))
        self._paused -= gone
        consumer.incremental_unassign(partitions)
        for partition in gone:
            self._epochs.pop(partition, None)
            self._offered.pop(partition, None)
            self._ends.pop(partition, None)
            self._targets.pop(partition, None)
        metrics.ASSIGNED.set(len(self._epochs))
        with self._changed:
            self._idle = {partition: held for partition, held in self._idle.items() if partition not in gone}
            self._buffer.drop(gone.__contains__)


def _point(found: TopicPartition) -> CommitPoint:
    """What was committed for a partition; metadata of another writer says nothing beyond the offset."""
    return decode(found.metadata or "", found.offset) or CommitPoint(found.offset, found.offset)


def _topic_partitions(partitions: frozenset[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]


def _names(partitions: list[TopicPartition]) -> list[str]:
    return sorted(f"{found.topic}/{found.partition}" for found in partitions)
