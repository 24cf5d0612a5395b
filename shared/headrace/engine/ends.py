"""The event of a run's end, for the automations that listen to it."""

from headrace.contracts.jobs import Job, derived_uuid
from headrace.contracts.reserved import ENDED
from headrace.contracts.runs import RunRecord
from headrace.contracts.topics import EVENTS
from headrace.engine.plain import dumps
from headrace.engine.publications import Publication, own_event, published
from headrace.engine.record import stored


def end_of(record: RunRecord, job: Job, prefix: str) -> Publication:
    """What tells of the end of `job`'s run, of which `record` is final and masked.

    Its name is the same however often the run is made: a run ends once in each generation. Its key is the job's.
    """
    name = derived_uuid(f"{job.run_id}/{job.generation}/end")
    at = record["finished_at"] or record["started_at"]
    event = own_event(job, name, ENDED, at, subject=job.run_id)
    body = {
        "automation": job.automation,
        "run_id": job.run_id,
        "status": record["status"],
        "error": record["error"],
        "collected": stored(record.get("collected")),
    }
    return published(event, EVENTS.full_name(prefix), job.key, dumps(body))
