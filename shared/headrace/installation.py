"""Names and topics of one installation, from its settings."""

from collections.abc import Mapping

from headrace.contracts.topics import DAY_MS, JOBS, RETRIES, RUNS, SOURCES, TIMERS, TOPICS, Topic
from headrace.settings import Settings
from headrace.streams.admin import TopicSpec
from headrace.streams.config import MAX_MESSAGE_BYTES, StreamConfig

READS: Mapping[str, tuple[Topic, ...]] = {
    "trigger_matcher": SOURCES,
    "orchestrator": (*JOBS.values(), *RETRIES.values()),
    "recorder": (RUNS,),
    "scheduler": (TIMERS,),
}
"""The services in the order of an event's way, at the end the one that begins ways by the clock; and the topics that
each one's group consumes."""


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """The topics as they must be in Kafka."""
    return [
        TopicSpec(topic.full_name(settings.prefix), settings.partitions, settings.replication_factor, config)
        for topic in TOPICS
        for config in [_config(topic, settings)]
    ]


def _config(topic: Topic, settings: Settings) -> dict[str, str]:
    config = {
        # With event time as Kafka's timestamp, replayed history would be deleted by retention at once.
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": topic.cleanup,
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    if topic.cleanup == "delete":
        retention = topic.retention_ms or int(settings.retention_days * DAY_MS)
        config["retention.ms"] = str(retention)
    return config


def group_name(settings: Settings, service: str) -> str:
    """The consumer group of a service."""
    return f"{settings.prefix}-{service}"


def source_topics(settings: Settings, service: str) -> list[str]:
    """The whole names of the topics that a service's group consumes."""
    return [topic.full_name(settings.prefix) for topic in READS[service]]


def stream_config(settings: Settings, service: str, max_batch: int) -> StreamConfig:
    """A service's stream; client and transactional id carry the slot, so that a restart ends its own transaction."""
    name = group_name(settings, service)
    return StreamConfig(
        kafka=settings.kafka,
        group=name,
        topics=source_topics(settings, service),
        client_id=f"{name}-{settings.slot}",
        transactional_id=f"{name}-{settings.slot}",
        max_batch=max_batch,
        delays={topic.full_name(settings.prefix): delay for delay, topic in RETRIES.items()},
    )
