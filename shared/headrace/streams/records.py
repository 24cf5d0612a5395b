"""Records as handlers see them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from confluent_kafka import Message

Partition = tuple[str, int]
"""(topic, partition number)."""


class Record(NamedTuple):
    """A record that was read. `timestamp_ms` is the broker's append time on our topics."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Outgoing(NamedTuple):
    """A record to produce; the partition follows from the key unless it is given."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class Outcome(NamedTuple):
    """What one record led to, and the assignment epoch of its partition when it was read.

    `tally` is the handler's word to the stream's summary (see Summarise); what is replaced by a dead letter has none.
    """

    record: Record
    epoch: int
    outputs: Sequence[Outgoing]
    tally: object = None
    own: Sequence[Outgoing] = ()
    """What the record's own partition is told of it: produced even if `outputs` are replaced by a dead letter."""


Summarise = Callable[[Sequence[Outcome]], Sequence[Outgoing]]
"""The outcomes of one try of a transaction to what is produced beside them, in the same transaction.

It is called again where outcomes are committed in other company: what is committed counts each of them once. Called in
the committing thread; what it raises ends the stream.
"""


def no_summary(outcomes: Sequence[Outcome]) -> Sequence[Outgoing]:
    """For streams that produce nothing but what each record leads to."""
    return ()


def read_message(message: Message) -> Record:
    """The record in a message that carries no error."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise TypeError("a message without a place in Kafka is an event of the client, not a record")
    # The stubs allow what is produced; what is read is bytes, or None for a header without a value.
    headers = cast("list[tuple[str, bytes | None]] | None", message.headers()) or ()
    pairs = [(name, value or b"") for name, value in headers]
    return Record(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), pairs)
