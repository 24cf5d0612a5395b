"""What a waiting caller is told of the end of a run: the records of `headrace.replies`, keyed by the run's id."""

from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.errors import ContractError
from headrace.contracts.runs import RunStatus
from headrace.contracts.validation import explain

NOT_STARTED: Literal["not_started"] = "not_started"
"""In the place of a run's status: the event made no run of the automation whose answer the caller waits for."""


class Reply(BaseModel):
    """The outcome of a run. It has nothing of a run's error: a caller may be anybody who knows the URL.

    `answers`: the run has collected a value, which is `value`, masked, or else is `oversize` bytes as JSON, more than
    are sent.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1] = 1
    status: RunStatus | Literal["not_started"]
    answers: bool = False
    value: object = None
    oversize: int | None = None


def write_reply(reply: Reply) -> bytes:
    """The value of its record; `reply.value` is plain."""
    return orjson.dumps(reply.model_dump(), option=orjson.OPT_UTC_Z)


def read_reply(value: bytes | None) -> Reply:
    """The reply in a record's value; raises ContractError."""
    try:
        return Reply.model_validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "reply")) from None
