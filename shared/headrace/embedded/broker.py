"""The broker settings that Headrace's promises rest on: for the embedded broker, the compose file and `doctor`."""

BROKER_PROPERTIES: dict[str, str] = {
    # A killed consumer's partitions come back after this; the broker's default is 45 s.
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.session.timeout.ms": "3000",
    # Six heartbeats in a session time-out: a stall of a second is no death.
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    # An assignment is computed at once instead of being batched for a second.
    "group.consumer.assignment.interval.ms": "0",
    # How often the broker looks for timed-out transactions: readers wait behind a dead worker's (default 10 s).
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # No topic by accident.
    "auto.create.topics.enable": "false",
    # Records of 8 MB and their headers travel.
    "message.max.bytes": "9437184",
}

SINGLE_NODE_PROPERTIES: dict[str, str] = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""One broker has no second to replicate to, and few internal partitions start faster."""
