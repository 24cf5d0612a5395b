"""Wires the runtime's batch shape to the matching of events."""

from headrace.contracts.topics import AUTOMATIONS
from headrace.installation import stream_config
from headrace.matching import Index
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import BatchProcessor
from headrace.streams.compacted import CompactedReader
from headrace.streams.config import GroupMemory
from services.trigger_matcher.definitions import Definitions
from services.trigger_matcher.events import RecordMatcher

NAME = "trigger_matcher"
MAX_BATCH = 1_000


class TriggerMatcher:
    """Matches nothing before it knows every automation."""

    def __init__(self, settings: Settings, memory: GroupMemory) -> None:
        index = Index()
        self._definitions = Definitions(index)
        automations = AUTOMATIONS.full_name(settings.prefix)
        # A group of its own for each slot: whoever publishes an automation looks there how far this process is.
        group = f"{settings.prefix}-automations-{settings.slot}"
        self._reader = CompactedReader(settings.kafka, automations, group, self._definitions.apply)
        dead_letter = DeadLetterWriter(NAME, settings)
        matcher = RecordMatcher(index, settings, dead_letter)
        config = stream_config(settings, NAME, MAX_BATCH)
        self._processor = BatchProcessor(config, matcher, dead_letter, memory)
        self._stop = self._processor.stopping

    @property
    def ready(self) -> bool:
        """Whether it knows all automations and takes part in its group."""
        return self._reader.caught_up and self._processor.ready

    def stalled_s(self) -> float:
        """Seconds since the events or the automations last made progress."""
        return max(self._processor.stalled_s(), self._reader.stalled_s())

    def run(self) -> None:
        """Reads the automations, then matches until `stop`; raises StreamFailed."""
        self._reader.start()
        try:
            if self._reader.wait(self._stop):
                self._processor.run()
        finally:
            self._reader.close()

    def stop(self) -> None:
        """Asks `run` to drain and return."""
        self._processor.stop()


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> TriggerMatcher:
    """The service, ready to run."""
    return TriggerMatcher(settings, memory)
