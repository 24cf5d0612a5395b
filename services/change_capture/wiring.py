"""Wires the runtime's source shape to MongoDB's changes."""

from headrace.installation import capture_config
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams.config import GroupMemory
from headrace.streams.source import SourceProcessor
from services.change_capture.changes import MongoChanges
from services.change_capture.records import ChangeRecords

NAME = "change_capture"


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> SourceProcessor:
    """The service, ready to run."""
    config = capture_config(settings)
    dead_letter = DeadLetterWriter(NAME, settings)
    records = ChangeRecords(settings, (config.topics[0], 0), dead_letter)
    return SourceProcessor(config, MongoChanges(loop, storage, records), dead_letter, memory)
