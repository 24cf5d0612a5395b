"""The state shape: what a partition says is kept in memory, and acted on when its time has come.

A partition is read from its beginning whenever it is assigned, so memory is all that its state needs. Nothing is done
before the state is what the partition said at the assignment, transactions of the last owner decided. What is done then
is one transaction: outgoing records, and what the partition itself is told of them, so that whoever reads it next does
not do it again. It ends with a commit of the offset read so far, under the group's metadata. That offset is never read
back: it fences a worker that has lost the partition, and shows the lag.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import Consumer, Producer

from headrace.streams import metrics
from headrace.streams.commit_metadata import CommitPoint
from headrace.streams.config import StreamConfig, consumer_properties, producer_properties
from headrace.streams.intake import Batch, Intake
from headrace.streams.records import Outcome, Outgoing, Partition, Record
from headrace.streams.transactions import DeadLetter, Epoch, TransactionCycle

LOOK_S = 0.5
"""The longest wait for a record or a due time: how late a stop, or a change made by another thread, is noticed."""

ACT_S = 10.0
"""What could not be committed for so long is given back: at another time other things may be to be done. Twice what a
commit may take on a slow broker."""

COMMIT_EVERY_S = 1.0
"""How often progress alone is committed. Nothing but the lag that is shown depends on it."""


class Act(NamedTuple):
    """What is to be produced, all of it or nothing, and the record that it follows from (its key, place and value).

    What the broker refuses of `outputs` makes them a dead letter of the record; `own` is produced all the same.
    """

    record: Record
    outputs: Sequence[Outgoing]
    own: Sequence[Outgoing]


class PartitionState(Protocol):
    """What one partition says. Used by one thread, and dropped when the partition is given away.

    No method raises: an exception ends the process.
    """

    def apply(self, record: Record) -> None:
        """The next record of the partition; its own acts' records come back here too."""
        ...

    def act(self, most: int) -> Sequence[Act]:
        """What is to be done now, at most `most`, one act for a key. It counts as done unless it is taken back. Never
        called before the state is complete."""
        ...

    def take_back(self, acts: Sequence[Act]) -> None:
        """These were not committed; nothing was applied since."""
        ...

    def wait_s(self) -> float:
        """Seconds until `act` will have something; not above zero if it has."""
        ...


@dataclass(slots=True)
class _Owned:
    epoch: Epoch
    state: PartitionState
    began: float
    read: int = 0
    """The offset behind the last record applied."""
    committed: int = -1
    is_complete: bool = False


