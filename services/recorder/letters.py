"""A batch of dead letters to MongoDB."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter

from headrace.contracts.cloudevents import Location
from headrace.contracts.deadletters import read_dead_letter
from headrace.contracts.errors import ContractError
from headrace.service import DeadLetterWriter, Loop
from headrace.storage import ArrivedLetter, Storage
from headrace.streams import Outgoing, Record

RECORDED = Counter("headrace_dead_letters_recorded_total", "Dead letters written to MongoDB, however often")


class LetterWriter:
    """A handler for dead letters. Writing the same ones again changes nothing.

    `heads_kept` is how long a run may still come back after its letter.
    """

    def __init__(self, loop: Loop, storage: Storage, dead_letter: DeadLetterWriter, heads_kept: timedelta) -> None:
        self._loop = loop
        self._letters = storage.dead_letters
        self._heads = storage.heads
        self._dead_letter = dead_letter
        self._heads_kept = heads_kept

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """Nothing for each letter that is written, or the dead letter of what is none. Raises Unavailable."""
        outputs: list[list[Outgoing]] = [[] for _ in records]
        found: list[ArrivedLetter] = []
        for index, record in enumerate(records):
            try:
                letter = read_dead_letter(record.value)
            except ContractError as error:
                outputs[index] = [self._dead_letter(record, error.type, error.message)]
            else:
                location = Location(record.topic, record.partition, record.offset)
                found.append(ArrivedLetter(location, record.value or b"", letter))
        self._loop.run(self._write(found))
        RECORDED.inc(len(found))
        return outputs

    async def _write(self, letters: Sequence[ArrivedLetter]) -> None:
        now = datetime.now(UTC)
        await self._letters.record(letters, now)
        # Of these there is no final record, with which a run's head gets its end otherwise.
        runs = [each.letter.run for each in letters if each.letter.run and not each.letter.run.had_outcome]
        ended: dict[str, int] = {}
        for run in runs:
            ended[run.run_id] = max(run.generation, ended.get(run.run_id, 0))
        if ended:
            await self._heads.expire(ended, now + self._heads_kept)
