"""One partition of the timers topic: what is pending there, and what becomes of it.

It is what the records say, the newest of each id; what this process writes counts once it is read back. Others write
while it fires, so what it writes names the record it knew (KNOWN_HEADER). Where another record of the id stands between
the two, that one counts, although it is the older: what was written did not mean it. And because of an id only the last
record survives compaction, it is written once more.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from prometheus_client import Counter, Gauge, Histogram

from headrace.contracts import limits
from headrace.contracts.errors import ContractError
from headrace.contracts.resumptions import Timer
from headrace.contracts.timers import KNOWN_HEADER, CronTimer, is_cron_key, read_any_timer, write_cron_timer
from headrace.service import DeadLetterWriter
from headrace.streams import Outgoing, Record
from headrace.streams.records import Partition
from headrace.streams.state import Act
from services.scheduler.crons import LiveCrons
from services.scheduler.firing import Firing
from services.scheduler.held import HELD, Held
from services.scheduler.pending import Pending, PendingTimers

PENDING = Gauge("headrace_timers_pending", "Timers that are not fired", ["partition"])
REFUSED = Counter("headrace_timers_refused_total", "Timers that became dead letters")
LATENESS = Histogram(
    "headrace_timer_lateness_seconds",
    "Seconds from the due time until firing began",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_NOTHING = -1
"""In place of an offset: no record of the id is known."""


class _Unusable(NamedTuple):
    """Why a timer cannot be fired."""

    type: str
    message: str


class TimerPartition:
    """The runtime's state of one partition (streams.state.PartitionState)."""

    def __init__(
        self,
        partition: Partition,
        firing: Firing,
        crons: LiveCrons,
        dead_letter: DeadLetterWriter,
        now: Callable[[], datetime],
        owns: Callable[[bytes], bool],
        held: Held,
    ) -> None:
        """`owns` says whether an id belongs to this partition, if it is a clock's."""
        self._topic, self._number = partition
        self._firing = firing
        self._crons = crons
        self._dead_letter = dead_letter
        self._now = now
        self._owns = owns
        self._held = held
        self._pending = PendingTimers()
        self._unusable: dict[bytes, _Unusable] = {}
        self._written: dict[bytes, int] = {}
        """Ids that were written and are not read back yet, with the record that was known: they wait until then."""
        self._due: dict[bytes, Pending] = {}
        """Of those, timers that are due."""
        self._overtaken: dict[bytes, None] = {}
        """Ids whose timer is to be written once more."""
        self._unlike: dict[bytes, None] = {}
        """Clocks that may differ from what is live."""
        self._version = 0
        self._is_behind = False

    def apply(self, record: Record) -> None:
        """The partition's next record."""
        key, known = record.key or b"", _known(record)
        if known is not None and self._written.get(key) == known:
            self._read_back(key)
        current = self._due.get(key) or self._found(key)
        if current is not None and known is not None and current.offset > known:
            self._overtaken[key] = None
            return
        self._forget(key)
        if record.value is not None:
            self._put(key, record.offset, record.value)
        elif known is None and is_cron_key(key):
            self._unlike[key] = None  # taken out by someone else: whether rightly, what is live tells

    def act(self, most: int) -> Sequence[Act]:
        """Fires what is due, writes once more what was overtaken, brings clocks in line with the live automations."""
        now = self._now()
        acts: list[Act] = []
        released = self._held.take(_micros(now), most)
        for timer in (*released, *self._pending.take(_micros(now), most - len(released))):
            if timer.key in self._written:
                self._due[timer.key] = timer
            elif (act := self._fire_safely(timer, now)) is not None:
                acts.append(act)
        for key in _first(self._overtaken, most - len(acts), self._written):
            if (timer := self._found(key)) is not None:
                acts.append(Act(self._record(timer), (), [self._write(timer, timer.value)]))
        self._notice_changes()
        for key in _first(self._unlike, most - len(acts), self._written):
            if key not in self._unusable:  # which is due, and aligned when it is refused
                acts += self._align(key)
        self._is_behind = len(acts) >= most
        PENDING.labels(self._number).set(len(self._pending))
        HELD.labels(self._number).set(len(self._held))
        return acts

    def take_back(self, acts: Sequence[Act]) -> None:
        """These were not committed: each is looked at anew."""
        for key, offset, value in ((act.record.key or b"", act.record.offset, act.record.value) for act in acts):
            self._read_back(key)
            if self._found(key) is None and offset != _NOTHING and value is not None:
                self._put(key, offset, value)
            if is_cron_key(key):
                self._unlike[key] = None
            else:
                self._overtaken[key] = None

    def wait_s(self) -> float:
        """Seconds until the next timer is due. Changes of automations are noticed at each `act`."""
        if self._is_behind:
            return 0.0
        now = _micros(self._now())
        coming = [due for due in (self._pending.next_due, self._held.next_at(now)) if due is not None]
        return (min(coming) - now) / 1e6 if coming else float("inf")

    def _read_back(self, key: bytes) -> None:
        del self._written[key]
        if (waits := self._due.pop(key, None)) is not None:
            self._put(key, waits.offset, waits.value)

    def _put(self, key: bytes, offset: int, value: bytes) -> None:
        try:
            found = read_any_timer(key, value)
            due = _micros(found.due)
            if isinstance(found, Timer) and found.held:
                self._held.put(_automation(found), Pending(due, offset, key, value))
                return
        except ContractError as error:
            self._unusable[key] = _Unusable(error.type, error.message)
            due, value = 0, value[: limits.STORED_VALUE + 1]  # at once, and no more of it than tells that it is cut
        self._pending.put(Pending(due, offset, key, value))

    def _found(self, key: bytes) -> Pending | None:
        return self._pending.get(key) or self._held.get(key)

    def _forget(self, key: bytes) -> None:
        self._pending.remove(key)
        self._held.remove(key)
        self._due.pop(key, None)
        self._unusable.pop(key, None)
        self._overtaken.pop(key, None)

    # What is due.

    def _fire_safely(self, timer: Pending, now: datetime) -> Act | None:
        """None: it is kept, as its automation is paused."""
        unusable = self._unusable.pop(timer.key, None)
        if unusable is None:
            try:
                return self._fire(timer, now)
            except Exception as bug:  # noqa: BLE001 - a bug must cost one timer, not all others; it is logged and kept
                structlog.get_logger().exception("timer failed", partition=self._number, at=timer.offset)
                unusable = _Unusable("internal_error", f"a bug in the service: {type(bug).__name__}")
        REFUSED.inc()
        record = self._record(timer)
        own = self._write(timer, _value(self._wanted(timer.key, None)))
        return Act(record, [self._dead_letter(record, *unusable)], [own])

    def _fire(self, timer: Pending, now: datetime) -> Act | None:
        found = read_any_timer(timer.key, timer.value)
        if self._held.holds(_automation(found)):
            self._held.put(_automation(found), timer)
            return None
        if not (isinstance(found, Timer) and found.held):
            LATENESS.observe((_micros(now) - timer.due) / 1e6)
        match found:
            case Timer():
                return Act(self._record(timer), [self._firing.resume(found)], [self._write(timer, None)])
            case CronTimer():
                live = self._crons.get(timer.key)
                wanted = self._wanted(timer.key, found)
                if live is None or wanted != found:
                    return Act(self._record(timer), (), [self._write(timer, _value(wanted))])
                ticks, coming = self._firing.tick(live, found, now)
                return Act(self._record(timer), ticks, [self._write(timer, _value(coming))])

    # Clocks and the automations that are live.

    def _notice_changes(self) -> None:
        version = self._crons.version
        if version != self._version:
            changed = self._crons.changed_since(self._version)
            self._unlike.update(dict.fromkeys(filter(self._owns, changed)))
            self._version = version

    def _align(self, key: bytes) -> list[Act]:
        """Arms, changes or takes out a clock, so that it is as its automation says."""
        timer = self._found(key) or Pending(0, _NOTHING, key, b"")
        current = read_any_timer(key, timer.value) if timer.value else None
        wanted = self._wanted(key, current if isinstance(current, CronTimer) else None)
        return [] if wanted == current else [Act(self._record(timer), (), [self._write(timer, _value(wanted))])]

    def _wanted(self, key: bytes, current: CronTimer | None) -> CronTimer | None:
        """The timer that a clock should have in the place of `current`; None where there should be none."""
        live = self._crons.get(key)
        return None if live is None else live.armed(current)

    # Records.

    def _write(self, timer: Pending, value: bytes | None) -> Outgoing:
        """The record that replaces a timer by another, or takes it out."""
        self._written[timer.key] = timer.offset
        return Outgoing(self._topic, timer.key, value, [(KNOWN_HEADER, b"%d" % timer.offset)], self._number)

    def _record(self, timer: Pending) -> Record:
        return Record(self._topic, self._number, timer.offset, 0, timer.key, timer.value, ())


def _automation(timer: Timer | CronTimer) -> str:
    named = timer.resumes if isinstance(timer, Timer) else timer
    return f"{named.app}/{named.automation}"


def _first(keys: dict[bytes, None], most: int, written: dict[bytes, int]) -> list[bytes]:
    """Removes and answers the first `most` keys that are not waited for."""
    found = [key for key in keys if key not in written][: max(0, most)]
    for key in found:
        del keys[key]
    return found


def _value(timer: CronTimer | None) -> bytes | None:
    return None if timer is None else write_cron_timer(timer)


def _known(record: Record) -> int | None:
    for name, value in record.headers:
        if name == KNOWN_HEADER:
            try:
                return int(value)
            except ValueError:
                return None  # not ours
    return None


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
