"""The ledgers of all partitions of a process, shared by the loop that reads and the thread that commits."""

import threading
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace.streams.commit_metadata import CommitPoint
from headrace.streams.ledger import Ledger
from headrace.streams.records import Outcome, Partition
from headrace.streams.turns import Turn

FRESH_SUSPECTS = 100
"""Of a partition that was never committed, so many first records are suspects: until they are through no commit can
tell of a death. All that may be in flight would slow down every installation's first minute."""

Reading = Literal["read", "finished", "full", "lost"]
"""`finished`: an earlier owner has committed its outcome. `full`: the partition's span is at its limit; ask again."""


@dataclass(slots=True)
class _Assigned:
    epoch: int
    ledger: Ledger[Turn]
    suspects_left: int
    """How many of the next records may have been under way when the last owner died."""
    is_closing: bool = False


class Ledgers:
    """Knows how far each assigned partition is (`Progress`). Thread-safe."""

    def __init__(self, most_in_flight: int) -> None:
        self._most_in_flight = most_in_flight
        self._lock = threading.Lock()
        self._assigned: dict[Partition, _Assigned] = {}
        self._proposed: dict[Partition, tuple[int, CommitPoint]] = {}

    def assigned(self, partition: Partition, epoch: int, committed: CommitPoint | None) -> None:
        """A partition came; unless its last owner let go of it cleanly, its next records are suspects."""
        point = committed or CommitPoint(0, 0)
        suspects = 0 if point.clean else self._most_in_flight if committed else FRESH_SUSPECTS
        with self._lock:
            self._assigned[partition] = _Assigned(epoch, Ledger(point), suspects)

    def read(self, turn: Turn) -> Reading:
        """Takes note that the turn's record is read, and marks it as a suspect if it may be one."""
        with self._lock:
            found = self._assigned.get(turn.partition)
            if found is None or found.epoch != turn.epoch or found.is_closing:
                return "lost"
            if not found.ledger.admits(turn.record.offset):
                return "full"
            if not found.ledger.read(turn.record.offset, turn):
                return "finished"
            if found.suspects_left:
                found.suspects_left -= 1
                turn.is_suspect = True
            return "read"

    @property
    def have_moved(self) -> bool:
        """Whether there is something to commit although no turn has ended."""
        with self._lock:
            return any(each.ledger.has_moved for each in self._assigned.values())

    def advance(self, positions: Mapping[Partition, tuple[int, int]]) -> None:
        """Idle partitions' (epoch, position): all before it was read."""
        with self._lock:
            for partition, (epoch, position) in positions.items():
                found = self._assigned.get(partition)
                if found is not None and found.epoch == epoch:
                    found.ledger.advance(position)
                    found.suspects_left = 0

    def close(self, partitions: Mapping[Partition, int]) -> list[Turn]:
        """From now on nothing is read from these; the next points say that they are left clean. Answers their work."""
        with self._lock:
            left = [self._assigned[each] for each, epoch in partitions.items() if self._holds(each, epoch)]
            for each in left:
                each.is_closing = True
            return [turn for each in left for turn in each.ledger.items()]

    def drop(self, partitions: Mapping[Partition, int]) -> list[Turn]:
        """These are gone; answers the work that was on them."""
        with self._lock:
            gone = [self._assigned.pop(each) for each, epoch in partitions.items() if self._holds(each, epoch)]
            return [turn for each in gone for turn in each.ledger.items()]

    def epochs(self) -> dict[Partition, int]:
        """All assigned partitions."""
        with self._lock:
            return {partition: each.epoch for partition, each in self._assigned.items()}

    def oldest(self) -> list[Turn]:
        """What holds each partition back."""
        with self._lock:
            return [found[1] for each in self._assigned.values() if (found := each.ledger.oldest) is not None]

    def points(self, outcomes: Sequence[Outcome]) -> Mapping[Partition, tuple[int, CommitPoint]]:
        """The points of all partitions that `outcomes` or `advance` bring on, or that are closing."""
        finished = _offsets(outcomes)
        with self._lock:
            points = {
                partition: (each.epoch, each.ledger.point(ended, _is_clean(each, ended)))
                for partition, each in self._assigned.items()
                for ended in [finished.get(partition, frozenset[int]())]
                if partition in finished or each.ledger.has_moved or (each.is_closing and each.ledger.has_begun)
            }
            self._proposed = points
        return points

    def committed(self, outcomes: Sequence[Outcome]) -> None:
        """The points of the last call of `points` are committed."""
        finished = _offsets(outcomes)
        with self._lock:
            for partition, (epoch, point) in self._proposed.items():
                if self._holds(partition, epoch):
                    self._assigned[partition].ledger.commit(finished.get(partition, ()), point)

    def _holds(self, partition: Partition, epoch: int) -> bool:
        found = self._assigned.get(partition)
        return found is not None and found.epoch == epoch


def _is_clean(assigned: _Assigned, ended: Container[int]) -> bool:
    """Whether whoever comes next need not fear what is still open: nothing of it runs, and none is a suspect."""
    return (
        assigned.is_closing
        and not assigned.suspects_left
        and not any(
            turn.record.offset not in ended and (turn.is_suspect or (turn.began is not None and not turn.is_dropped))
            for turn in assigned.ledger.items()
        )
    )


def _offsets(outcomes: Iterable[Outcome]) -> dict[Partition, frozenset[int]]:
    offsets: dict[Partition, set[int]] = {}
    for outcome in outcomes:
        offsets.setdefault(outcome.record[:2], set()).add(outcome.record.offset)
    return {partition: frozenset(found) for partition, found in offsets.items()}
