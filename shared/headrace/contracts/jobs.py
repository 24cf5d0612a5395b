"""A job: one automation to run for one event. Made by the matcher, executed by the orchestrator."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha1
from typing import Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.cloudevents import Event, Location
from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain

JOB_FORMAT = 1
Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")


class Cause(BaseModel):
    """The event a job came from, and where it stands in Kafka."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    source: str
    type: str
    topic: str
    partition: int
    offset: int
    time: datetime


class Parent(BaseModel):
    """The run that called this one, and the key of the step that did; `awaits`: it waits for the end."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    automation: str
    step: str
    awaits: bool = False


class Retried(BaseModel):
    """A failure after which the run left for a retry tier: `attempt` is the one that failed, `due` when it goes on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt: int
    step: str
    error_type: str
    message: str
    failed_at: datetime
    due: datetime


class Job(BaseModel):
    """One run to be made. `trigger` is what the automation sees as `trigger`; `key` orders it among its siblings.

    `chain`: the automations whose runs led to this one, the first one first.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    run_id: str
    app: str
    automation: str
    version: int
    generation: int
    segment: int
    attempt: int
    key: str
    priority: Priority
    replay: str = ""
    chain: tuple[str, ...] = ()
    trigger: dict[str, object]
    cause: Cause
    parent: Parent | None = None
    user: dict[str, object] | None = None
    """Who started it by hand."""
    retries: tuple[Retried, ...] = ()
    """How the run came to its `attempt`: one for each before it."""
    restart: int = 0
    """The generation in which the run was last begun anew. It stands in the keys of steps: what was done before is not
    recalled, and what is done again is another effect."""
    unsent: tuple[tuple[int, int], ...] = ()
    """(generation, segment) of those before this one that ended without an outcome: what they published, and the
    journal knows, goes out with this one's."""
    not_before: datetime | None = None
    """The run has not started yet: its place among the starts that its automation's rate allows."""
    reply: bool = False
    """A caller waits for the run's end, and is told of it on the topic of replies."""
    written_at: datetime | None = None
    """When the first job of the run's generation was written; None: this is that job."""


def read_job(value: bytes | None) -> Job:
    """The job in a record's value; raises ContractError."""
    if value is None:
        raise ContractError("no_body", "the record has no value; expected a job")
    try:
        return Job.model_validate_json(value)
    except ValidationError as error:
        if any(mistake["loc"] == ("format",) for mistake in error.errors(include_input=False)):
            raise ContractError("unknown_version", f"job: unknown format; {JOB_FORMAT} is known") from None
        raise ContractError(*explain(error, "job")) from None


def write_job(job: Job) -> bytes:
    """The value of its record; raises JSONEncodeError for a trigger that only others than us could have written."""
    return orjson.dumps(job.model_dump(exclude_defaults=True), option=orjson.OPT_UTC_Z)


_BEGUN: Mapping[str, object] = {"unsent": (), "not_before": None}
"""Of a job whose run has begun: what went before its start is over."""


def next_segment(job: Job) -> bytes:
    """The value of the job that goes on with the run where this one leaves it."""
    return write_job(job.model_copy(update={"segment": job.segment + 1, **_BEGUN}))


def delayed(job: Job, until: datetime) -> bytes:
    """The value of the job that starts the run later: a segment of its own, so that a copy of this one is stale."""
    return write_job(job.model_copy(update={"segment": job.segment + 1, "not_before": until}))


def next_attempt(job: Job, retried: Retried) -> bytes:
    """The value of the job that tries again what failed."""
    after = {"segment": job.segment + 1, "attempt": job.attempt + 1, "retries": (*job.retries, retried), **_BEGUN}
    return write_job(job.model_copy(update=after))


def dated(job: Job, written_at: datetime) -> Job:
    """The job, which was written at `written_at`, with what its successors say of the first one of their generation."""
    return job if job.written_at is not None else job.model_copy(update={"written_at": written_at})


def redriven(job: Job, *, version: int, is_restart: bool, had_outcome: bool) -> Job:
    """The job that takes a dead one's run up again, in its next generation: where it stopped, or from the beginning.

    `had_outcome`: what the dead job's run had published is out.
    """
    generation = job.generation + 1
    before = () if had_outcome or is_restart else (*job.unsent, (job.generation, job.segment))
    return job.model_copy(
        update={
            "version": version,
            "generation": generation,
            "segment": 0,
            "attempt": 1,
            "retries": (),
            "restart": generation if is_restart else job.restart,
            "unsent": before,
            "not_before": None,
            "written_at": None,
        }
    )


def run_id(app: str, automation: str, event: Event) -> str:
    """UUIDv5 (RFC 9562 §5.5) of (app, automation, event's name, replay): duplicates anywhere name the same run."""
    # Lengths keep ("a", "bc") and ("ab", "c") apart: source and id are the publisher's free text.
    name = f"{app}/{automation}/{len(event.source)}:{event.source}/{len(event.id)}:{event.id}/{event.replay}"
    return derived_uuid(name)


def derived_uuid(name: str) -> str:
    """The UUIDv5 of `name` in Headrace's namespace."""
    text = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def job_key(app: str, automation: str, ordering_key: str) -> str:
    """The record key of a job: jobs that share it start in order."""
    return f"{app}/{automation}/{ordering_key}"


def location_text(location: Location) -> str:
    """`topic/partition/offset`, as logs and messages name a record."""
    return f"{location.topic}/{location.partition}/{location.offset}"


_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
"""The digit with the variant's two bits (RFC 9562 §4.1)."""

_NAMESPACE = UUID("7d0f5a3e-5f0b-5c1e-9a53-2d8f2f1f6a10").bytes
"""Ours alone; made once. Changing it would run every event within retention again."""
