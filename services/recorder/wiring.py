"""Wires the runtime's batch shape to the stores of runs and of dead letters."""

from collections.abc import Sequence
from datetime import timedelta

from headrace.contracts.topics import DAY_MS, DEAD_LETTERS
from headrace.installation import stream_config
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import BatchProcessor, Outgoing, Record
from headrace.streams.config import GroupMemory
from services.recorder.letters import LetterWriter
from services.recorder.records import RunWriter

NAME = "recorder"
MAX_BATCH = 1_000


class Recorder:
    """The runtime's handler: each record to the writer of its topic."""

    def __init__(self, settings: Settings, loop: Loop, storage: Storage, dead_letter: DeadLetterWriter) -> None:
        # As long as a job or a dead letter may bring the run back, its head must tell what became of it.
        kept = timedelta(milliseconds=max(DEAD_LETTERS.retention_ms or 0, settings.retention_days * DAY_MS))
        self._letters_topic = DEAD_LETTERS.full_name(settings.prefix)
        self._runs = RunWriter(loop, storage, dead_letter, kept)
        self._letters = LetterWriter(loop, storage, dead_letter, kept)

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """What the writers answer, in the order of the records. Raises Unavailable."""
        is_letter = [record.topic == self._letters_topic for record in records]
        letters = iter(self._letters([record for record, is_one in zip(records, is_letter, strict=True) if is_one]))
        runs = iter(self._runs([record for record, is_one in zip(records, is_letter, strict=True) if not is_one]))
        return [next(letters if is_one else runs) for is_one in is_letter]


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> BatchProcessor:
    """The service, ready to run; makes the indexes."""
    loop.run(storage.prepare())
    dead_letter = DeadLetterWriter(NAME, settings)
    config = stream_config(settings, NAME, MAX_BATCH)
    return BatchProcessor(config, Recorder(settings, loop, storage, dead_letter), dead_letter, memory)
