"""Waits and the events of their keys: which wait is answered by which event. No I/O.

A wait's answer is the first event of its key, in the order of the partition, that counts. That depends on the records
alone, so whoever reads them again comes to the same. Events stay known when they have answered: another run may wait
for them, and a run whose resumption was a stale copy asks again.
"""

from collections import OrderedDict
from heapq import heappop, heappush
from typing import NamedTuple

from headrace.contracts.waits import Arrival, Wait

MOST_OF_KEY = 100
"""Events of one key that are kept. A key is one order, one person, one run; who waits for one of more events under it
finds the last ones."""

MOST_BYTES = 64 << 20
"""Of events kept for a partition: 64,000 of a kilobyte, or 64 of the largest."""

KEPT_MS = 7 * 86_400_000
"""Events are forgotten when the topic forgets them: a rebuilt state knows no more."""

_OVERHEAD = 200
"""Bytes that an event takes beside its value, about."""


class Came(NamedTuple):
    """An event as it is kept: its place, when it was written, the replay it is part of, and its record's value."""

    at: int
    written_ms: int
    replay: str
    value: bytes


class Joined(NamedTuple):
    """A wait and the event that answers it, under their key."""

    key: bytes
    wait: Wait
    came: Came


class Joins:
    """The waits and events of one partition. Records are put in their order.

    Waits are all kept, until they are answered or their time is over: to forget one would be to lose an answer. Of
    events the oldest are forgotten beyond the limits; `forgotten` counts them.
    """

    def __init__(self) -> None:
        self._waits: dict[bytes, dict[str, Wait]] = {}
        self._keys: dict[str, bytes] = {}
        """Of each wait, by its step."""
        self._untils: list[tuple[float, str]] = []
        self._events: dict[bytes, OrderedDict[int, Came]] = {}
        self._places: OrderedDict[int, bytes] = OrderedDict()
        """The keys of all events, by their places: the oldest first."""
        self._bytes = 0
        self._ready: OrderedDict[str, Came] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._keys)

    @property
    def events(self) -> int:
        """How many events are kept."""
        return len(self._places)

    @property
    def is_ready(self) -> bool:
        """Whether a wait has its answer."""
        return bool(self._ready)

    def put_wait(self, key: bytes, wait: Wait) -> None:
        """A run waits; what is known of a later segment of it stays."""
        known = self._waits.get(key, {}).get(wait.step)
        if known is not None and known.resumes.segment > wait.resumes.segment:
            return
        self._forget(wait.step)
        self._waits.setdefault(key, {})[wait.step] = wait
        self._keys[wait.step] = key
        heappush(self._untils, (wait.until.timestamp(), wait.step))
        for came in self._events.get(key, {}).values():
            if _counts(wait, came):
                self._ready[wait.step] = came
                return

    def put_event(self, key: bytes, arrival: Arrival, at: int, written_ms: int, value: bytes) -> None:
        """An event has come."""
        came = Came(at, written_ms, arrival.replay, value)
        of_key = self._events.setdefault(key, OrderedDict())
        of_key[at] = came
        self._places[at] = key
        self._bytes += _size(came)
        if len(of_key) > MOST_OF_KEY:
            self._drop(next(iter(of_key)))
            self.forgotten += 1
        while self._bytes > MOST_BYTES:
            self._drop(next(iter(self._places)))
            self.forgotten += 1
        for wait in self._waits.get(key, {}).values():
            if wait.step not in self._ready and _counts(wait, came):
                self._ready[wait.step] = came

    def put_answered(self, step: str, segment: int) -> None:
        """A wait has been answered; one of a later segment has not."""
        key = self._keys.get(step)
        if key is not None and self._waits[key][step].resumes.segment <= segment:
            self._forget(step)

    def take(self, most: int) -> list[Joined]:
        """Removes and answers waits with their answers, at most `most`."""
        taken: list[Joined] = []
        while self._ready and len(taken) < most:
            step, came = next(iter(self._ready.items()))
            key = self._keys[step]
            taken.append(Joined(key, self._waits[key][step], came))
            self._forget(step)
        return taken

    def pass_to(self, now_ms: int) -> None:
        """Forgets waits whose time is over, of which the timer makes the run go on, and events as the topic does.

        A wait that has its answer keeps it: the event came in time.
        """
        while self._untils and self._untils[0][0] * 1000 < now_ms:
            until, step = heappop(self._untils)
            key = self._keys.get(step)
            # It may have been said again since, with another time.
            if key is None or step in self._ready or self._waits[key][step].until.timestamp() != until:
                continue
            self._forget(step)
        while self._places:
            at, key = next(iter(self._places.items()))
            if self._events[key][at].written_ms > now_ms - KEPT_MS:
                return
            self._drop(at)

    def _forget(self, step: str) -> None:
        key = self._keys.pop(step, None)
        self._ready.pop(step, None)
        if key is not None:
            of_key = self._waits[key]
            del of_key[step]
            if not of_key:
                del self._waits[key]

    def _drop(self, at: int) -> None:
        key = self._places.pop(at)
        of_key = self._events[key]
        self._bytes -= _size(of_key.pop(at))
        if not of_key:
            del self._events[key]


def _counts(wait: Wait, came: Came) -> bool:
    """Whether an event of its key is what is waited for, as far as can be said without the run."""
    return (
        came.at > wait.after
        and came.replay == wait.replay
        and wait.since.timestamp() * 1000 <= came.written_ms <= wait.until.timestamp() * 1000
    )


def _size(came: Came) -> int:
    return len(came.value) + _OVERHEAD
