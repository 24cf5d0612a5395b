"""The streams runtime's state shape on a real Kafka: a partition's state is complete before anything is done, once."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from conftest import DEADLINE_S, until

from headrace.settings import Settings
from headrace.streams import Outgoing, Record, StreamFailed, state
from headrace.streams.admin import TopicSpec, group_lag, make_topics, read_topic
from headrace.streams.config import StreamConfig
from headrace.streams.partitioner import partition_of
from headrace.streams.records import Partition
from headrace.streams.state import Act, StateProcessor

pytestmark = pytest.mark.integration

RECORDS = 3_000


class Letterbox:
    """A state: keeps the newest value of each key, and forwards all once it may."""

    def __init__(self, stream: "Stream", partition: Partition) -> None:
        self._stream = stream
        self._partition = partition
        self._kept: dict[bytes, Record] = {}

    def apply(self, record: Record) -> None:
        if record.value is None:
            self._kept.pop(record.key or b"", None)
        else:
            self._kept[record.key or b""] = record

    def act(self, most: int) -> Sequence[Act]:
        if not self._stream.may_forward.is_set():
            return []
        keys = list(self._kept)[:most]
        return [self._forward(self._kept.pop(key)) for key in keys]

    def take_back(self, acts: Sequence[Act]) -> None:
        self._stream.taken_back += len(acts)
        for act in acts:
            self._kept[act.record.key or b""] = act.record

    def wait_s(self) -> float:
        return 0.0 if self._kept and self._stream.may_forward.is_set() else 10.0

    def _forward(self, record: Record) -> Act:
        target = f"{self._stream.target}.nowhere" if record.value == b"refused" else self._stream.target
        own = Outgoing(self._partition[0], record.key, None, (), self._partition[1])
        return Act(record, [Outgoing(target, record.key, record.value)], [own])


class Stream:
    """A compacted topic, a target, a dead-letter topic and a group of the test's own."""

    def __init__(self, settings: Settings) -> None:
        self.kafka = settings.kafka
        self.source, self.target, self.dead = (f"{settings.prefix}.{name}" for name in ("in", "out", "dlq"))
        self.group = f"{settings.prefix}-group"
        specs = [TopicSpec(self.source, 2, 1, {"cleanup.policy": "compact"})]
        make_topics(self.kafka, [*specs, TopicSpec(self.target, 2, 1, {}), TopicSpec(self.dead, 1, 1, {})])
        self.may_forward = threading.Event()
        self.may_forward.set()
        self.taken_back = 0

    def letter(self, record: Record, type: str, message: str) -> Outgoing:
        return Outgoing(self.dead, record.key, record.value)

    def feed(self, values: Sequence[bytes | None], partition: int | None = None, first: int = 0) -> None:
        producer = Producer({**self.kafka, "enable.idempotence": True, "linger.ms": 5})
        for number, value in enumerate(values, first):
            producer.produce(self.source, value, b"%d" % number, -1 if partition is None else partition)
        assert producer.flush(DEADLINE_S) == 0

    @contextmanager
    def running(self, slot: int = 0) -> Generator[StateProcessor]:
        """A worker in a thread of ours."""
        name = f"{self.group}-{slot}"
        config = StreamConfig(self.kafka, self.group, [self.source], name, name, 200)
        processor = StateProcessor(config, lambda partition: Letterbox(self, partition), self.letter)
        failures: list[BaseException] = []

        def run() -> None:
            try:
                processor.run()
            except StreamFailed as failure:
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield processor
        finally:
            processor.stop()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        if failures:
            raise failures[0]

    def values(self, topic: str) -> list[bytes]:
        return [record.value or b"" for record in read_topic(self.kafka, topic)]

    def left(self) -> dict[tuple[int, bytes | None], bytes | None]:
        """What the compacted topic says at last."""
        last = {(record.partition, record.key): record.value for record in read_topic(self.kafka, self.source)}
        return {place: value for place, value in last.items() if value is not None}

    def done(self) -> Callable[[], bool]:
        return lambda: self.left() == {} and group_lag(self.kafka, self.group, [self.source]) == 0


