"""A service's stream, as it is told to the runtime, and what that means for the client."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.streams.records import Partition, Record

TRANSACTION_TIMEOUT_MS = 3_000
"""transaction.timeout.ms. Short, because readers wait behind a dead worker's open transaction for it."""


class GroupMemory(Protocol):
    """Remembers which partitions a group has committed, outside of Kafka (see OffsetsLost)."""

    def known(self) -> frozenset[Partition]:
        """All that was remembered; raises Unavailable."""
        ...

    def remember(self, partitions: frozenset[Partition]) -> None:
        """Adds to it, durably; raises Unavailable."""
        ...


class SuspectMemory(Protocol):
    """Remembers, outside of Kafka and beyond a worker's death, which records may have killed it. Raises Unavailable."""

    async def found(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Those of `ids` that are marked, each with its count."""
        ...

    async def mark(self, ids: Sequence[str]) -> None:
        """Marks `ids`, count 0."""
        ...

    async def count(self, id: str) -> int:
        """Adds 1 to the count of a marked id, durably, and answers it."""
        ...

    async def take_back(self, id: str) -> None:
        """Takes 1 from the count of a marked id: its worker did not die of it."""
        ...

    async def clear(self, ids: Sequence[str]) -> None:
        """Takes the marks away."""
        ...


def nowhere(topic: str) -> bool:
    """For streams that read every topic from its beginning."""
    return False


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """What a service tells of its stream. `kafka` is the client's connection; names are whole, with their prefix. A
    topic that begins with `^` is a pattern, which the broker (4.0 or later) matches with whole names, new ones too.

    `client_id` ends with the slot; `transactional_id` too, so that a restart ends its own open transaction.
    """

    kafka: Mapping[str, str]
    group: str
    topics: Sequence[str]
    client_id: str
    transactional_id: str
    max_batch: int = 1_000
    """Records a transaction holds at the most: past this a transaction's fixed cost no longer shows."""
    max_batch_bytes: int = 16 << 20
    """Two of the largest records; a batch of ordinary ones never gets near."""
    max_in_flight: int = 4_000
    """Concurrent shape: records read and not committed. Thousands wait at the cost of some kilobytes each."""
    max_in_flight_bytes: int = 128 << 20
    """Concurrent shape: bytes of these records and of what they made."""
    delays: Mapping[str, float] = field(default_factory=dict[str, float])
    """Concurrent shape: seconds that a record of a topic waits from its append time on before it is handled."""
    width: Callable[[Record], int] | None = None
    """Concurrent shape: how many records of this one's partition and key are handled at a time; None: one. Asked only
    where there are others. They start in their order."""
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])
    """Concurrent shape: topics whose records wait for those of topics with a lower rank, and are slowed down by them,
    never starved. What is not named has rank 0."""
    shares: Sequence[float] = (1.0,)
    """Concurrent shape: how much of `max_in_flight` each rank may take."""
    begins_at_end: Callable[[str], bool] = nowhere
    """Batch shape: of which topics a partition without an offset is begun at its end, not at its beginning."""


def consumer_properties(config: StreamConfig) -> dict[str, str | int | bool]:
    """librdkafka's properties of the runtime's consumer; KIP-848 group protocol."""
    return {
        **config.kafka,
        "client.id": config.client_id,
        "group.id": config.group,
        "group.protocol": "consumer",
        # Others leave the partitions of one index on different members.
        "group.remote.assignor": "range",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "enable.auto.offset.store": False,
        # A lost offset is never guessed: see OffsetsLost.
        "auto.offset.reset": "error",
        # What is fetched ahead is memory: 32 MB hold thousands of ordinary records and four of the largest.
        "queued.max.messages.kbytes": 32_768,
        # A partition that is fetched again waits for the fetch under way, which waits for records of the others: half a
        # second by default.
        "fetch.wait.max.ms": 50,
        "message.max.bytes": MAX_MESSAGE_BYTES,
    }


def producer_properties(config: StreamConfig) -> dict[str, str | int | bool]:
    """librdkafka's properties of the runtime's transactional producer."""
    return {
        **config.kafka,
        "client.id": config.client_id,
        "transactional.id": config.transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        # The coordinator answers CONCURRENT_TRANSACTIONS while the last one completes; the defaults (100 ms) would be
        # the price of every transaction.
        "retry.backoff.ms": 2,
        "retry.backoff.max.ms": 20,
        # Well below the transaction's time-out: by default (30 s) the transaction of a record for a topic that does not
        # exist times out before the client calls the topic unknown, and the record is never found out.
        "topic.metadata.propagation.max.ms": 1_000,
        "linger.ms": 1,
        "compression.type": "lz4",
        "delivery.report.only.error": True,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        # As Java's clients: keys of other publishers' clients land in the same partitions.
        "partitioner": "murmur2_random",
    }


MAX_MESSAGE_BYTES = 9 << 20
"""8 MB for the largest record and room for its key, headers and batch; the broker's message.max.bytes is the same."""
