"""A few at a time in each lane, in their order, all lanes side by side: pure bookkeeping, no I/O."""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")


def one(item: object) -> int:
    """The width of lanes in which one follows the other."""
    return 1


class Lanes(Generic[ItemT]):
    """Work by lane, in the order it came; of each lane at most `width` of its items have the turn at a time.

    A width may change: what is narrowed lets nobody in until enough have left, what is widened lets more in as the next
    one comes or leaves.
    """

    def __init__(self, width: Callable[[ItemT], int] = one) -> None:
        self._width = width
        self._waiting: dict[Hashable, deque[ItemT]] = {}
        self._beside: dict[Hashable, int] = {}
        """How many have the turn in a lane beside the first one. Most lanes have none, and pay nothing for them."""

    def enter(self, lane: Hashable, item: ItemT) -> bool:
        """Puts `item` at the end of its lane; True if it has the turn at once."""
        waiting = self._waiting.get(lane)
        if waiting is None:
            self._waiting[lane] = deque()
            return True
        if not waiting and self._beside.get(lane, 0) + 1 < self._width(item):
            self._beside[lane] = self._beside.get(lane, 0) + 1
            return True
        waiting.append(item)
        return False

    def leave(self, lane: Hashable) -> Sequence[ItemT]:
        """One of those that had the turn is done: those that have it now, in their order. An empty lane is gone."""
        waiting = self._waiting[lane]
        left = self._beside.pop(lane, 0) if self._beside else 0
        if not waiting:
            if left == 0:
                del self._waiting[lane]
            elif left > 1:
                self._beside[lane] = left - 1
            return ()
        # At least one has the turn as long as any waits: the next of them would otherwise never be called.
        room = min(max(self._width(waiting[0]) - left, 1 if left == 0 else 0), len(waiting))
        following = [waiting.popleft() for _ in range(room)]
        if left + room > 1:
            self._beside[lane] = left + room - 1
        return following

    def waiting(self, lane: Hashable) -> int:
        """How many wait for their turn in `lane`."""
        return len(self._waiting.get(lane, ()))

    def drop(self, is_dropped: Callable[[ItemT], bool]) -> None:
        """Takes out those that wait and are dropped; who has the turn keeps it."""
        for lane, waiting in self._waiting.items():
            if waiting:
                self._waiting[lane] = deque(item for item in waiting if not is_dropped(item))
