"""What is finished in one partition, whatever order it finishes in: pure bookkeeping, no I/O."""

from collections import deque
from collections.abc import Container
from typing import Generic, TypeVar

from headrace.streams.commit_metadata import MAX_SPAN, CommitPoint

ItemT = TypeVar("ItemT")


class Ledger(Generic[ItemT]):
    """The offsets of one partition that were read and are not committed, each with the work on it.

    Offsets are read in ascending order. Those that Kafka never shows (transaction markers, compacted or expired
    records) count as finished. Built from what the last owner committed, it says which of the records read again are
    finished already.
    """

    def __init__(self, committed: CommitPoint) -> None:
        self._open: dict[int, ItemT | None] = dict.fromkeys(committed.open)
        """Ascending. None: the last owner left it open, and it has not been read again yet."""
        self._unread = deque(committed.open)
        self._restored_end = committed.end
        self._end = committed.end
        self._committed = committed.offset

    @property
    def has_begun(self) -> bool:
        """Whether any offset is known: before that there is none to commit, for 0 may be long expired."""
        return self._end > 0

    def admits(self, offset: int) -> bool:
        """Whether `offset` may be read: beyond MAX_SPAN its being finished would not fit into the commit."""
        return offset - next(iter(self._open), offset) < MAX_SPAN

    def read(self, offset: int, item: ItemT) -> bool:
        """Takes note that `offset` is read, with the work on it. False: it is finished already, and is passed by.

        Expects `admits(offset)`, and offsets to ascend.
        """
        while self._unread and self._unread[0] < offset:
            del self._open[self._unread.popleft()]  # passed by without being shown: it is gone from Kafka
        if offset < self._restored_end:
            if not self._unread or self._unread[0] != offset:
                return False
            self._unread.popleft()
        self._open[offset] = item
        self._end = max(self._end, offset + 1)
        return True

    def advance(self, position: int) -> None:
        """All below `position` has been shown: what was not read by now is gone from Kafka.

        Expects that every record below `position` was given to `read`.
        """
        while self._unread and self._unread[0] < position:
            del self._open[self._unread.popleft()]
        if position - next(iter(self._open), position) <= MAX_SPAN:
            self._end = max(self._end, position)

    def point(self, finished: Container[int], clean: bool = False) -> CommitPoint:
        """How far the partition is once `finished`, offsets of this ledger, are committed too."""
        left = tuple([offset for offset in self._open if offset not in finished])
        return CommitPoint(left[0] if left else self._end, self._end, left, clean)

    def commit(self, finished: Container[int], point: CommitPoint) -> None:
        """`finished` are committed, by `point`."""
        for offset in [offset for offset in self._open if offset in finished]:
            del self._open[offset]
        self._committed = point.offset

    @property
    def has_moved(self) -> bool:
        """Whether there is more to commit than was, although nothing is open: `advance` passed what holds no record."""
        return not self._open and self._end > self._committed

    @property
    def oldest(self) -> tuple[int, ItemT] | None:
        """The lowest open offset and its work: what holds the partition back. None where nothing is under way."""
        for offset, item in self._open.items():
            return None if item is None else (offset, item)
        return None

    def items(self) -> list[ItemT]:
        """All work that is under way or waits, by offset."""
        return [item for item in self._open.values() if item is not None]
