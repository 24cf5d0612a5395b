"""The timers of one partition, found by their id and by their due time."""

from heapq import heapify, heappop, heappush
from struct import Struct
from typing import NamedTuple

_HEAD = Struct(">QQI")
"""Due, offset, length of the key. Big-endian: as bytes, what is due first is the least."""

_SPARE = 1_000
"""Entries of the heap that may be out of date before it counts whether most are."""


class Pending(NamedTuple):
    """A timer that is not fired: its record's key, offset and value, and when it is due, in microseconds since 1970."""

    due: int
    offset: int
    key: bytes
    value: bytes


class PendingTimers:
    """At most one timer for each key.

    A timer is one object of bytes, which the index and the heap share: beside what its record holds it costs some
    170 bytes. A heap's entry that is no longer in the index is out of date, and is passed over.
    """

    def __init__(self) -> None:
        self._by_key: dict[bytes, bytes] = {}
        self._heap: list[bytes] = []

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: bytes) -> Pending | None:
        """The key's timer."""
        packed = self._by_key.get(key)
        return None if packed is None else _unpack(packed)

    def put(self, timer: Pending) -> None:
        """Adds a timer, in the place of the one that its key had."""
        packed = _HEAD.pack(max(0, timer.due), timer.offset, len(timer.key)) + timer.key + timer.value
        self._by_key[timer.key] = packed
        heappush(self._heap, packed)
        self._trim()

    def remove(self, key: bytes) -> None:
        """Forgets the key's timer, if there is one."""
        self._by_key.pop(key, None)
        self._trim()

    @property
    def next_due(self) -> int | None:
        """When the first one is due."""
        while self._heap:
            timer = _unpack(self._heap[0])
            if self._by_key.get(timer.key) is self._heap[0]:
                return timer.due
            heappop(self._heap)
        return None

    def take(self, now: int, most: int) -> list[Pending]:
        """Removes and answers those that are due at `now`, the first due first, at most `most`."""
        taken: list[Pending] = []
        while len(taken) < most and (due := self.next_due) is not None and due <= now:
            timer = _unpack(heappop(self._heap))
            del self._by_key[timer.key]
            taken.append(timer)
        return taken

    def _trim(self) -> None:
        if len(self._heap) > 2 * len(self._by_key) + _SPARE:
            self._heap = list(self._by_key.values())
            heapify(self._heap)


def _unpack(packed: bytes) -> Pending:
    due, offset, length = _HEAD.unpack_from(packed)
    value = _HEAD.size + length
    return Pending(due, offset, packed[_HEAD.size : value], packed[value:])
