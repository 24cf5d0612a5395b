"""The topics: one declaration that makes them, checks them and documents them."""

from dataclasses import dataclass
from typing import Literal

from headrace.contracts.jobs import PRIORITIES, Priority

DAY_MS = 86_400_000


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
RETRIES: dict[float, Topic] = {
    delay: Topic(f"jobs.retry.{name}", "as the job", "Job, the next segment of its run", partitioned_as="jobs")
    for delay, name in ((5.0, "5s"), (60.0, "1m"), (600.0, "10m"))
}
"""By the seconds that a job waits there, from its append time on."""
DEAD_LETTERS = Topic(
    "jobs.dlq",
    "as the source record",
    "reason, pointer, the Job or the first 64 KB of the bytes",
    retention_ms=30 * DAY_MS,
)
TIMERS = Topic("timers", "timer id", "due time and what is resumed, or tombstone", cleanup="compact")
RUNS = Topic("runs", "run id", "run record with (generation, sequence)")

SOURCES: tuple[Topic, ...] = (ROWS, WEBHOOKS, EVENTS, TICKS)
"""Whose records are events, which automations listen to."""

CARRIERS: tuple[Topic, ...] = (*JOBS.values(), *RETRIES.values())
"""Whose records carry runs: jobs, and what resumes them."""

TOPICS: tuple[Topic, ...] = (*SOURCES, AUTOMATIONS, *CARRIERS, TIMERS, DEAD_LETTERS, RUNS)
"""Those that a service reads or writes today; each later service adds its own."""
