"""A dead letter: what could not be processed, where it came from and why."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, cast

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from headrace.contracts import limits
from headrace.contracts.cloudevents import Headers, Location
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, Priority, read_job, write_job
from headrace.contracts.resumptions import RESUMES_HEADER, Resumption, read_resumption
from headrace.contracts.validation import explain

DEAD_LETTER_FORMAT = 2
"""1 kept of a job no more than of other bytes, and said nothing of its run."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that a service could not process: its bytes as they were read, and when Kafka got it."""

    location: Location
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Reason(BaseModel):
    """Why: `type` is a stable word to filter by, the message a sentence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    message: str


class DeadRun(BaseModel):
    """The run of a job that became a dead letter. `key` is its ordering key.

    `had_outcome`: the run's record and what it had published went out together with the letter.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    app: str
    automation: str
    generation: int
    segment: int
    key: str
    priority: Priority
    had_outcome: bool = False

    @classmethod
    def of(cls, job: Job | Resumption, *, had_outcome: bool = False) -> "DeadRun":
        """The run that a record on a jobs topic names."""
        return cls(
            run_id=job.run_id,
            app=job.app,
            automation=job.automation,
            generation=job.generation,
            segment=job.segment,
            key=job.key,
            priority=job.priority,
            had_outcome=had_outcome,
        )


@dataclass(frozen=True, slots=True)
class About:
    """What a letter says of its record beyond the bytes, as far as it is known.

    `job` is the value of the run's job, all of which travels with the letter where it fits.
    """

    app: str = ""
    automation: str = ""
    run: DeadRun | None = None
    job: bytes | None = None


def about_carrier(value: bytes | None, headers: Headers) -> About:
    """Of a record on a jobs topic: the run of the job or of the resumption that it is; nothing of what is neither."""
    try:
        if is_resumption(headers):
            return About(run=DeadRun.of(read_resumption(value)))
        return About(run=DeadRun.of(read_job(value)), job=value)
    except ContractError:
        return About()


def about_outcome(job: Job, value: bytes | None, headers: Headers) -> About:
    """Of a record on a jobs topic whose run has an outcome, which goes out together with the letter."""
    whole = write_job(job) if value is None or is_resumption(headers) else value
    return About(run=DeadRun.of(job, had_outcome=True), job=whole)


def is_resumption(headers: Headers) -> bool:
    """Whether a record on a jobs topic resumes a parked run, and is no job."""
    return any(name == RESUMES_HEADER for name, _ in headers)


def _bytes(encoded: object) -> object:
    return b64decode(encoded, validate=True) if isinstance(encoded, str) else encoded


def _text_bytes(text: object) -> object:
    return text.encode() if isinstance(text, str) else text


def _place(found: Location) -> Location:
    if 0 <= found.partition < 1 << 31 and 0 <= found.offset < 1 << 63:
        return found
    raise ValueError("a partition and an offset that Kafka can have are expected")


Base64 = Annotated[bytes, BeforeValidator(_bytes)]


class DeadLetter(BaseModel):
    """A letter that was read. `source` is the pointer to the whole record; `size` are the bytes of its value.

    `value` is what is kept of the record's bytes, and `truncated` says that it is not all; `envelope_cut` says that the
    key or the headers are not whole. `job` is the run's whole job. `timestamp_ms` is the record's, `at` when the
    service gave it up.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1, 2]
    service: str
    reason: Reason
    source: Annotated[Location, AfterValidator(_place)]
    at: datetime
    key: Base64 | None
    headers: Sequence[tuple[str, Base64]]
    value: Base64 | None = None
    size: int
    truncated: bool
    envelope_cut: bool = False
    timestamp_ms: int | None = None
    app: str = ""
    automation: str = ""
    run: DeadRun | None = None
    job: Annotated[bytes, BeforeValidator(_text_bytes)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, found: object) -> object:
        if not isinstance(found, dict):
            return found
        letter = cast("dict[str, object]", found)
        # The record of a letter without a value of its own is the job itself.
        return letter if "value" in letter else {**letter, "value": _text_bytes(letter.get("job"))}

    @property
    def key_text(self) -> str:
        """The key by which letters are found: of a run its ordering key, else the record's own."""
        if self.run is not None:
            return self.run.key
        return "" if self.key is None else self.key.decode(errors="backslashreplace")


def dead_letter(service: str, refused: Refused, reason: Reason, at: datetime, about: About) -> bytes:
    """The dead-letter record's value: a pointer to the record, the reason, whose it was, and its bytes.

    Of a job all of them, as the text that they are; of bytes that no one could read the first 64 KB, in base64. The
    whole record stays at the pointer until its topic's retention.
    """
    key = cut_key(refused.key)
    kept = [(name[: limits.ATTRIBUTE], content[: limits.ATTRIBUTE]) for name, content in refused.headers][:_MAX_HEADERS]
    letter: dict[str, object] = {
        "format": DEAD_LETTER_FORMAT,
        "service": service,
        "reason": {"type": reason.type, "message": reason.message[:_MAX_MESSAGE]},
        "source": refused.location._asdict(),
        "at": at,
        "timestamp_ms": refused.timestamp_ms,
        "app": about.app or (about.run.app if about.run else ""),
        "automation": about.automation or (about.run.automation if about.run else ""),
        "run": None if about.run is None else about.run.model_dump(),
        "key": None if key is None else b64encode(key).decode(),
        "headers": [[name, b64encode(content).decode()] for name, content in kept],
        "size": len(refused.value or b""),
        "truncated": False,
        "envelope_cut": key != refused.key or kept != [*refused.headers],
    }
    if about.job is not None:
        bytes_of_its_own = {} if about.job == refused.value else _beginning(refused.value)
        whole = _encoded({**letter, **bytes_of_its_own, "job": about.job.decode()})
        if len(whole) <= limits.RECORD:
            return whole
    return _encoded({**letter, **_beginning(refused.value)})


def read_dead_letter(value: bytes | None) -> DeadLetter:
    """The dead letter in a record's value, of this format or an earlier one; raises ContractError."""
    try:
        letter = DeadLetter.model_validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "dead letter")) from None
    return _doubted(letter) if letter.format == 1 else letter


def cut_key(key: bytes | None) -> bytes | None:
    """The key of a dead letter in Kafka: the record's own, of one that is too long its beginning."""
    return None if key is None else key[: limits.ATTRIBUTE]


def _encoded(letter: dict[str, object]) -> bytes:
    return orjson.dumps(letter, option=orjson.OPT_UTC_Z)


def _beginning(value: bytes | None) -> dict[str, object]:
    if value is None:
        return {"value": None}
    kept = value[: limits.STORED_VALUE]
    return {"value": b64encode(kept).decode(), "truncated": len(value) > len(kept)}


def _doubted(letter: DeadLetter) -> DeadLetter:
    """Format 1 did not say that a key or headers were cut: what may be is taken for that."""
    contents = [letter.key or b"", *(content for _, content in letter.headers)]
    may_be = len(letter.headers) == _MAX_HEADERS or any(len(each) == limits.ATTRIBUTE for each in contents)
    return letter.model_copy(update={"envelope_cut": may_be})


_MAX_MESSAGE = 2_000
"""Characters of a reason: it may name fields of the record, and their names are as long as the record made them."""

_MAX_HEADERS = 64
"""Headers kept with a dead letter: with the limit on each, the letter stays far below the broker's record limit."""
