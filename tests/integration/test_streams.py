"""The streams runtime on a real Kafka: exactly once, whatever happens to its workers and records."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from conftest import DEADLINE_S, until

from headrace.settings import Settings
from headrace.streams import BatchProcessor, Outgoing, Record, StreamFailed, Unavailable, metrics
from headrace.streams.admin import TopicSpec, check_topics, group_lag, make_topics
from headrace.streams.config import StreamConfig
from headrace.streams.intake import IDLE_AFTER_S
from headrace.streams.records import Outcome, Partition
from headrace.streams.transactions import Progress

pytestmark = pytest.mark.integration

RECORDS = 5_000


class Memory:
    """A group's memory for one test; the real one is in MongoDB, and shown by the pipeline's tests."""

    def __init__(self) -> None:
        self.partitions: frozenset[Partition] = frozenset()

    def known(self) -> frozenset[Partition]:
        return self.partitions

    def remember(self, partitions: frozenset[Partition]) -> None:
        self.partitions |= partitions


class Stream:
    """Two topics, a dead-letter topic and a group of the test's own."""

    def __init__(self, settings: Settings) -> None:
        self.kafka = settings.kafka
        self.source, self.target, self.dead = (f"{settings.prefix}.{name}" for name in ("in", "out", "dlq"))
        self.group = f"{settings.prefix}-group"
        make_topics(self.kafka, [TopicSpec(name, 2, 1, {}) for name in (self.source, self.target, self.dead)])
        self.memory = Memory()

    def config(self, slot: int = 0) -> StreamConfig:
        return StreamConfig(self.kafka, self.group, [self.source], f"{self.group}-{slot}", f"{self.group}-{slot}", 200)

    def copy(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        return [[Outgoing(self.target, record.key, record.value)] for record in records]

    def letter(self, record: Record, type: str, message: str) -> Outgoing:
        return Outgoing(self.dead, record.key, b"%s %s" % (type.encode(), record.value or b""))

    def feed(self, numbers: Sequence[int]) -> None:
        producer = Producer({**self.kafka, "enable.idempotence": True, "linger.ms": 5})
        for number in numbers:
            producer.produce(self.source, b"%d" % number, b"%d" % (number % 97))
        assert producer.flush(DEADLINE_S) == 0

    def feed_in_transaction(self, numbers: Sequence[int]) -> None:
        producer = Producer({**self.kafka, "transactional.id": f"{self.group}-feeder"})
        producer.init_transactions(DEADLINE_S)
        producer.begin_transaction()
        for number in numbers:
            producer.produce(self.source, b"%d" % number, b"%d" % (number % 97))
        producer.commit_transaction(DEADLINE_S)

    def values(self, topic: str) -> list[bytes]:
        """All committed records, read to the end of each partition."""
        consumer = Consumer(
            {**self.kafka, "group.id": "reader", "isolation.level": "read_committed", "enable.partition.eof": True}
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in (0, 1)])
        found: list[bytes] = []
        ends = 0
        while ends < 2:
            message = consumer.poll(DEADLINE_S)
            assert message is not None, f"no end of {topic} within {DEADLINE_S:.0f} s"
            error = message.error()
            if error is None:
                found.append(message.value() or b"")
            else:
                assert error.code() == KafkaError._PARTITION_EOF
                ends += 1
        consumer.close()
        return found

    def done(self, count: int) -> Callable[[], bool]:
        return lambda: group_lag(self.kafka, self.group, [self.source]) == 0 and self._ends() >= count

    def _ends(self) -> int:
        consumer = Consumer({**self.kafka, "group.id": "reader"})
        ends = [consumer.get_watermark_offsets(TopicPartition(self.target, n), timeout=DEADLINE_S)[1] for n in (0, 1)]
        consumer.close()
        return sum(ends)

    @contextmanager
    def running(
        self, handler: Callable[[Sequence[Record]], list[list[Outgoing]]], slot: int = 0
    ) -> Generator[BatchProcessor]:
        """A worker in a thread of ours; drained at the end."""
        processor = BatchProcessor(self.config(slot), handler, self.letter, self.memory)
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


