"""A run's end as the caller of a synchronous webhook is told of it."""

from headrace.contracts import limits
from headrace.contracts.jobs import Job
from headrace.contracts.replies import Reply, write_reply
from headrace.contracts.runs import RunRecord
from headrace.contracts.topics import REPLIES
from headrace.engine.plain import dumps, plainly
from headrace.engine.publications import Publication

MOST_ANSWERED = limits.EVENT_BODY
"""Bytes of an answer as JSON: as much as a request may have."""


def reply_of(record: RunRecord, job: Job, prefix: str) -> Publication:
    """What `job`'s run, of which `record` is final and masked, answers whoever waits for it."""
    if "collected" not in record:
        return _reply(Reply(status=record["status"]), job, prefix)
    size = len(dumps(record["collected"]))
    if size > MOST_ANSWERED:
        return _reply(Reply(status=record["status"], answers=True, oversize=size), job, prefix)
    value = plainly(record["collected"])
    return _reply(Reply(status=record["status"], answers=True, value=value), job, prefix)


def reply_without_run(job: Job, prefix: str) -> Publication:
    """The reply where `job` became a dead letter, and leaves no record of a run."""
    return _reply(Reply(status="dead_lettered"), job, prefix)


def _reply(reply: Reply, job: Job, prefix: str) -> Publication:
    return Publication(REPLIES.full_name(prefix), job.run_id.encode(), write_reply(reply), [])
