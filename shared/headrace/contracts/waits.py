"""What stands on the waits topic: that a run waits for an event, that one came, that a wait was answered.

All of one key are in one partition, so that one process sees them in one order.
"""

from typing import Annotated, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from headrace.contracts.errors import ContractError
from headrace.contracts.resumptions import Answer, EventName, Resumption
from headrace.contracts.validation import explain


class Wait(BaseModel):
    """A step of a parked run waits for the first event of its key that was written since `since`, at the latest at
    `until`, and after the place `after`. `resumes` is what makes the run go on, still without its answer.

    A later segment of the run says it again, if the step still waits: its wait replaces that of the segment before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["wait"] = "wait"
    step: str
    """The key of the step: the id of the wait."""
    since: AwareDatetime
    until: AwareDatetime
    after: int = -1
    replay: str = ""
    """Of the run: what is replayed is for replayed runs alone."""
    resumes: Resumption


class Arrival(BaseModel):
    """An event of a type that is waited for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["event"] = "event"
    event: EventName
    replay: str = ""
    data: object = None


class Answered(BaseModel):
    """The wait `step` of a run's `segment` has its answer: it is in the transaction that resumes the run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["answered"] = "answered"
    step: str
    segment: int


WaitRecord = Wait | Arrival | Answered

_ADAPTER: TypeAdapter[WaitRecord] = TypeAdapter(Annotated[WaitRecord, Field(discriminator="kind")])


def wait_key(app: str, type: str, correlation_key: str) -> bytes:
    """The key of all records about one correlation key; a type may have slashes, and an app has none."""
    plain = type.replace("%", "%25").replace("/", "%2F")
    return f"{app}/{plain}/{correlation_key}".encode(errors="replace")


def write_wait_record(record: WaitRecord) -> bytes:
    """The value of its record."""
    return orjson.dumps(record.model_dump(), option=orjson.OPT_UTC_Z)


def write_arrival(arrival: Arrival, body: bytes | None) -> bytes:
    """The value of an event's record, `body` being its data as the valid JSON that it came as."""
    told = {**arrival.model_dump(), "data": None if body is None else orjson.Fragment(body)}
    return orjson.dumps(told, option=orjson.OPT_UTC_Z)


def read_wait_record(value: bytes | None) -> WaitRecord:
    """What is in a record's value; raises ContractError."""
    try:
        return _ADAPTER.validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "wait")) from None


def answer_of(wait: Wait, at: int, arrival: Arrival) -> Resumption:
    """What resumes the run with `arrival`, which has the place `at`."""
    answer = Answer(step=wait.step, at=at, event=arrival.event, data=arrival.data)
    return wait.resumes.model_copy(update={"answer": answer})
