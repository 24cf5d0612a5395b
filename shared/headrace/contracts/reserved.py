"""Events of Headrace's own types, on `headrace.events`: an automation is started by its name, a run has ended."""

from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Parent
from headrace.contracts.validation import explain

EndTrigger = Literal["automation.finished", "automation.failed"]

RESERVED = "headrace."
"""Types that begin so are published by Headrace's services alone: an automation could otherwise start any other."""

CALLED = "headrace.called"
"""An automation calls another."""

STARTED = "headrace.started"
"""A person starts an automation."""

ENDED = "headrace.ended"
"""A run has ended."""


class Start(BaseModel):
    """The body of CALLED and STARTED: which automation of the event's app, with which fields, and who asks."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    automation: str
    fields: dict[str, object] = {}
    parent: Parent | None = None
    user: dict[str, object] | None = None


class End(BaseModel):
    """The body of ENDED."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    automation: str
    run_id: str
    status: str
    error: dict[str, object] | None = None
    collected: object = None


_WELL = frozenset(("success", "stopped"))
"""Ends of a run that are no failure."""

_FIRED_BY_ANY: tuple[EndTrigger, ...] = ("automation.finished",)
_FIRED_BY_A_FAILURE: tuple[EndTrigger, ...] = ("automation.finished", "automation.failed")


def fired_by_end(status: str) -> tuple[EndTrigger, ...]:
    """The types of trigger that a run's end with this status fires."""
    return _FIRED_BY_ANY if status in _WELL else _FIRED_BY_A_FAILURE


def read_start(data: object) -> Start:
    """The start in a parsed body; raises ContractError."""
    return cast(Start, _read(Start, data, "start"))


def read_end(data: object) -> End:
    """The end in a parsed body; raises ContractError."""
    return cast(End, _read(End, data, "end of a run"))


def _read(model: type[BaseModel], data: object, what: str) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ContractError(*explain(error, what)) from None