@pytest.fixture
def stream(settings: Settings) -> Stream:
    return Stream(settings)


def numbers(values: Sequence[bytes]) -> list[int]:
    return sorted(int(value) for value in values)


def test_every_record_is_committed_once_and_the_idle_lag_is_zero(stream: Stream) -> None:
    stream.feed(range(RECORDS))
    with stream.running(stream.copy):
        until(stream.done(RECORDS), "all to be copied")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS))
    with stream.running(stream.copy) as again:
        until(lambda: again.ready, "the second run to join")
    assert len(stream.values(stream.target)) == RECORDS


def test_an_outcome_the_broker_refuses_is_a_dead_letter_and_its_neighbours_go_through(stream: Stream) -> None:
    stream.feed(range(100))

    def handler(records: Sequence[Record]) -> list[list[Outgoing]]:
        made = stream.copy(records)
        for index, record in enumerate(records):
            if record.value == b"33":
                made[index] = [Outgoing(stream.target, b"k", b"x" * (10 << 20))]
            if record.value == b"66":
                made[index] = [Outgoing(f"{stream.target}.nowhere", b"k", b"v")]
        return made

    with stream.running(handler):
        until(stream.done(98), "all but two to be copied")
    assert numbers(stream.values(stream.target)) == [n for n in range(100) if n not in (33, 66)]
    assert sorted(letter.split()[-1] for letter in stream.values(stream.dead)) == [b"33", b"66"]


def test_a_bug_costs_the_record_that_provokes_it_and_no_other(stream: Stream) -> None:
    stream.feed(range(100))

    def handler(records: Sequence[Record]) -> list[list[Outgoing]]:
        if any(record.value == b"50" for record in records):
            raise KeyError("a bug")
        return stream.copy(records)

    with stream.running(handler):
        until(stream.done(99), "all but one to be copied")
    assert numbers(stream.values(stream.target)) == [n for n in range(100) if n != 50]
    assert stream.values(stream.dead) == [b"internal_error 50"]


def test_an_absent_platform_part_keeps_the_batch_and_it_goes_on_by_itself(stream: Stream) -> None:
    stream.feed(range(100))
    tries: list[int] = []

    def handler(records: Sequence[Record]) -> list[list[Outgoing]]:
        tries.append(len(records))
        if len(tries) < 3:
            raise Unavailable("MongoDB is away")
        return stream.copy(records)

    with stream.running(handler):
        until(stream.done(100), "all to be copied")
    assert tries[0] == tries[1]
    assert numbers(stream.values(stream.target)) == list(range(100))
    assert stream.values(stream.dead) == []


def test_workers_come_and_go_while_records_flow(stream: Stream) -> None:
    stream.feed(range(RECORDS // 2))
    with stream.running(stream.copy, 0):
        with stream.running(stream.copy, 1) as second:
            stream.feed(range(RECORDS // 2, RECORDS))
            until(lambda: second.ready, "the second worker to join")
        until(stream.done(RECORDS), "all to be copied")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS))


def test_a_partition_given_away_while_paused_is_read_again_when_it_comes_back(stream: Stream) -> None:
    go_on = threading.Event()

    def held_up(records: Sequence[Record]) -> list[list[Outgoing]]:
        assert go_on.wait(DEADLINE_S)
        return stream.copy(records)

    stream.feed(range(RECORDS))
    with stream.running(held_up) as first:
        until(lambda: bool(first._intake._full), "a full buffer")
        with stream.running(stream.copy, 1) as second:
            until(lambda: len(second._intake._epochs) == 1, "the second worker to get a partition")
            go_on.set()
            until(stream.done(RECORDS), "all to be copied")
        until(lambda: len(first._intake._epochs) == 2, "the partition to come back")
        # Too few to fill the buffer: a later pause and its end would mend what is tested.
        stream.feed(range(RECORDS, RECORDS + 100))
        until(stream.done(RECORDS + 100), "the rest to be copied")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS + 100))


