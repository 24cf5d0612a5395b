"""A tick of the clock for one automation."""

from datetime import UTC

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from headrace.contracts.cloudevents import Event
from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain

TICK_SOURCE = "headrace/scheduler"
TICK_TYPE = "tick"


class Tick(BaseModel):
    """`scheduled` is the time that the schedule names, `fired` when the scheduler came to it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    automation: str
    scheduled: AwareDatetime
    fired: AwareDatetime | None = None


def read_tick(data: object) -> Tick:
    """The tick in a parsed body; raises ContractError."""
    try:
        return Tick.model_validate(data)
    except ValidationError as error:
        raise ContractError(*explain(error, "tick")) from None


def write_tick(tick: Tick) -> bytes:
    """The body of its event."""
    return orjson.dumps(tick.model_dump(), option=orjson.OPT_UTC_Z)


def tick_event(app: str, tick: Tick) -> Event:
    """The event of a tick. It is named by the scheduled time: fired twice it names the same run."""
    scheduled = tick.scheduled.astimezone(UTC)
    return Event(
        id=f"{app}/{tick.automation}/{scheduled:%Y-%m-%dT%H:%M:%SZ}",
        source=TICK_SOURCE,
        type=TICK_TYPE,
        time=scheduled,
        subject=tick.automation,
        app=app,
        replay="",
        traceparent="",
    )


def tick_key(app: str, automation: str) -> bytes:
    """The key of its record."""
    return f"{app}/{automation}".encode()
