# The client's stubs leave the results of its futures untyped, and its package re-exports without saying so.
# pyright: reportPrivateImportUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
"""Topics and groups as an operator handles them: made, checked, reset."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from headrace.streams.errors import StreamFailed
from headrace.streams.offsets import committed
from headrace.streams.records import Record, read_message

TIMEOUT_S = 15.0
"""Of one request; a broker that is up answers in milliseconds."""


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be; `config` holds those of its properties that promises rest on."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


def make_topics(kafka: Mapping[str, str], specs: Sequence[TopicSpec]) -> list[str]:
    """Makes those that are missing, answers their names; raises StreamFailed if one that exists differs."""
    admin = AdminClient(dict(kafka))
    existing = admin.list_topics(timeout=TIMEOUT_S).topics
    missing = [spec for spec in specs if spec.name not in existing]
    if missing:
        new = [
            NewTopic(spec.name, spec.partitions, spec.replication_factor, config=dict(spec.config)) for spec in missing
        ]
        for name, made in admin.create_topics(new).items():
            try:
                _answer(made)
            except KafkaException as error:
                raise StreamFailed(f"topic {name} could not be made: {error.args[0]}") from None
    check_topics(kafka, specs, wait_for=frozenset(spec.name for spec in missing))
    return [spec.name for spec in missing]


def check_topics(kafka: Mapping[str, str], specs: Sequence[TopicSpec], wait_for: frozenset[str] = frozenset()) -> None:
    """Raises StreamFailed naming every topic that is missing or differs in partitions or properties."""
    admin = AdminClient(dict(kafka))
    found = admin.list_topics(timeout=TIMEOUT_S).topics
    while any(name not in found for name in wait_for):
        found = admin.list_topics(timeout=TIMEOUT_S).topics
    wrong = [f"{spec.name} is missing" for spec in specs if spec.name not in found]
    present = [spec for spec in specs if spec.name in found]
    resources = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in present]
    answers = admin.describe_configs(resources) if resources else {}  # the client refuses to ask for none
    configs = {resource.name: answer for resource, answer in answers.items()}
    for spec in present:
        partitions = len(found[spec.name].partitions)
        if partitions != spec.partitions:
            wrong.append(f"{spec.name} has {partitions} partitions, expected {spec.partitions}")
        actual = _answer(configs[spec.name])
        wrong += [
            f"{spec.name} has {name}={actual[name].value}, expected {value}"
            for name, value in spec.config.items()
            if actual[name].value != value
        ]
    if wrong:
        raise StreamFailed(
            f"the topics are not as they must be: {'; '.join(wrong)}. `headrace topics --make` makes missing ones; "
            "counts of partitions never change in place"
        )


def reset_group(kafka: Mapping[str, str], group: str, partitions: Sequence[tuple[str, int]], earliest: bool) -> None:
    """Sets the group's offsets to the earliest or the latest record; the group must have no member. Raises
    StreamFailed."""
    admin = AdminClient(dict(kafka))
    spec = cast(OffsetSpec, OffsetSpec.earliest() if earliest else OffsetSpec.latest())
    try:
        ends = admin.list_offsets({TopicPartition(*partition): spec for partition in partitions})
        offsets = [
            TopicPartition(partition.topic, partition.partition, _answer(end).offset) for partition, end in ends.items()
        ]
        changed = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, offsets)])
        # Kafka may refuse single partitions of a request that it answers, all of them where the group has members.
        refused = [f"{each.topic}/{each.partition}: {each.error}" for each in _partitions(_answer(changed[group]))]
    except KafkaException as error:
        refused = [str(error.args[0])]
    if refused:
        raise StreamFailed(f"offsets of {group} could not be set (are its services stopped?): {'; '.join(refused)}")


def _partitions(answered: ConsumerGroupTopicPartitions) -> list[TopicPartition]:
    return [each for each in answered.topic_partitions or () if each.error is not None]


def committed_offsets(kafka: Mapping[str, str], group: str, topic: str) -> dict[int, int]:
    """The group's committed offsets in `topic`, by partition; those without one are left out."""
    consumer = Consumer({**kafka, "group.id": group})
    try:
        numbers = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        found = committed(consumer, [TopicPartition(topic, number) for number in numbers], TIMEOUT_S)
        return {each.partition: each.offset for each in found if each.offset >= 0}
    finally:
        consumer.close()


def member_client_ids(kafka: Mapping[str, str], group: str) -> list[str]:
    """The client ids of the group's living members."""
    admin = AdminClient(dict(kafka))  # must live until the answer is there
    described = admin.describe_consumer_groups([group])
    try:
        return [str(member.client_id) for member in _answer(described[group]).members]
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise StreamFailed(f"group {group} could not be described: {error.args[0]}") from None


def read_topic(kafka: Mapping[str, str], topic: str) -> Iterator[Record]:
    """All committed records of `topic` up to its present end; raises StreamFailed."""
    consumer = Consumer(
        {**kafka, "group.id": "reads-whole", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    try:
        behind = set(consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in behind])
        while behind:
            for message in consumer.consume(1_000, 0.2):
                error = message.error()
                if error is None:
                    yield read_message(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                    behind.discard(int(message.partition() or 0))
                else:
                    raise StreamFailed(f"reading {topic} failed: {error}")
    finally:
        consumer.close()


def group_lag(kafka: Mapping[str, str], group: str, topics: Sequence[str]) -> int:
    """Records between the group's committed offsets and the ends of its topics; without an offset all of them."""
    consumer = Consumer({**kafka, "group.id": group, "isolation.level": "read_committed"})
    try:
        lag = 0
        for topic in topics:
            numbers = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
            for found in committed(consumer, [TopicPartition(topic, number) for number in numbers], TIMEOUT_S):
                first, end = consumer.get_watermark_offsets(found, timeout=TIMEOUT_S)
                lag += end - max(first, found.offset)
        return lag
    finally:
        consumer.close()


def read_one(kafka: Mapping[str, str], topic: str, partition: int, offset: int) -> Record | None:
    """The committed record at this place, None if there is none (any more); raises StreamFailed."""
    consumer = Consumer(
        {**kafka, "group.id": "reads-one", "isolation.level": "read_committed", "enable.partition.eof": True}
    )
    wanted = TopicPartition(topic, partition, offset)
    try:
        known = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        if partition not in known:
            return None
        first, end = consumer.get_watermark_offsets(wanted, timeout=TIMEOUT_S)
        if not first <= offset < end:
            return None
        consumer.assign([wanted])
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            error = message.error()
            if error is None:
                # Behind a place whose record was compacted away, or is none but a marker, stands the next one.
                return read_message(message) if message.offset() == offset else None
            if error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                return None
            raise StreamFailed(f"reading {topic}/{partition}/{offset} failed: {error}")
        raise StreamFailed(f"{topic}/{partition}/{offset} could not be read within {TIMEOUT_S:.0f} s")
    except KafkaException as error:
        raise StreamFailed(f"reading {topic}/{partition}/{offset} failed: {error.args[0]}") from None
    finally:
        consumer.close()


def _answer(asked: "Future[_T]") -> _T:
    """What Kafka answers; raises KafkaException, also where it does not answer within TIMEOUT_S."""
    try:
        return asked.result(TIMEOUT_S)
    except TimeoutError:
        silent = KafkaError(KafkaError._TIMED_OUT, f"no answer within {TIMEOUT_S:g} s")  # pyright: ignore[reportPrivateUsage]
        raise KafkaException(silent) from None