def test_the_heir_of_a_quiet_partition_brings_its_lag_to_zero_too(stream: Stream) -> None:
    stream.feed_in_transaction(range(100))
    handled: list[Record] = []
    last = threading.Event()

    def handler(records: Sequence[Record]) -> list[list[Outgoing]]:
        handled.extend(records)
        if len(handled) == 100:
            last.set()
        return stream.copy(records)

    with stream.running(handler):
        assert last.wait(DEADLINE_S)
    until(lambda: group_lag(stream.kafka, stream.group, [stream.source]) > 0, "the marker behind the last record")
    with stream.running(stream.copy, 1):
        until(stream.done(100), "lag 0")


def test_no_offset_is_ever_taken_back(stream: Stream) -> None:
    entered, go_on = threading.Event(), threading.Event()
    commits: list[dict[Partition, int]] = []

    def handler(records: Sequence[Record]) -> list[list[Outgoing]]:
        entered.set()
        assert go_on.wait(DEADLINE_S)
        return stream.copy(records)

    stream.feed(range(10))
    with stream.running(handler) as processor:
        commit = processor._cycle.commit

        def watched(outcomes: Sequence[Outcome], progress: Progress) -> bool:
            commits.append({partition: point.offset for partition, (_, point) in progress.points(outcomes).items()})
            return commit(outcomes, progress)

        processor._cycle.commit = watched
        assert entered.wait(DEADLINE_S)
        time.sleep(2 * IDLE_AFTER_S)  # what is tested is what passes in this time: the intake offers its positions
        stream.feed(range(10, 20))
        until(lambda: metrics.BUFFERED._value.get() >= 10, "the second ten to be read")
        go_on.set()
        until(stream.done(20), "all to be copied")
    for partition in {partition for each in commits for partition in each}:
        offsets = [each[partition] for each in commits if partition in each]
        assert offsets == sorted(offsets)


WORKER = Path(__file__).with_name("stream_worker.py")


def test_a_killed_workers_records_are_taken_over_and_none_is_lost_or_twice(stream: Stream) -> None:
    argv = [sys.executable, str(WORKER), stream.kafka["bootstrap.servers"], stream.group, stream.source, stream.target]
    with subprocess.Popen([*argv, "0"], stdout=subprocess.PIPE) as worker:
        stream.feed(range(RECORDS))
        assert worker.stdout is not None
        assert worker.stdout.readline()  # its first batch is under way
        os.kill(worker.pid, signal.SIGKILL)
    stream.memory.partitions = frozenset()
    with stream.running(stream.copy, 1):
        until(stream.done(RECORDS), "the heir to copy the rest")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS))


def test_a_group_that_has_run_before_never_chooses_an_offset_by_itself(stream: Stream) -> None:
    stream.feed(range(10))
    stream.memory.partitions = frozenset({(stream.source, 0), (stream.source, 1)})
    processor = BatchProcessor(stream.config(), stream.copy, stream.letter, stream.memory)
    deadline = threading.Timer(DEADLINE_S, processor.stop)
    deadline.start()
    with pytest.raises(StreamFailed, match=r"--to-earliest.*--to-latest"):
        processor.run()
    deadline.cancel()
    assert stream.values(stream.target) == []


def test_a_topic_that_is_not_as_it_must_be_is_refused_with_what_differs(stream: Stream) -> None:
    specs = [TopicSpec(stream.source, 3, 1, {"cleanup.policy": "compact"}), TopicSpec("none.such", 1, 1, {})]
    with pytest.raises(StreamFailed) as refused:
        check_topics(stream.kafka, specs)
    for words in ("2 partitions, expected 3", "cleanup.policy=delete, expected compact", "none.such is missing"):
        assert words in str(refused.value)
