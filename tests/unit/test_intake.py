"""What the polling thread tells of partitions reaches whoever takes it, whenever that is."""

import threading
from collections.abc import Callable, Generator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.streams.intake import Intake

pytestmark = pytest.mark.unit


class End:
    """The client's word that a partition's end is reached, at offset 0."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._PARTITION_EOF)  # pyright: ignore[reportPrivateUsage]

    def topic(self) -> str:
        return "timers"

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return 0


class FakeConsumer:
    """A member that is given two empty partitions, and told their ends one poll after the other."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self._assign: Callable[[Any, list[TopicPartition]], None] | None = None
        self._ends = [End(0), End(1)]

    def subscribe(self, topics: list[str], on_assign: Callable[..., None], **_: Any) -> None:
        self._assign = on_assign

    def consume(self, count: int, timeout: float) -> list[End]:
        if self._assign is not None:
            assign, self._assign = self._assign, None
            assign(self, [TopicPartition("timers", 0), TopicPartition("timers", 1)])
        elif self._ends and count == 1:
            return [self._ends.pop(0)]
        elif count == 1:
            self.told.set()
        return []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return partitions

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(found.topic, found.partition, -1001) for found in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, cached: bool) -> tuple[int, int]:
        return 0, 0

    def consumer_group_metadata(self) -> object:
        return None

    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def consumer() -> FakeConsumer:
    return FakeConsumer()


@pytest.fixture
def intake(consumer: FakeConsumer) -> Generator[Intake]:
    intake = Intake(cast(Consumer, consumer), "g", ["timers"], lambda _: False, 10, 1_000, whole=True)
    intake.start()
    yield intake
    intake.close()


def test_ends_told_one_after_the_other_reach_a_reader_who_comes_late(consumer: FakeConsumer, intake: Intake) -> None:
    assert consumer.told.wait(10)
    assert intake.take(10, 1_000, 0).positions == {("timers", 0): (1, 0), ("timers", 1): (2, 0)}
    assert {partition: intake.target(partition, epoch) for partition, epoch in intake.epochs.items()} == {
        ("timers", 0): 0,
        ("timers", 1): 0,
    }


class Unanswered(FakeConsumer):
    """Its group's offsets are never told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.asked.set()
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # pyright: ignore[reportPrivateUsage]


def test_a_member_that_waits_for_its_offsets_in_vain_stops_when_it_is_asked_to() -> None:
    consumer = Unanswered()
    intake = Intake(cast(Consumer, consumer), "g", ["timers"], lambda _: False, 10, 1_000)
    intake.start()
    assert consumer.asked.wait(10)
    intake.close()  # waits for the thread
    assert intake.epochs == {}


class LateAssignment(FakeConsumer):
    """Is given its partitions as it closes, when questions are not answered any more."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.questions = 0

    def consume(self, count: int, timeout: float) -> list[End]:
        self.begun.set()
        return []

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self.questions += 1
        return partitions

    def close(self) -> None:
        assert self._assign is not None
        self._assign(self, [TopicPartition("timers", 0)])


def test_what_is_assigned_while_the_member_leaves_is_not_asked_about() -> None:
    consumer = LateAssignment()
    intake = Intake(cast(Consumer, consumer), "g", ["timers"], lambda _: False, 10, 1_000)
    intake.start()
    assert consumer.begun.wait(10)
    intake.close()
    assert consumer.questions == 0
    assert intake.epochs == {}
