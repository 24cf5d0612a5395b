"""Which partitions a group has committed: known outside of Kafka, so that an offset that vanished is found out."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from headrace.streams import metrics
from headrace.streams.config import GroupMemory
from headrace.streams.errors import Unavailable
from headrace.streams.records import Partition

UNAVAILABLE_WAIT_S = 1.0
"""Between tries while a platform part is away: soon enough to resume by itself, rare enough not to add load."""

_T = TypeVar("_T")


class CommittedPartitions:
    """What `memory` knows, asked as seldom as that is safe. `stop` ends every wait for it.

    Called by the thread that polls and by the one that commits: each only ever adds, and what one of them misses is
    asked or remembered again.
    """

    def __init__(self, memory: GroupMemory, stop: threading.Event) -> None:
        self._memory = memory
        self._stop = stop
        self._known: frozenset[Partition] = frozenset()

    def load(self) -> None:
        """Asks for all, however long the memory is away."""
        self._known |= patiently(self._memory.known, self._stop) or frozenset()

    def __contains__(self, partition: Partition) -> bool:
        """Whether the group has committed the partition before."""
        if partition not in self._known:
            self.load()  # another member may have done so since
        return partition in self._known

    def add(self, partitions: Iterable[Partition]) -> None:
        """These are committed."""
        new = frozenset(partitions) - self._known
        if new:
            patiently(lambda: self._memory.remember(new), self._stop)
            self._known |= new


def patiently(call: Callable[[], _T], stop: threading.Event, waiting: Callable[[], None] = lambda: None) -> _T | None:
    """What `call` returns, however often it is Unavailable; None once `stop` is set. `waiting` is called before each
    wait."""
    while True:
        try:
            return call()
        except Unavailable as away:
            metrics.UNAVAILABLE.inc()
            structlog.get_logger().warning("platform part away, intake stopped", reason=str(away))
            waiting()
            if stop.wait(UNAVAILABLE_WAIT_S):
                return None