@pytest.fixture
def stream(settings: Settings) -> Stream:
    return Stream(settings)


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_what_is_done_is_done_once_and_taken_out_of_the_partition_that_it_was_read_from(stream: Stream) -> None:
    for partition in (0, 1):  # whatever the keys say
        stream.feed(numbers(RECORDS), partition)
    with stream.running():
        until(stream.done(), "all to be forwarded")
    with stream.running() as again:
        until(lambda: again.ready, "the second run to be ready")
    assert sorted(stream.values(stream.target)) == sorted(numbers(RECORDS) * 2)


def test_nothing_is_done_before_the_partition_is_read_to_its_end(stream: Stream) -> None:
    stream.feed([b"old"] * RECORDS, 0)
    stream.feed([b"new"] * (RECORDS - 1), 0)
    stream.feed([None] * 5, 0)
    with stream.running():
        until(stream.done(), "all to be forwarded")
    assert sorted(stream.values(stream.target)) == [b"new"] * (RECORDS - 6) + [b"old"]


def test_a_transaction_that_was_open_at_the_assignment_is_waited_for(stream: Stream) -> None:
    stream.feed(numbers(10), 0)
    predecessor = Producer({**stream.kafka, "transactional.id": f"{stream.group}-predecessor"})
    predecessor.init_transactions(DEADLINE_S)
    predecessor.begin_transaction()
    for number in range(10):
        predecessor.produce(stream.source, None, b"%d" % number, 0)
        predecessor.produce(stream.target, b"by the predecessor", b"%d" % number)
    assert predecessor.flush(DEADLINE_S) == 0
    with stream.running() as processor:
        until(lambda: processor._intake._ends.get((stream.source, 0)) == 10, "the end of what can be read")
        until(lambda: len(processor._owned) == 2, "both partitions to be taken in")
        assert not processor.ready
        predecessor.commit_transaction(DEADLINE_S)
        until(lambda: processor.ready, "the transaction to be read")
        until(stream.done(), "nothing to be left")
    assert stream.values(stream.target) == [b"by the predecessor"] * 10


def test_workers_come_and_go_and_each_is_done_once(stream: Stream) -> None:
    stream.feed(numbers(RECORDS))
    with stream.running(0):
        with stream.running(1) as second:
            until(lambda: second.ready, "the second worker to be ready")
            stream.feed(numbers(2 * RECORDS)[RECORDS:], first=RECORDS)
        until(stream.done(), "all to be forwarded")
    with stream.running(2):
        until(stream.done(), "all to be read again")
    assert sorted(stream.values(stream.target)) == sorted(numbers(2 * RECORDS))


def test_what_the_broker_refuses_is_a_dead_letter_and_taken_out_too(stream: Stream) -> None:
    stream.feed([b"refused" if number == 5 else b"%d" % number for number in range(10)])
    with stream.running():
        until(stream.done(), "all to be done")
    assert stream.values(stream.dead) == [b"refused"]
    assert len(stream.values(stream.target)) == 9


def test_what_cannot_be_committed_in_time_is_taken_back_and_done_later(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.feed(numbers(10))
    stream.may_forward.clear()
    with stream.running() as processor:
        until(lambda: processor.ready, "all to be read")
        monkeypatch.setattr(state, "ACT_S", -1.0)
        stream.may_forward.set()
        until(lambda: stream.taken_back >= 20, "all to be taken back, twice")
        monkeypatch.undo()
        until(stream.done(), "all to be forwarded")
    assert sorted(stream.values(stream.target)) == sorted(numbers(10))


def test_a_key_is_in_the_partition_in_which_kafkas_clients_put_it(stream: Stream) -> None:
    keys = [b"x" * size + b"%d" % number for number in range(50) for size in range(8)]
    producer = Producer({**stream.kafka, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(stream.source, b"", key)
    assert producer.flush(DEADLINE_S) == 0
    assert {record.key: record.partition for record in read_topic(stream.kafka, stream.source)} == {
        key: partition_of(key, 2) for key in keys
    }
