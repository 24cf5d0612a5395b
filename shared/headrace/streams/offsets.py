"""Committed offsets, asked for until the coordinator answers."""

import time
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.streams.errors import StreamFailed

COMMITTED_TIMEOUT_S = 15.0
"""An offset under an open transaction is told once that has ended: transaction.timeout.ms (3 s) and the clean-up."""

TRY_S = 5.0
"""Of one question within an assignment: longer than a transaction's time-out, and a worker that is asked to stop
meanwhile does so this much later at the most."""

ASSIGN_TIMEOUT_S = 240.0
"""How long an assignment waits for its offsets. Past max.poll.interval.ms (300 s) we would be thrown out anyway."""

RETRY_S = 0.1
"""A coordinator moves, or makes its topic at a cluster's first use, within a second."""

_MOVING = frozenset(
    (
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    )
)
"""The client gives these to its caller instead of waiting for the next coordinator."""


def committed(consumer: Consumer, partitions: Sequence[TopicPartition], timeout_s: float) -> list[TopicPartition]:
    """The group's committed offsets with their metadata; raises KafkaException after `timeout_s`."""
    if not partitions:
        return []
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return consumer.committed(list(partitions), timeout=max(RETRY_S, deadline - time.monotonic()))
        except KafkaException as error:
            if error.args[0].code() not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)


def committed_at_last(
    consumer: Consumer, group: str, partitions: list[TopicPartition], beat: Callable[[], None]
) -> list[TopicPartition]:
    """The same, though the coordinator be away for a while; calls `beat` between tries, which may end it by raising.

    Raises StreamFailed.
    """
    deadline = time.monotonic() + ASSIGN_TIMEOUT_S
    while True:
        try:
            return committed(consumer, partitions, TRY_S)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise StreamFailed(
                    f"the committed offsets of group {group} cannot be read: {error.args[0]}. If Kafka is well, a "
                    "transaction of a worker that is gone may hold them back: start that slot once"
                ) from None
            structlog.get_logger().warning("committed offsets not known yet", group=group, error=str(error.args[0]))
            beat()


_PASSING = frozenset(
    (
        KafkaError._TIMED_OUT,  # pyright: ignore[reportPrivateUsage]
        KafkaError._WAIT_COORD,  # pyright: ignore[reportPrivateUsage]
        KafkaError._TRANSPORT,  # pyright: ignore[reportPrivateUsage]
        KafkaError._ALL_BROKERS_DOWN,  # pyright: ignore[reportPrivateUsage]
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError.REQUEST_TIMED_OUT,
    )
)
"""Errors that go when the coordinator is back, or a transaction has ended."""
