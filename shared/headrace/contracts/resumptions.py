"""A parked run goes on: what a timer or a wait puts on the jobs topic.

It carries no trigger: a run that parks has left its job in its journal, which whoever resumes it reads anyway.
"""

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from headrace.contracts.cloudevents import REPLAY_HEADER, Location
from headrace.contracts.control import Cancel
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Priority, job_key
from headrace.contracts.validation import explain

RESUMES_HEADER = "headrace_resumes"
"""Tells a resumption from a job, which is on the same topics, before either is read."""


class EventName(BaseModel):
    """Which event it was; `time` is the event's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    source: str
    type: str
    time: AwareDatetime


class Answer(BaseModel):
    """The event that a step waits for, or may: what it must match is for the run to say.

    `step` is the key of the step, `at` the event's place among all of its key, after which others are looked for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: str
    at: int
    event: EventName
    data: object = None


class Resumption(BaseModel):
    """The run `run_id` goes on with `segment`. `source` is its event's place in Kafka, by which its owner is judged."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    run_id: str
    app: str
    automation: str
    source: Location
    generation: int
    segment: int
    key: str
    """The ordering key of the run's job."""
    priority: Priority
    restart: int = 0
    unsent: tuple[tuple[int, int], ...] = ()
    """Both as a job's."""
    answer: Answer | None = None
    """What the run waited for; None where a moment has come."""
    traceparent: str = ""
    replay: str = ""
    """Both as the run's job had them: headers of all that follows from it."""
    cancel: Cancel | None = None
    """What it goes on for, if only to end: its record on the control topic may be read later than this one."""

    @property
    def record_key(self) -> bytes:
        """The key of its record on the jobs topic: it is in the partition of the run's first job."""
        return job_key(self.app, self.automation, self.key).encode()


class Timer(BaseModel):
    """At `due` its resumption is to be put on the jobs topic of its priority. The record's key is the run's id: a run
    waits for one moment at a time.

    `held`: the automation is paused, and the run goes on when it no longer is, `due` being when it came here. Those of
    one ordering key are in one partition, so that they go on in their order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    due: AwareDatetime
    held: bool = False
    resumes: Resumption


def resumption_headers(resumption: Resumption) -> list[tuple[str, bytes]]:
    """The headers of its record on the jobs topic."""
    found = [(RESUMES_HEADER, resumption.run_id.encode())]
    if resumption.traceparent:
        found.append(("traceparent", resumption.traceparent.encode()))
    if resumption.replay:
        found.append((REPLAY_HEADER, resumption.replay.encode()))
    return found


def write_resumption(resumption: Resumption) -> bytes:
    """The value of its record on the jobs topic; its headers are `resumption_headers`."""
    return orjson.dumps(resumption.model_dump(exclude_defaults=True), option=orjson.OPT_UTC_Z)


def read_resumption(value: bytes | None) -> Resumption:
    """The resumption in a record's value; raises ContractError."""
    try:
        return Resumption.model_validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "resumption")) from None


def redriven_resumption(resumption: Resumption) -> Resumption:
    """What takes the run up again, in its next generation, where the dead one could not go on."""
    return resumption.model_copy(
        update={
            "generation": resumption.generation + 1,
            "segment": 0,
            "unsent": (*resumption.unsent, (resumption.generation, resumption.segment)),
        }
    )


def write_timer(timer: Timer) -> bytes:
    """The value of its record on the timers topic."""
    return orjson.dumps(timer.model_dump(exclude_defaults=True), option=orjson.OPT_UTC_Z)


def read_timer(value: bytes) -> Timer:
    """The timer in a record's value; raises ContractError."""
    try:
        return Timer.model_validate_json(value)
    except ValidationError as error:
        raise ContractError(*explain(error, "timer")) from None
