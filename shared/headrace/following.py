"""What services do that follow a topic, as that of automations: each has of all of it in memory what it needs."""

import threading
from collections.abc import Callable

import structlog
from prometheus_client import Counter

from headrace.contracts.topics import AUTOMATIONS, Topic
from headrace.installation import follower_group
from headrace.service import Service
from headrace.settings import Settings
from headrace.streams import Record
from headrace.streams.compacted import CompactedReader

REFUSED = Counter("headrace_automations_refused_total", "Records of the automations topic that could not be used")

_MAX_SHOWN = 500
"""Characters of a log line's parts: names in the record have whatever length it gave them."""


class Following:
    """A service that processes nothing before it knows every automation, or all of another topic.

    `apply` is given the records of the topic, in a thread of its own, and never raises. `from_end`: it is told only of
    what comes from now on.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        inner: Service,
        apply: Callable[[Record], None],
        topic: Topic = AUTOMATIONS,
        *,
        from_end: bool = False,
    ) -> None:
        group = follower_group(settings, name, settings.slot, topic)
        full_name = topic.full_name(settings.prefix)
        self._reader = CompactedReader(settings.kafka, full_name, group, apply, from_end=from_end)
        self._inner = inner
        self._stop = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether it knows all and takes part in its group."""
        return self._reader.caught_up and self._inner.ready

    def stalled_s(self) -> float:
        """Seconds since the stream or the topic last made progress."""
        return max(self._inner.stalled_s(), self._reader.stalled_s())

    def run(self) -> None:
        """Reads the topic, then runs until `stop`; raises StreamFailed."""
        self._reader.start()
        try:
            if self._reader.wait(self._stop):
                self._inner.run()
        finally:
            self._reader.close()

    def stop(self) -> None:
        """Asks `run` to drain and return."""
        self._stop.set()
        self._inner.stop()


def tell_refused(record: Record, type: str, message: str) -> None:
    """Counts and logs a record of the automations topic that cannot be used; `message` has no value of the record.

    It has no dead letter: reading a compacted topic commits nothing that a letter could be part of, and every start of
    every service would write it again.
    """
    REFUSED.inc()
    structlog.get_logger().error(
        "automation refused",
        automation=(record.key or b"").decode(errors="replace")[:_MAX_SHOWN],
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        type=type,
        reason=message[:_MAX_SHOWN],
    )