class StateProcessor:
    """Keeps a state for each partition assigned to it, made by `open_state`, and commits what the states do."""

    def __init__(
        self, config: StreamConfig, open_state: Callable[[Partition], PartitionState], dead_letter: DeadLetter
    ) -> None:
        self._config = config
        self._open_state = open_state
        self._stop = threading.Event()
        self._owned: dict[Partition, _Owned] = {}
        self._made_at = 0.0
        self._points: Mapping[Partition, tuple[Epoch, CommitPoint]] = {}
        self._done: set[tuple[Partition, bytes | None]] = set()
        self._last_commit = 0.0
        self._busy_since: float | None = None
        self._log = structlog.get_logger().bind(group=config.group)
        self._intake = Intake(
            Consumer(consumer_properties(config)),
            config.group,
            config.topics,
            lambda _: False,
            capacity=4 * config.max_batch,
            capacity_bytes=4 * config.max_batch_bytes,
            whole=True,
        )
        self._cycle = TransactionCycle(
            lambda: Producer(producer_properties(config)), self._intake, dead_letter, self._stop
        )

    @property
    def ready(self) -> bool:
        """Whether it got partitions and the states of all it has are complete."""
        complete = {partition: owned.epoch for partition, owned in self._owned.copy().items() if owned.is_complete}
        return self._intake.joined.is_set() and self._intake.epochs == complete

    @property
    def stopping(self) -> threading.Event:
        """Set once `stop` was called."""
        return self._stop

    def stalled_s(self) -> float:
        """Seconds since the poll loop, a state or a commit last made progress: liveness is progress."""
        now, busy = time.monotonic(), self._busy_since
        return max(now - self._intake.last_beat, 0.0 if busy is None else now - max(busy, self._cycle.asked_at))

    def stop(self) -> None:
        """Asks `run` to finish the transaction under way and leave the group. Callable from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed when the stream cannot go on."""
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
        batch = self._intake.take(self._config.max_batch, self._config.max_batch_bytes, self._wait_s())
        self._busy_since = time.monotonic()
        self._drop_lost()
        self._take_in(batch)
        self._act()
        self._busy_since = None

    def _wait_s(self) -> float:
        waits = [owned.state.wait_s() for owned in self._owned.values() if owned.is_complete]
        return max(0.0, min([LOOK_S, *waits]))

    def _drop_lost(self) -> None:
        for partition, owned in list(self._owned.items()):
            if not self._intake.holds(partition, owned.epoch):
                del self._owned[partition]

    def _take_in(self, batch: Batch) -> None:
        for record, epoch in batch.records:
            owned = self._owned_at(record[:2], epoch)
            owned.state.apply(record)
            owned.read = record.offset + 1
        for partition, (epoch, position) in batch.positions.items():
            owned = self._owned_at(partition, epoch)
            owned.read = max(owned.read, position)
        for partition, owned in self._owned.items():
            if not owned.is_complete:
                target = self._intake.target(partition, owned.epoch)
                owned.is_complete = target is not None and owned.read >= target
                if owned.is_complete:
                    took = time.monotonic() - owned.began
                    metrics.REBUILD_SECONDS.set(took)
                    self._log.info("state rebuilt", topic=partition[0], partition=partition[1], seconds=round(took, 3))
        metrics.REBUILDING.set(sum(not owned.is_complete for owned in self._owned.values()))

    def _owned_at(self, partition: Partition, epoch: Epoch) -> _Owned:
        owned = self._owned.get(partition)
        if owned is None or owned.epoch != epoch:
            owned = self._owned[partition] = _Owned(epoch, self._open_state(partition), time.monotonic())
        return owned

    def _act(self) -> None:
        complete = {partition: owned for partition, owned in self._owned.items() if owned.is_complete}
        # Each gets its share: one that is far behind does not keep the others waiting.
        share = max(1, self._config.max_batch // max(1, len(complete)))
        acts = {partition: owned.state.act(share) for partition, owned in complete.items()}
        outcomes = [
            Outcome(act.record, complete[partition].epoch, act.outputs, own=act.own)
            for partition, made in acts.items()
            for act in made
        ]
        if outcomes or self._is_progress_due():
            metrics.BATCH_RECORDS.observe(len(outcomes))
            self._made_at, self._done = time.monotonic(), set()
            self._cycle.commit(outcomes, self)
            self._last_commit = time.monotonic()
            for partition, made in acts.items():
                if undone := [act for act in made if (partition, act.record.key) not in self._done]:
                    complete[partition].state.take_back(undone)

    def _is_progress_due(self) -> bool:
        return time.monotonic() - self._last_commit > COMMIT_EVERY_S and any(
            owned.is_complete and owned.read != owned.committed for owned in self._owned.values()
        )

    # How far it is (transactions.Progress).

    def points(self, outcomes: Sequence[Outcome]) -> Mapping[Partition, tuple[Epoch, CommitPoint]]:
        """What is read of every partition whose state is complete; nothing for outcomes that have waited too long."""
        is_late = time.monotonic() - self._made_at > ACT_S
        self._points = {
            partition: (owned.epoch, CommitPoint(owned.read, owned.read))
            for partition, owned in self._owned.items()
            if owned.is_complete and not is_late
        }
        return self._points

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The points are committed with these."""
        self._done.update((outcome.record[:2], outcome.record.key) for outcome in outcomes)
        for partition, (_, point) in self._points.items():
            self._owned[partition].committed = point.offset
