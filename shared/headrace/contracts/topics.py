"""The topics: one declaration that makes them, checks them and documents them."""

from dataclasses import dataclass
from typing import Literal

from headrace.contracts.jobs import PRIORITIES, Priority

DAY_MS = 86_400_000
HOUR_MS = DAY_MS // 24


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's contract; `name` is without the installation's prefix.

    `retention_ms` is None where the setting `retention_days` decides. Topics with the same `partitioned_as` always have
    the same number of partitions, because a key must be in the same partition of each.
    """

    name: str
    key: str
    value: str
    cleanup: Literal["delete", "compact"] = "delete"
    retention_ms: int | None = None
    partitioned_as: Literal["jobs"] | None = None
    segment_bytes: int | None = None
    """Of a compacted topic that is written all the time: only whole segments are compacted, and Kafka's are of 1 GB."""
    tombstones_kept_ms: int | None = None
    """Of a compacted topic with many of them: how long a tombstone outlives its compaction, by default a day. Whoever
    reads the topic whole must not take longer, or it may miss one."""
    partitions: int | None = None
    """None where the setting `partitions` decides."""

    def full_name(self, prefix: str) -> str:
        """The topic's name in Kafka."""
        return f"{prefix}.{self.name}"


ROWS = Topic("rows", "app/table/row-id", "row change, Debezium's envelope")
WEBHOOKS = Topic("webhooks", "app/webhook-id", "method, kept headers, query, body")
TICKS = Topic("ticks", "app/automation", "scheduled time, fired time")
EVENTS = Topic("events", "publisher's choice", "any JSON")
AUTOMATIONS = Topic(
    "automations",
    "automation id",
    "live version and state, or tombstone",
    cleanup="compact",
)
JOBS: dict[Priority, Topic] = {
    priority: Topic(f"jobs.{priority}", "app/automation/ordering key", "Job", partitioned_as="jobs")
    for priority in PRIORITIES
}


def retry_topic(tier: str) -> Topic:
    """The topic in which jobs wait for `tier`, from their append time on."""
    return Topic(f"jobs.retry.{tier}", "as the job", "Job, the next segment of its run", partitioned_as="jobs")


RETRIES: tuple[Topic, ...] = tuple(map(retry_topic, ("5s", "1m", "10m")))
"""Where the setting `retry_tiers` does not name others."""
CONTROL = Topic("control", "run id, or automation id", "which runs are to end, by whom and why")
REPLIES = Topic("replies", "run id", "outcome for a waiting caller", retention_ms=HOUR_MS)
DEAD_LETTERS = Topic(
    "jobs.dlq",
    "as the source record",
    "reason, pointer, the Job or the first 64 KB of the bytes",
    retention_ms=30 * DAY_MS,
)
TIMERS = Topic(
    "timers",
    "timer id",
    "due time and what is resumed, or tombstone",
    cleanup="compact",
    partitioned_as="jobs",
    segment_bytes=64 << 20,
    # One for each timer that fired: kept for a day they would be most of what a rebuild, which takes a minute, reads.
    tombstones_kept_ms=10 * 60_000,
)
WAITS = Topic("waits", "app/type/correlation key", "a wait, its end, or an event waited for", retention_ms=7 * DAY_MS)
RUNS = Topic("runs", "run id", "run record with (generation, sequence)")
STATS = Topic(
    "stats",
    "automation id",
    "one transaction's runs of an automation: counts, failures in a row, durations",
    retention_ms=DAY_MS,
)
INSIGHTS = Topic(
    "insights",
    "kind/automation id",
    "counts of the service insights, or tombstone",
    cleanup="compact",
    segment_bytes=32 << 20,
)
"""The changelog of its table, which it reads whole when it starts."""

SHARDS = Topic(
    "shards",
    "–",
    "nothing: the group's offset of a shard's partition carries its resume token",
    # The installation's rows are in one database, which one capture reads.
    partitions=1,
)

REPLAY = Topic("replay", "as in the source", "the source's event, which a header names by its first place")

SOURCES: tuple[Topic, ...] = (ROWS, WEBHOOKS, EVENTS, TICKS)
"""Whose records are events, which automations listen to."""

CARRIERS: tuple[Topic, ...] = (*JOBS.values(), *RETRIES)
"""Whose records carry runs, jobs and what resumes them, where the setting `retry_tiers` does not name others."""

TOPICS: tuple[Topic, ...] = (
    *SOURCES,
    AUTOMATIONS,
    *CARRIERS,
    TIMERS,
    WAITS,
    CONTROL,
    REPLIES,
    DEAD_LETTERS,
    RUNS,
    STATS,
    INSIGHTS,
    SHARDS,
    REPLAY,
)
"""Those that a service reads or writes today; each later service adds its own."""
