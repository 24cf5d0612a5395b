"""Which partitions a group has committed is asked again before anything is taken for new."""

import threading

import pytest

from headrace.streams import Unavailable
from headrace.streams.memory import CommittedPartitions
from headrace.streams.records import Partition

pytestmark = pytest.mark.unit

HERE, THERE = ("t", 0), ("t", 1)


class Memory:
    """As the services' memory in MongoDB, which other workers write as well."""

    def __init__(self) -> None:
        self.partitions: set[Partition] = set()
        self.asked = 0
        self.away = 0

    def known(self) -> frozenset[Partition]:
        self.asked += 1
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        return frozenset(self.partitions)

    def remember(self, partitions: frozenset[Partition]) -> None:
        self.partitions |= partitions


def test_what_another_worker_committed_since_the_start_is_no_new_partition() -> None:
    memory = Memory()
    committed = CommittedPartitions(memory, threading.Event())
    committed.load()
    memory.partitions.add(HERE)
    assert HERE in committed
    assert THERE not in committed


def test_what_is_known_is_neither_asked_nor_written_again() -> None:
    memory = Memory()
    committed = CommittedPartitions(memory, threading.Event())
    committed.add([HERE])
    memory.partitions.clear()
    committed.add([HERE])
    assert HERE in committed
    assert (memory.asked, memory.partitions) == (0, set())


def test_the_wait_for_a_memory_that_is_away_ends_when_it_is_back_or_the_service_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.streams.memory.UNAVAILABLE_WAIT_S", 0.001)
    memory = Memory()
    memory.partitions.add(HERE)
    memory.away = 3
    assert HERE in CommittedPartitions(memory, threading.Event())
    memory.away = 1_000_000
    stop = threading.Event()
    stop.set()
    assert HERE not in CommittedPartitions(memory, stop)
