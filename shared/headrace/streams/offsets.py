"""Committed offsets, asked for until the coordinator answers."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

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
