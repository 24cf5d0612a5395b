"""Wires the runtime's batch shape to the store of runs."""

from headrace.installation import stream_config
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import BatchProcessor
from headrace.streams.config import GroupMemory
from services.recorder.records import RunWriter

NAME = "recorder"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> BatchProcessor:
    """The service, ready to run; makes the indexes."""
    loop.run(storage.prepare())
    dead_letter = DeadLetterWriter(NAME, settings)
    config = stream_config(settings, NAME, MAX_BATCH)
    return BatchProcessor(config, RunWriter(loop, storage.runs, dead_letter), dead_letter, memory)
