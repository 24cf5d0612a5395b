"""The broker settings that Headrace's promises rest on: for the embedded broker, the compose file and `doctor`."""

from collections.abc import Mapping
from types import MappingProxyType

BROKER_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        # A killed consumer's partitions come back after this; the broker's default is 45 s.
        "group.consumer.session.timeout.ms": "3000",
        # The broker refuses a value under its minimum, which is 45 s.
        "group.consumer.min.session.timeout.ms": "3000",
        # Six heartbeats in a session time-out: a stall of a second is no death. The default is 5 s.
        "group.consumer.heartbeat.interval.ms": "500",
        # The minimum is 5 s by default.
        "group.consumer.min.heartbeat.interval.ms": "500",
        # An assignment is computed at once instead of being batched for a second.
        "group.consumer.assignment.interval.ms": "0",
        # How often the broker looks for timed-out transactions: readers wait behind a dead worker's (default 10 s).
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        # No topic by accident: a mistyped name is an error, not an empty topic with one partition.
        "auto.create.topics.enable": "false",
        # Records of 8 MB travel, with a megabyte for their headers and the batch around them.
        "message.max.bytes": "9437184",
    }
)
"""What every broker of every installation sets; the reason stands beside each."""

SINGLE_NODE_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        # One broker has no second to replicate to.
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Fifty partitions each, the default, spread load over brokers; here they are files to open and load.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "1",
        # A classic group's first member waits 3 s for companions by default.
        "group.initial.rebalance.delay.ms": "0",
    }
)
"""For a cluster of one broker, embedded or in a container."""

EMBEDDED_PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        # The cleaner takes 128 MB of the heap at once by default: for key maps of topics far larger than these.
        "log.cleaner.dedupe.buffer.size": "16777216",
    }
)
"""For a broker that shares a laptop with everything else."""
