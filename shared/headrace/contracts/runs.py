"""The record of a run, as it stands on `headrace.runs` and in MongoDB.

Plain dictionaries with declared shapes: the recorder validates thousands a second and hands them to the driver as they
are.
"""

from datetime import datetime
from typing import Literal, NotRequired, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

# typing's own TypedDict is refused by pydantic before Python 3.12; typing_extensions comes with pydantic.
from typing_extensions import TypedDict

from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain

RunStatus = Literal[
    "running", "waiting", "retrying", "success", "error", "stopped", "timed_out", "cancelled", "dead_lettered"
]
FINAL_STATUSES: frozenset[RunStatus] = frozenset(
    ("success", "error", "stopped", "timed_out", "cancelled", "dead_lettered")
)
StepStatus = Literal[
    "success",
    "error",
    "stopped",
    "skipped",
    "no_condition_met",
    "max_iterations",
    "failure_condition",
    "incorrect_type",
    "no_iterations",
    "timed_out",
    "cancelled",
]


class ErrorInfo(TypedDict):
    """What failed: a stable word, a sentence for the author, and whether trying again may help."""

    type: str
    message: str
    retryable: bool


class Attempt(TypedDict):
    """One try of a step that was tried more than once."""

    started_at: datetime
    duration_ms: float
    error: ErrorInfo | None


class StepResult(TypedDict):
    """One step's result. `children` are the steps inside that ran: those of the branch; of a loop those of its last
    iterations, each with its number; of a parallel step those of its lists, each with its list's name."""

    id: str
    use: str
    name: str
    status: StepStatus
    inputs: NotRequired[object]
    outputs: NotRequired[object]
    error: NotRequired[ErrorInfo]
    started_at: datetime
    duration_ms: float
    attempts: NotRequired[list[Attempt]]
    children: NotRequired[list["StepResult"]]
    iteration: NotRequired[int]
    strand: NotRequired[str]


class EventRef(TypedDict):
    """The event that caused the run."""

    id: str
    source: str
    type: str
    topic: str
    partition: int
    offset: int
    time: datetime


class ParentRef(TypedDict):
    """The run that called this one, and the key of the step that did."""

    run_id: str
    automation: str
    step: str


class Next(TypedDict):
    """What happens to the run next and why; `due`: when it goes on."""

    what: Literal["hand_over", "retry", "timer", "event", "pause", "rate", "dead_letter"]
    why: str
    due: NotRequired[datetime]


class RetryRef(TypedDict):
    """An attempt that failed, and until when the run waited in a retry tier for the next one."""

    attempt: int
    step: str
    error_type: str
    message: str
    failed_at: datetime
    due: datetime


class JobRef(TypedDict):
    """The job record that carried the run."""

    topic: str
    partition: int
    offset: int


@with_config(ConfigDict(extra="forbid"))
class RunRecord(TypedDict):
    """One state of a run. Of two records of a run the one with the greater (generation, sequence) is the newer.

    `sequence` is 2 × segment for `running` and + 1 for the record that ends the segment. `owned`: the run has effects,
    and so a head and a journal. Times are aware; durations are milliseconds.
    """

    format: Literal[1]
    run_id: str
    app: str
    automation: str
    version: int
    status: RunStatus
    generation: int
    sequence: int
    attempt: int
    key: str
    event: EventRef
    job: JobRef
    steps: list[StepResult]
    error: ErrorInfo | None
    collected: NotRequired[object]
    owned: NotRequired[bool]
    parent: NotRequired[ParentRef]
    next: NotRequired[Next]
    retries: NotRequired[list[RetryRef]]
    event_time: datetime
    started_at: datetime
    finished_at: datetime | None
    duration_ms: float


_ADAPTER: TypeAdapter[RunRecord] = TypeAdapter(RunRecord)


def read_run(value: bytes | None) -> RunRecord:
    """The run record in a record's value; raises ContractError."""
    if value is None:
        raise ContractError("no_body", "the record has no value; expected a run record")
    try:
        return _ADAPTER.validate_json(value)
    except ValidationError as error:
        raise ContractError(*explain(error, "run record")) from None


def run_schema() -> dict[str, object]:
    """The JSON Schema of a run record."""
    return cast(dict[str, object], _ADAPTER.json_schema())
