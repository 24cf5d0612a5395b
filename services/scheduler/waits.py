"""One partition of the waits topic: its waits and events, and the runs that go on with what they waited for."""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from prometheus_client import Counter, Gauge

from headrace.contracts.errors import ContractError
from headrace.contracts.waits import Answered, Arrival, Wait, answer_of, read_wait_record, write_wait_record
from headrace.streams import Outgoing, Record
from headrace.streams.records import Partition
from headrace.streams.state import Act
from services.scheduler.firing import Firing
from services.scheduler.joins import Joined, Joins

WAITING = Gauge("headrace_waits", "Runs' steps that wait for an event", ["partition"])
EVENTS = Gauge("headrace_waits_events", "Events kept for those that may wait for them", ["partition"])
FORGOTTEN = Counter("headrace_waits_events_forgotten_total", "Events given up beyond what is kept")
REFUSED = Counter("headrace_waits_refused_total", "Records of the waits topic that could not be used")


class WaitPartition:
    """The runtime's state of one partition (streams.state.PartitionState)."""

    def __init__(self, partition: Partition, firing: Firing, now: Callable[[], datetime]) -> None:
        self._topic, self._number = partition
        self._firing = firing
        self._now = now
        self._joins = Joins()
        self._taken: dict[bytes, list[Joined]] = {}
        """What the last acts were made of, by their key."""

    def apply(self, record: Record) -> None:
        """The partition's next record. One that cannot be read is counted, and logged with its place: it has no dead
        letter, as every rebuilt state would write it again."""
        key = record.key or b""
        try:
            found = read_wait_record(record.value)
        except ContractError as error:
            REFUSED.inc()
            structlog.get_logger().error(
                "wait refused", partition=record.partition, at=record.offset, type=error.type, reason=error.message
            )
            return
        forgotten = self._joins.forgotten
        match found:
            case Wait():
                self._joins.put_wait(key, found)
            case Arrival():
                self._joins.put_event(key, found, record.offset, record.timestamp_ms, record.value or b"")
            case Answered():
                self._joins.put_answered(found.step, found.segment)
        FORGOTTEN.inc(self._joins.forgotten - forgotten)

    def act(self, most: int) -> Sequence[Act]:
        """Resumes the runs whose event has come; the waits of one key together."""
        self._joins.pass_to(int(self._now().timestamp() * 1000))
        self._taken = {}
        for joined in self._joins.take(most):
            self._taken.setdefault(joined.key, []).append(joined)
        WAITING.labels(self._number).set(len(self._joins))
        EVENTS.labels(self._number).set(self._joins.events)
        return [self._answer(key, found) for key, found in self._taken.items()]

    def take_back(self, acts: Sequence[Act]) -> None:
        """These were not committed: their waits wait again, and find their events, which are kept."""
        for act in acts:
            for joined in self._taken.pop(act.record.key or b"", ()):
                self._joins.put_wait(joined.key, joined.wait)

    def wait_s(self) -> float:
        """Nothing comes of time alone: a wait that is over is a timer's."""
        return 0.0 if self._joins.is_ready else float("inf")

    def _answer(self, key: bytes, found: Sequence[Joined]) -> Act:
        last = found[-1].came
        record = Record(self._topic, self._number, last.at, last.written_ms, key, last.value, ())
        outputs, own = list[Outgoing](), list[Outgoing]()
        for joined in found:
            arrival = read_wait_record(joined.came.value)
            if not isinstance(arrival, Arrival):
                raise TypeError("what answers a wait is an event")
            wait = joined.wait
            outputs.append(self._firing.resumption(answer_of(wait, joined.came.at, arrival)))
            answered = write_wait_record(Answered(step=wait.step, segment=wait.resumes.segment))
            own.append(Outgoing(self._topic, key, answered, (), self._number))
        return Act(record, outputs, own)
