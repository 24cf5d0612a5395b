"""Redriving and discarding dead letters, many at a time, whatever becomes of the process. All of it is audited.

A batch is produced and confirmed, and only then marked: whoever is killed in between does it again the next time. That
is harmless: the second copy of a run's job is stale, and an event keeps its name.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import monotonic

from confluent_kafka import KafkaException

from headrace.auditing import Tally, audited
from headrace.contracts.topics import DEAD_LETTERS
from headrace.redriving import How, NotRedrivable, Redriver
from headrace.settings import Settings
from headrace.storage import Letter, LetterFilter, Storage
from headrace.streams.producing import ConfirmingProducer, Placed

BATCH = 500
"""Letters done and then marked together: what is done twice after a kill, at the most."""

BATCH_BYTES = 16 << 20
"""The same in bytes: what is in memory at a time."""

MOST_TOLD = 20
"""Refusals that are told in words; the rest is counted."""


@dataclass(slots=True)
class Done:
    """What an action came to so far. `refused` are the first letters that could not be done, each with the reason;
    `others_count` those that another action had done by the time they were marked."""

    tally: Tally
    others_count: int = 0
    refused_count: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def mark(self, done: int, of: int) -> None:
        """Counts letters that were marked, `done` of `of` by this action."""
        self.tally.count += done
        self.others_count += of - done

    def refuse(self, id: str, why: str) -> None:
        """Counts a letter that stays as it is."""
        self.refused_count += 1
        if len(self.refused) < MOST_TOLD:
            self.refused.append((id, why))


def as_of_now(asked: LetterFilter) -> LetterFilter:
    """The same, without letters that are made from now on: a run that is redriven may fail again at once."""
    now = datetime.now(UTC)
    return asked if asked.ids else replace(asked, until=now if asked.until is None else min(now, asked.until))


async def redrive(
    settings: Settings,
    storage: Storage,
    asked: LetterFilter,
    how: How,
    by: str,
    stop: asyncio.Event,
    rate: int | None = None,
) -> Done:
    """Redrives letters, oldest first, at most `rate` a second, until `stop`; a batch that was begun is ended.

    Raises PlatformUnavailable, StreamFailed and KafkaException: then what was confirmed is marked as far as it was
    possible, and doing it again is safe.
    """
    chosen: Mapping[str, object] = {
        "mode": "restart" if how.is_restart else "resume",
        "version": how.version,
        "edited": how.edited is not None,
        "rate": rate,
    }
    async with audited(storage, "redrive", by, _given(asked), chosen) as tally:
        done = Done(tally)
        redriver, producer = Redriver(settings, storage, how), ConfirmingProducer(settings.kafka)
        began = monotonic()
        async for batch in _batches(storage, asked, BATCH if rate is None else min(BATCH, rate), stop):
            await _redrive(storage, batch, redriver, producer, asked, done)
            if rate is not None:
                gone_through = tally.count + done.others_count + done.refused_count
                await _pause(began + gone_through / rate - monotonic(), stop)
        tally.is_interrupted = stop.is_set()
    return done


async def discard(storage: Storage, asked: LetterFilter, reason: str, by: str, stop: asyncio.Event) -> Done:
    """Discards letters, until `stop`; raises PlatformUnavailable, and doing it again is safe."""
    async with audited(storage, "discard", by, _given(asked), {"reason": reason}) as tally:
        done = Done(tally)
        async for batch in _batches(storage, asked, BATCH, stop):
            ids = [each.id for each in batch]
            done.mark(await storage.dead_letters.mark(ids, asked.state, "discarded", tally.id, _now()), len(ids))
        tally.is_interrupted = stop.is_set()
    return done


async def _redrive(
    storage: Storage,
    batch: Sequence[Letter],
    redriver: Redriver,
    producer: ConfirmingProducer,
    asked: LetterFilter,
    done: Done,
) -> None:
    letters = await storage.dead_letters.read([each.id for each in batch])
    # Whoever takes a run up again must find its journal, however long the job waits for a worker.
    await storage.heads.keep([each.run_id for each in batch if each.run_id], _now() + _KEPT)
    ids: list[str] = []
    records: list[Placed] = []
    # Of open letters that are redriven again, as their marking was cut off, a stale copy does no harm.
    beyond: Mapping[str, str] = {} if asked.state == "open" else await _gone_on(storage, batch)
    for id in [each.id for each in batch if each.id in letters]:
        if id in beyond:
            done.refuse(id, beyond[id])
            continue
        try:
            records.append(await redriver.outgoing(letters[id]))
        except NotRedrivable as error:
            done.refuse(id, str(error))
        else:
            ids.append(id)
    fate = await asyncio.to_thread(producer.produce, records)
    for position, why in fate.refused.items():
        done.refuse(ids[position], f"Kafka refuses the record: {why}")
    confirmed = [ids[position] for position in sorted(fate.confirmed)]
    marked = await storage.dead_letters.mark(confirmed, asked.state, "redriven", done.tally.id, _now())
    done.mark(marked, len(confirmed))
    if fate.failure is not None:
        raise KafkaException(fate.failure)


async def _gone_on(storage: Storage, batch: Sequence[Letter]) -> Mapping[str, str]:
    """Letters of runs that have gone on since: another copy of such a job would be stale, and do nothing. With why."""
    runs = await storage.runs.generations([each.run_id for each in batch if each.run_id])
    found = {each.id: (each.generation, *runs[each.run_id]) for each in batch if each.run_id in runs}
    return {
        id: f"its run has gone on to generation {now} ({status}), and this letter is of generation {then}"
        for id, (then, now, status) in found.items()
        if now > then
    }


async def _batches(
    storage: Storage, asked: LetterFilter, most: int, stop: asyncio.Event
) -> AsyncGenerator[Sequence[Letter]]:
    """All that is asked for, each letter once, whatever its state becomes on the way."""
    last: Letter | None = None
    while not stop.is_set() and (found := await storage.dead_letters.walk(asked, last, most)):
        batch = _within_bytes(found)
        yield batch
        last = batch[-1]


def _within_bytes(letters: Sequence[Letter]) -> Sequence[Letter]:
    size = 0
    for count, letter in enumerate(letters):
        size += letter.bytes
        if count > 0 and size > BATCH_BYTES:
            return letters[:count]
    return letters


def _given(asked: LetterFilter) -> Mapping[str, object]:
    return {name: value for name, value in asdict(asked).items() if value}


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    """Waits, unless it is to stop."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    except TimeoutError:
        pass


def _now() -> datetime:
    return datetime.now(UTC)


_KEPT = timedelta(milliseconds=DEAD_LETTERS.retention_ms or 0)
"""Of what belongs to a redriven run: as long as a letter of it would be."""
