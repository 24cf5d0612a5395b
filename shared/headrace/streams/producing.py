"""Producing outside of a stream's transactions: for commands, which know a record's fate before they go on."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.streams.config import MAX_MESSAGE_BYTES
from headrace.streams.records import Outgoing

DELIVERY_TIMEOUT_MS = 30_000
"""Within this a record is confirmed or refused: long enough for a broker's restart."""

QUEUE_KB = 64 << 10
"""Of records on their way, in memory: several of the largest, and tens of thousands of ordinary ones."""

_REFUSING = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError._UNKNOWN_TOPIC,  # pyright: ignore[reportPrivateUsage]
        KafkaError._UNKNOWN_PARTITION,  # pyright: ignore[reportPrivateUsage]
    )
)
"""Errors of one record, which another try would not mend."""


class Placed(NamedTuple):
    """A record, and the partition that it goes to; None: that follows from its key."""

    record: Outgoing
    partition: int | None = None


class Fate(NamedTuple):
    """What became of records, by their position: confirmed by Kafka; refused, each with Kafka's words. `failure` is why
    the others are neither: nobody knows whether they arrived."""

    confirmed: frozenset[int]
    refused: Mapping[int, str]
    failure: KafkaError | None


class ConfirmingProducer:
    """An idempotent producer whose keys go to the partitions where every other producer of ours puts them."""

    def __init__(self, kafka: Mapping[str, str]) -> None:
        self._producer = Producer(
            {
                **kafka,
                # Without it a retry could reorder a key's records.
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                "queue.buffering.max.kbytes": QUEUE_KB,
                "message.max.bytes": MAX_MESSAGE_BYTES,
            }
        )

    def produce(self, records: Sequence[Placed]) -> Fate:
        """Produces `records` in their order, and waits until the fate of each is known."""
        errors: dict[int, KafkaError] = {}
        confirmed: set[int] = set()
        for position, placed in enumerate(records):

            def delivered(error: KafkaError | None, _message: Message, position: int = position) -> None:
                if error is None:
                    confirmed.add(position)
                else:
                    errors[position] = error

            try:
                self._produce(placed, delivered)
            except KafkaException as error:
                errors[position] = error.args[0]
        self._producer.flush()
        refused = {position: error.str() for position, error in errors.items() if error.code() in _REFUSING}
        failures = [error for error in errors.values() if error.code() not in _REFUSING]
        return Fate(frozenset(confirmed), refused, failures[0] if failures else None)

    def _produce(self, placed: Placed, delivered: Callable[[KafkaError | None, Message], None]) -> None:
        topic, key, value, headers, _ = placed.record
        partition = PARTITION_UA if placed.partition is None else placed.partition
        while True:
            try:
                self._producer.produce(topic, value, key, partition, delivered, headers=[*headers])
            except BufferError:
                self._producer.poll(0.1)  # full: wait for Kafka instead of filling memory
            else:
                return


PARTITION_UA = -1
"""librdkafka's word for: the partitioner decides."""
