"""What operators ask of all workers at once: the end of runs."""

from datetime import datetime

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, model_validator

from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain


class Cancel(BaseModel):
    """The run `run_id` is to end; or, where that is None, all of an automation's whose job was written by `at`.

    `by` and `reason` are for whoever looks at a cancelled run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    app: str
    automation: str | None = None
    run_id: str | None = None
    generation: int = 0
    """The run's: a redrive raises it, and is not cancelled by what was asked before."""
    at: AwareDatetime
    by: str
    reason: str

    @model_validator(mode="after")
    def _says_which(self) -> "Cancel":
        if (self.run_id is None) == (self.automation is None):
            raise ValueError("it names a run or an automation")
        return self

    @property
    def record_key(self) -> bytes:
        """The key of its record."""
        return (self.run_id or f"{self.app}/{self.automation}").encode()


def write_cancel(cancel: Cancel) -> bytes:
    """The value of its record on the control topic."""
    return orjson.dumps(cancel.model_dump(), option=orjson.OPT_UTC_Z)


def read_cancel(value: bytes | None) -> Cancel:
    """What a record of the control topic asks; raises ContractError."""
    try:
        return Cancel.model_validate_json(value or b"")
    except ValidationError as error:
        raise ContractError(*explain(error, "control")) from None


def covers(cancel: Cancel, written_at: datetime) -> bool:
    """Whether an automation's cancel covers a job that was written at that time."""
    return written_at <= cancel.at
