"""Wires the runtime's state shape to timers, clocks and waits."""

from collections.abc import Callable
from datetime import datetime

from headrace.contracts.topics import AUTOMATIONS, WAITS
from headrace.engine.ports import SystemClock
from headrace.installation import follower_group, stream_config
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams.compacted import CompactedReader
from headrace.streams.config import GroupMemory
from headrace.streams.partitioner import partition_of
from headrace.streams.records import Partition, Record
from headrace.streams.state import StateProcessor
from services.scheduler.crons import LiveCrons
from services.scheduler.firing import Firing
from services.scheduler.held import Held, LivePauses
from services.scheduler.timers import TimerPartition
from services.scheduler.waits import WaitPartition

NAME = "scheduler"
MAX_BATCH = 1_000
"""Timers of a transaction: through in some ten milliseconds, so that who is late is not late by it."""


class Scheduler:
    """Fires nothing before it knows every automation."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._crons = LiveCrons()
        self._pauses = LivePauses()
        automations = AUTOMATIONS.full_name(settings.prefix)
        group = follower_group(settings, NAME, settings.slot)
        self._reader = CompactedReader(settings.kafka, automations, group, self._apply)
        self._firing = Firing(settings)
        self._dead_letter = DeadLetterWriter(NAME, settings)
        config = stream_config(settings, NAME, MAX_BATCH)
        self._processor = StateProcessor(config, self._open, self._dead_letter)

    def _apply(self, record: Record) -> None:
        self._pauses.apply(record)
        self._crons.apply(record)

    def _open(self, partition: Partition) -> TimerPartition | WaitPartition:
        if partition[0] == WAITS.full_name(self._settings.prefix):
            return WaitPartition(partition, self._firing, self._now)

        def owns(key: bytes) -> bool:
            return partition_of(key, self._settings.partitions) == partition[1]

        held = Held(self._pauses, self._settings.partitions)
        return TimerPartition(partition, self._firing, self._crons, self._dead_letter, self._now, owns, held)

    @property
    def ready(self) -> bool:
        """Whether it knows all automations and all timers of its partitions."""
        return self._reader.caught_up and self._processor.ready

    def stalled_s(self) -> float:
        """Seconds since the timers or the automations last made progress."""
        return max(self._processor.stalled_s(), self._reader.stalled_s())

    def run(self) -> None:
        """Reads the automations, then fires until `stop`; raises StreamFailed."""
        self._reader.start()
        try:
            if self._reader.wait(self._processor.stopping):
                self._processor.run()
        finally:
            self._reader.close()

    def stop(self) -> None:
        """Asks `run` to finish what is under way and return."""
        self._processor.stop()


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Scheduler:
    """The service, ready to run."""
    return Scheduler(settings, SystemClock().now)
