"""A tick of the clock for one automation."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain


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
