"""One after the other in each lane, all lanes side by side: pure bookkeeping, no I/O."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


class Lanes(Generic[ItemT]):
    """Work by lane, in the order it came; of each lane at most one item has the turn."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[ItemT]] = {}

    def enter(self, lane: Hashable, item: ItemT) -> bool:
        """Puts `item` at the end of its lane; True if it has the turn at once."""
        waiting = self._waiting.get(lane)
        if waiting is None:
            self._waiting[lane] = deque()
            return True
        waiting.append(item)
        return False

    def leave(self, lane: Hashable) -> ItemT | None:
        """Whoever had the turn is done: the next one, which now has it; None where the lane is empty, and gone."""
        waiting = self._waiting[lane]
        if waiting:
            return waiting.popleft()
        del self._waiting[lane]
        return None

    def waiting(self, lane: Hashable) -> int:
        """How many wait for their turn in `lane`."""
        return len(self._waiting.get(lane, ()))

    def drop(self, is_dropped: Callable[[ItemT], bool]) -> None:
        """Takes out those that wait and are dropped; who has the turn keeps it."""
        for lane, waiting in self._waiting.items():
            if waiting:
                self._waiting[lane] = deque(item for item in waiting if not is_dropped(item))
