"""Retrying one run by its id: by its dead letter where it has one, else by the job that its record names."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace import letter_actions
from headrace.auditing import audited
from headrace.contracts.deadletters import is_resumption
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, read_job
from headrace.contracts.runs import FINAL_STATUSES
from headrace.contracts.topics import DEAD_LETTERS
from headrace.redriving import How, NotRedrivable, Redriver
from headrace.settings import Settings
from headrace.storage import Letter, LetterFilter, Storage
from headrace.streams import Record, StreamFailed
from headrace.streams.admin import read_one
from headrace.streams.producing import ConfirmingProducer, Placed


class UnknownRun(Exception):
    """The app has no such run, and no open dead letter of it."""


class NotRetried(Exception):
    """The run cannot be taken up so; the message says why, and what could be done."""


async def retry(settings: Settings, storage: Storage, app: str, run_id: str, how: How, by: str) -> int:
    """Takes the run up again in its next generation, which is answered: where it failed or, with `how.is_restart`, from
    its beginning. Audited.

    A run that ended otherwise than as a dead letter has decided how: it can only be begun anew. Asked for twice, it is
    done once: the second job is stale.

    Raises UnknownRun and NotRetried, then nothing was done; PlatformUnavailable, StreamFailed, KafkaException: then
    asking again is safe.
    """
    run = await storage.runs.get(run_id)
    if run is not None and run["app"] != app:
        raise UnknownRun
    letter = await _open_letter(storage, app, run_id, run)
    if letter is not None:
        return await _redrive(settings, storage, letter, how, by)
    if run is None:
        raise UnknownRun
    return await _restart(settings, storage, run, how, by)


async def _open_letter(storage: Storage, app: str, run_id: str, run: Mapping[str, Any] | None) -> Letter | None:
    # Of a run that crashed there may be no record, and so no key by which its letter is found quickly.
    key = None if run is None else str(run["key"])
    found = await storage.dead_letters.find(LetterFilter(app=app, key=key, run_id=run_id), 1)
    return found[0] if found and (run is None or found[0].generation >= run["generation"]) else None


async def _redrive(settings: Settings, storage: Storage, letter: Letter, how: How, by: str) -> int:
    chosen = LetterFilter(ids=(letter.id,), app=letter.app)
    done = await letter_actions.redrive(settings, storage, chosen, how, by, asyncio.Event())
    if done.refused:
        raise NotRetried(f"its dead letter {letter.id} cannot be redriven: {done.refused[0][1]}")
    return letter.generation + 1


async def _restart(settings: Settings, storage: Storage, run: Mapping[str, Any], how: How, by: str) -> int:
    if run["status"] not in FINAL_STATUSES:
        raise NotRetried(f"it has not ended: it is {run['status']}; cancel it first, or wait")
    if run["status"] == "dead_lettered":
        raise NotRetried("its dead letter is not open: it was redriven or discarded, or is not recorded yet")
    if not how.is_restart:
        raise NotRetried(f"it ended {run['status']}, which is decided: it can only be begun anew (restart)")
    record = await _job_record(settings, run)
    job, redriver = _job(record), Redriver(settings, storage, how)
    chosen = {"mode": "restart", "version": how.version}
    async with audited(storage, "retry", by, {"runs": [run["_id"]]}, chosen) as tally:
        try:
            again = await redriver.again(job, record.headers, had_outcome=True)
        except NotRedrivable as error:
            raise NotRetried(str(error)) from None
        await storage.heads.keep([job.run_id], datetime.now(UTC) + _KEPT)
        await asyncio.to_thread(_produce, settings, again)
        tally.count = 1
    return job.generation + 1


async def _job_record(settings: Settings, run: Mapping[str, Any]) -> Record:
    place = run["job"]
    found = await asyncio.to_thread(read_one, settings.kafka, place["topic"], place["partition"], place["offset"])
    if found is None:
        raise NotRetried(
            f"its job, {place['topic']}/{place['partition']}/{place['offset']}, is gone from its topic "
            f"(HEADRACE_RETENTION_DAYS): publish its event again, under another id"
        )
    return found


def _job(record: Record) -> Job:
    if is_resumption(record.headers):
        raise NotRetried("it had parked, and only its journal has its job: publish its event again, under another id")
    try:
        return read_job(record.value)
    except ContractError as error:
        raise NotRetried(f"its job cannot be read: {error.message}") from None


def _produce(settings: Settings, record: Placed) -> None:
    fate = ConfirmingProducer(settings.kafka).produce([record])
    if not fate.confirmed:
        why = fate.failure or fate.refused.get(0, "unknown")
        raise StreamFailed(f"Kafka did not confirm the job ({why}): ask again")


_KEPT = timedelta(milliseconds=DEAD_LETTERS.retention_ms or 0)
"""Of the run's journal: as for a dead letter that is redriven."""
