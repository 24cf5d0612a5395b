"""What stands on the timers topic: a run's timer, by the run's id, or a clock trigger's, by `cron/app/automation`."""

from typing import Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from headrace.contracts import limits
from headrace.contracts.errors import ContractError
from headrace.contracts.resumptions import Timer, read_timer
from headrace.contracts.validation import explain

KNOWN_HEADER = "headrace_known"
"""On what the scheduler writes: the offset of the timer that it knew when it wrote. Others write while it fires a timer
and takes it out: where a younger one of the same id stands between the two, the tombstone does not mean that one."""

Missed = Literal["skip", "run_once", "run_all"]

_CRON = "cron/"


class CronTimer(BaseModel):
    """At `due` the automation's next tick is to be emitted; then it is written again, with the time after that.

    The schedule is the one that `due` was found with. Whoever fires it compares it with the live automation's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    due: AwareDatetime
    app: str
    automation: str
    schedule: str
    timezone: str
    missed: Missed


def cron_key(app: str, automation: str) -> bytes:
    """The id of an automation's clock."""
    return f"{_CRON}{app}/{automation}".encode()


def is_cron_key(key: bytes) -> bool:
    """Whether it is the id of an automation's clock."""
    return key.startswith(_CRON.encode())


def write_cron_timer(timer: CronTimer) -> bytes:
    """The value of its record on the timers topic."""
    return orjson.dumps(timer.model_dump(), option=orjson.OPT_UTC_Z)


def read_any_timer(key: bytes, value: bytes) -> Timer | CronTimer:
    """The timer in a record of the timers topic, of the kind that its id tells; raises ContractError."""
    if len(value) > limits.STORED_VALUE:
        raise ContractError("over_limit", f"the timer has {len(value)} bytes; {limits.STORED_VALUE} are accepted")
    if not is_cron_key(key):
        return read_timer(value)
    try:
        return CronTimer.model_validate_json(value)
    except ValidationError as error:
        raise ContractError(*explain(error, "timer")) from None
