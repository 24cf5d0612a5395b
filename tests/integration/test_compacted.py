"""A compacted topic is followed whatever becomes of the coordinator of the reader's group."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from conftest import DEADLINE_S, until

from headrace.contracts.topics import AUTOMATIONS
from headrace.settings import Settings
from headrace.streams.admin import committed_offsets
from headrace.streams.compacted import CompactedReader
from headrace.streams.records import Record

pytestmark = pytest.mark.integration


class Uncommitting:
    """The reader's consumer, whose coordinator is away for so many commits."""

    def __init__(self, consumer: Consumer, error: KafkaError, times: int) -> None:
        self._consumer = consumer
        self._error = error
        self.left = times

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> Any:
        if self.left > 0:
            self.left -= 1
            raise KafkaException(self._error)
        return self._consumer.commit(offsets=[*offsets], asynchronous=asynchronous)  # type: ignore[call-overload]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def followed(topics: Settings, error: KafkaError, times: int) -> tuple[CompactedReader, list[bytes], Uncommitting]:
    seen: list[bytes] = []

    def apply(record: Record) -> None:
        seen.append(record.value or b"")

    reader = CompactedReader(topics.kafka, AUTOMATIONS.full_name(topics.prefix), f"{topics.prefix}-reader", apply)
    failing = Uncommitting(reader._consumer, error, times)  # pyright: ignore[reportPrivateUsage]
    reader._consumer = cast(Consumer, failing)  # pyright: ignore[reportPrivateUsage]
    reader.start()
    return reader, seen, failing


def published(topics: Settings, value: bytes) -> None:
    producer = Producer({**topics.kafka})
    producer.produce(AUTOMATIONS.full_name(topics.prefix), value, b"key")
    assert producer.flush(DEADLINE_S) == 0


def test_a_commit_that_fails_is_done_again_and_reading_goes_on(topics: Settings) -> None:
    reader, seen, failing = followed(topics, KafkaError(KafkaError.NOT_COORDINATOR), 3)
    topic, group = AUTOMATIONS.full_name(topics.prefix), f"{topics.prefix}-reader"
    try:
        published(topics, b"first")
        until(lambda: failing.left == 0, "the commits that fail")
        published(topics, b"second")
        until(lambda: seen == [b"first", b"second"], "both records")
        until(lambda: sum(committed_offsets(topics.kafka, group, topic).values()) == 2, "the position to be known")
        assert reader.stalled_s() < DEADLINE_S
    finally:
        reader.close()


def test_a_reader_that_has_failed_for_good_says_so_at_once(topics: Settings) -> None:
    fatal = KafkaError(KafkaError._FATAL, "made by the test", fatal=True)  # pyright: ignore[reportPrivateUsage]
    reader, _, _ = followed(topics, fatal, 1_000)
    try:
        published(topics, b"first")
        until(lambda: reader.stalled_s() == float("inf"), "the reader to fail")
        assert reader.failure is not None
    finally:
        reader.close()
