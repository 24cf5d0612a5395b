"""The event of a run's end, for the automations that listen to it and for the run that called it."""

from collections.abc import Mapping
from datetime import datetime

from headrace.contracts.cloudevents import Event
from headrace.contracts.jobs import Job, derived_uuid
from headrace.contracts.reserved import ENDED
from headrace.contracts.resumptions import EventName
from headrace.contracts.runs import RunRecord
from headrace.contracts.topics import EVENTS, WAITS
from headrace.contracts.waits import Arrival, wait_key, write_arrival
from headrace.engine.plain import dumps
from headrace.engine.publications import Publication, own_event, published
from headrace.engine.record import stored


def end_of(record: RunRecord, job: Job, prefix: str) -> Publication:
    """What tells of the end of `job`'s run, of which `record` is final and masked.

    Its name is the same however often the run is made: a run ends once in each generation. Its key is the job's.
    """
    return published(_event(record, job), EVENTS.full_name(prefix), job.key, dumps(_body(record, job)))


def end_for_caller(record: RunRecord, job: Job, prefix: str) -> Publication:
    """The answer for the run that called `job`'s and waits for its end: a record of the waits topic."""
    return _arrival(_event(record, job), job, _body(record, job), prefix)


def no_run_for_caller(job: Job, at: datetime, type: str, message: str, prefix: str) -> Publication:
    """The answer where `job` became a dead letter, and leaves no record of a run."""
    error = {"type": type, "message": message, "retryable": False}
    body = {"automation": job.automation, "run_id": job.run_id, "status": "dead_lettered", "error": error}
    return _arrival(_named(job, at), job, {**body, "collected": None}, prefix)


def _arrival(event: Event, job: Job, body: Mapping[str, object], prefix: str) -> Publication:
    name = EventName(id=event.id, source=event.source, type=event.type, time=event.time)
    # What a template may hold and JSON does not becomes plain, as in any event.
    value = write_arrival(Arrival(event=name, replay=job.replay), dumps(body))
    return Publication(WAITS.full_name(prefix), wait_key(job.app, ENDED, job.run_id), value, [])


def _event(record: RunRecord, job: Job) -> Event:
    return _named(job, record["finished_at"] or record["started_at"])


def _named(job: Job, at: datetime) -> Event:
    return own_event(job, derived_uuid(f"{job.run_id}/{job.generation}/end"), ENDED, at, subject=job.run_id)


def _body(record: RunRecord, job: Job) -> dict[str, object]:
    return {
        "automation": job.automation,
        "run_id": job.run_id,
        "status": record["status"],
        "error": record["error"],
        "collected": stored(record.get("collected")),
    }
