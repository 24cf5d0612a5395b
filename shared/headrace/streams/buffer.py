"""Records that are read and not handed out yet, by the rank of their topic: what comes first, how much may wait."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from headrace.streams.records import Partition, Record

Held = tuple[Record, int]
"""A record, and the epoch of its partition."""

RESERVED = 5
"""Of what is handed out at a time a rank that has records gets a fifth, whatever waits in those before it: it is slowed
down and never starved. The last rank never gets more: whoever comes before it waits for no more than that."""

LAST_HOLDS = 4
"""The last rank holds a quarter of what the others may: it is what waits longest."""


class Buffer:
    """First come, first served within a rank, 0 being the first; topics that `ranks` does not name have rank 0."""

    def __init__(self, ranks: Mapping[str, int], capacity: int, capacity_bytes: int) -> None:
        self._ranks = ranks
        count = 1 + max(ranks.values(), default=0)
        self.last = count - 1
        self._queues: list[deque[Held]] = [deque() for _ in range(count)]
        self._bytes = [0] * count
        share = [LAST_HOLDS if rank and rank == self.last else 1 for rank in range(count)]
        self._capacities = [(capacity // each, capacity_bytes // each) for each in share]

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def rank(self, topic: str) -> int:
        """Which rank a topic's records have."""
        return self._ranks.get(topic, 0)

    def extend(self, items: Sequence[Held]) -> None:
        """Puts records behind those of their rank."""
        for item in items:
            rank = self._ranks.get(item[0].topic, 0)
            self._queues[rank].append(item)
            self._bytes[rank] += size_of(item[0])

    def take(self, rooms: Sequence[int], most: int, most_bytes: int) -> list[Held]:
        """Removes the next records: at most `most`, about `most_bytes`, and of each rank no more than its room."""
        taken: list[Held] = []
        fifth = max(1, most // RESERVED)
        # A rank may hold more than its share for a while: what was blocked comes in whatever its rank.
        wanted = [max(0, min(len(queue), room)) for queue, room in zip(self._queues, rooms, strict=True)]
        if self.last:
            wanted[-1] = min(wanted[-1], fifth)
        left = most_bytes
        for rank, queue in enumerate(self._queues):
            reserved = sum(min(each, fifth) for each in wanted[rank + 1 :])
            for _ in range(min(wanted[rank], most - len(taken) - reserved)):
                if left <= 0:
                    return taken
                item = queue.popleft()
                size = size_of(item[0])
                self._bytes[rank] -= size
                left -= size
                taken.append(item)
        return taken

    def full(self, before: frozenset[int]) -> frozenset[int]:
        """Ranks that take no more; those that were full `before` are until half of what they hold is gone."""
        return frozenset(rank for rank in range(len(self._queues)) if self._is_full(rank, 2 if rank in before else 1))

    def drop(self, is_gone: Callable[[Partition], bool]) -> None:
        """Forgets the records of partitions that are gone."""
        for rank, queue in enumerate(self._queues):
            kept = deque(item for item in queue if not is_gone(item[0][:2]))
            self._queues[rank] = kept
            self._bytes[rank] = sum(size_of(record) for record, _ in kept)

    def _is_full(self, rank: int, part: int) -> bool:
        count, size = self._capacities[rank]
        return len(self._queues[rank]) >= max(1, count // part) or self._bytes[rank] >= max(1, size // part)


def size_of(record: Record) -> int:
    """The bytes of a record that count against a limit."""
    return len(record.value or b"") + len(record.key or b"")
