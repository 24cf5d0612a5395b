"""Names and topics of one installation, from its settings."""

from collections.abc import Callable, Mapping, Sequence

from headrace.contracts.topics import (
    AUTOMATIONS,
    CARRIERS,
    DAY_MS,
    DEAD_LETTERS,
    REPLAY,
    RETRIES,
    RUNS,
    SHARDS,
    SOURCES,
    TIMERS,
    TOPICS,
    WAITS,
    Topic,
    retry_topic,
)
from headrace.settings import Settings
from headrace.streams.admin import TopicSpec
from headrace.streams.config import MAX_MESSAGE_BYTES, StreamConfig, nowhere

READS: Mapping[str, tuple[Topic, ...]] = {
    "trigger_matcher": SOURCES,
    "orchestrator": CARRIERS,
    "recorder": (RUNS, DEAD_LETTERS),
    "scheduler": (TIMERS, WAITS),
}
"""Services on the streams runtime, in the order of an event's way, at the end the one that begins ways by the
clock; and the topics that each one's group consumes."""

GATEWAY = "gateway"
"""The service that serves HTTP to others."""

SERVICES: tuple[str, ...] = (*READS, "insights", "change_capture", GATEWAY)
"""All of them."""


def retry_topics(settings: Settings) -> dict[float, Topic]:
    """The retry tiers' topics by the seconds that a job waits there, ascending."""
    return {delay: retry_topic(name) for delay, name in settings.tiers.items()}


def topics(settings: Settings) -> list[Topic]:
    """All topics of the installation."""
    return _with_tiers(TOPICS, settings)


def carriers(settings: Settings) -> list[Topic]:
    """Those whose records carry runs: jobs, and what resumes them."""
    return _with_tiers(CARRIERS, settings)


def _with_tiers(topics: Sequence[Topic], settings: Settings) -> list[Topic]:
    others = [topic for topic in topics if topic not in RETRIES]
    return [*others, *retry_topics(settings).values()] if len(others) < len(topics) else others


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """The topics as they must be in Kafka."""
    return [
        TopicSpec(
            topic.full_name(settings.prefix),
            topic.partitions or settings.partitions,
            settings.replication_factor,
            config,
        )
        for topic in topics(settings)
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
    if topic.segment_bytes is not None:
        config["segment.bytes"] = str(topic.segment_bytes)
    if topic.tombstones_kept_ms is not None:
        config["delete.retention.ms"] = str(topic.tombstones_kept_ms)
    return config


def group_name(settings: Settings, service: str) -> str:
    """The consumer group of a service."""
    return f"{settings.prefix}-{service}"


FOLLOWERS = ("trigger_matcher", "orchestrator", "scheduler")
"""The services of which each process follows the topic of automations: one is live when all of these know it."""


def follower_group(settings: Settings, service: str, slot: int | str, topic: Topic = AUTOMATIONS) -> str:
    """The group under which one process of a follower commits how far it has read `topic`."""
    name = f"{settings.prefix}-{topic.name}"
    return f"{name}-{slot}" if service == "trigger_matcher" else f"{name}-{service}-{slot}"


def source_topics(settings: Settings, service: str) -> list[str]:
    """The whole names of the topics that a service's group consumes."""
    return [topic.full_name(settings.prefix) for topic in _with_tiers(READS[service], settings)]


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
        delays={topic.full_name(settings.prefix): delay for delay, topic in retry_topics(settings).items()},
    )


def sources_config(
    settings: Settings, topics: Sequence[str], max_batch: int, begins_at_end: Callable[[str], bool] = nowhere
) -> StreamConfig:
    """The matcher's other stream: `topics` that others write, and those of their records that stand again in `replay`.

    A group of its own, so that what is wrong with them (no right to read, a registry that is away) is not wrong with
    the installation's own events.
    """
    name = f"{group_name(settings, 'trigger_matcher')}-sources"
    return StreamConfig(
        kafka=settings.kafka,
        group=name,
        topics=[REPLAY.full_name(settings.prefix), *topics],
        client_id=f"{name}-{settings.slot}",
        transactional_id=f"{name}-{settings.slot}",
        max_batch=max_batch,
        begins_at_end=begins_at_end,
    )


def capture_config(settings: Settings) -> StreamConfig:
    """The stream of change_capture. Its transactional id is its shard's, not the process's: whoever takes the shard
    over ends what the last owner left open."""
    name = group_name(settings, "change_capture")
    return StreamConfig(
        kafka=settings.kafka,
        group=name,
        topics=[SHARDS.full_name(settings.prefix)],
        client_id=f"{name}-{settings.slot}",
        transactional_id=f"{name}-0",
    )
