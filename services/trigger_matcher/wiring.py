"""Wires the runtime's batch shape to the matching of events."""

import time

from headrace.following import Following
from headrace.installation import stream_config
from headrace.matching import Index
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import BatchProcessor
from headrace.streams.config import GroupMemory
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.definitions import Definitions
from services.trigger_matcher.events import RecordMatcher

NAME = "trigger_matcher"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Following:
    """The service, ready to run."""
    index = Index()
    dead_letter = DeadLetterWriter(NAME, settings)
    matcher = RecordMatcher(index, settings, dead_letter, AppRates(settings.app_rate, time.monotonic))
    processor = BatchProcessor(stream_config(settings, NAME, MAX_BATCH), matcher, dead_letter, memory)
    return Following(NAME, settings, processor, Definitions(index).apply)
