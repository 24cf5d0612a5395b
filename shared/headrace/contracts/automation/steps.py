"""The steps of a document: one model a kind."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from headrace.contracts import limits
from headrace.contracts.automation.values import ConditionSource, Duration, Name, Part, StepId
from headrace.contracts.validation import Said

KEPT_ITERATIONS = 20
"""Whose steps' results stay in the record where the author says nothing."""

MAX_CONCURRENCY = 50
"""Iterations of a loop at once: more of one run would starve others of the process's connections."""


class Retry(Part):
    """A step's tries in place: `attempts` in all, `backoff` × `factor` ^ n seconds between them, at most `max`.

    `jitter` is the part of each wait that is left to chance; `on` names the error types that are worth another try, by
    default all that may pass.
    """

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff: Duration = 1.0
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    max: Duration = 30.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    on: tuple[str, ...] | None = None


OnError = Literal["contain", "stop", "retry"]
OnUnknown = Literal["resend", "fail"]
"""What becomes of a call that was under way when its worker died: made again under the same key, or an error."""


class _StepPart(Part):
    id: StepId
    name: str = ""
    when: ConditionSource | None = None
    timeout: Duration | None = None
    retry: Retry | None = None
    on_error: OnError | None = None


class UseStep(_StepPart):
    """A step of the table; `with` holds its inputs, every string a template."""

    use: str
    with_: dict[str, object] = Field(default_factory=dict, alias="with")
    on_unknown: OnUnknown | None = None


class FilterStep(_StepPart):
    """Where it is false the run ends `stopped`."""

    filter: ConditionSource


class CollectStep(_StepPart):
    """Keeps a value as the run's answer, type kept."""

    collect: object


class SetStep(_StepPart):
    """Sets names of the run's `state`; each value is a template."""

    set: Annotated[dict[str, object], Field(min_length=1)]


class Stop(Part):
    """How a run ends where a step says so; `message` is a template."""

    status: Literal["success", "stopped", "error"] = "stopped"
    message: str = ""


class StopStep(_StepPart):
    """Ends the run."""

    stop: Stop


class Branch(Part):
    """One way of a branch step; `else: true` marks the last."""

    name: str
    when: ConditionSource | None = None
    else_: Literal[True] | None = Field(default=None, alias="else")
    steps: "tuple[Step, ...]" = ()

    @model_validator(mode="after")
    def _one_condition(self) -> "Branch":
        if (self.when is None) == (self.else_ is None):
            raise ValueError("a branch has either `when` or `else: true`")
        return self


class BranchStep(_StepPart):
    """Runs the steps of the first branch whose condition holds."""

    branch: Annotated[tuple[Branch, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _else_is_last(self) -> "BranchStep":
        if any(branch.else_ for branch in self.branch[:-1]):
            raise ValueError("`else: true` marks the last branch")
        return self


class Loop(Part):
    """What a loop goes over and when it ends.

    `over` gives an array, or text that is one (`option` insists on either). `max` items are done, as many as
    the installation allows where the author says nothing; more are an error.
    `continue_if` and `failure` are looked at before each item: it is passed over, or the loop ends as an error.
    `break_if` is looked at after each: the loop ends well. The steps' results of the last `keep` items stay whole.
    """

    over: Annotated[str | list[object], Said("expected a list, or a template that gives one")]
    max: Annotated[int, Field(ge=1, le=limits.MOST_ITERATIONS)] | None = None
    option: Literal["array", "string"] | None = None
    failure: ConditionSource | None = None
    continue_if: ConditionSource | None = None
    break_if: ConditionSource | None = None
    keep: Annotated[int, Field(ge=0, le=limits.MAX_ITERATIONS)] = KEPT_ITERATIONS
    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] = 1

    @model_validator(mode="after")
    def _one_after_the_other(self) -> "Loop":
        if self.concurrency > 1 and (self.failure is not None or self.break_if is not None):
            raise ValueError("`failure` and `break_if` look at one item after the other; leave `concurrency` out")
        return self


class LoopStep(_StepPart):
    """Does its steps for each item."""

    loop: Loop
    steps: "Annotated[tuple[Step, ...], Field(min_length=1)]"


class Strand(Part):
    """One of the lists of a parallel step."""

    name: Annotated[str, StringConstraints(min_length=1)]
    steps: "Annotated[tuple[Step, ...], Field(min_length=1)]"


class ParallelStep(_StepPart):
    """Does several lists of steps at once, and goes on when all are through."""

    parallel: Annotated[tuple[Strand, ...], Field(min_length=1, max_length=MAX_CONCURRENCY)]


class Delay(Part):
    """`for` a duration or `until` a time; either may be a template."""

    for_: Annotated[
        str | float | None, Said("expected a duration such as 500ms, 30s, 10m, 2h or 1d, or a template that gives one")
    ] = Field(default=None, alias="for")
    until: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Delay":
        if (self.for_ is None) == (self.until is None):
            raise ValueError("a delay has either `for` or `until`")
        return self


class DelayStep(_StepPart):
    """Lets time pass."""

    delay: Delay


class Wait(Part):
    """The event that is waited for: its `type`, the correlation `key` (a template), and what else must hold."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    key: str
    match: ConditionSource | None = None
    timeout: Duration


class WaitStep(_StepPart):
    """Waits for an event; its data is the output."""

    wait_for_event: Wait


class Call(Part):
    """Another automation of the app, one with a manual trigger; `fields` are templates."""

    automation: Name
    fields: dict[str, object] = Field(default_factory=dict)
    wait: bool = False


class CallStep(_StepPart):
    """Starts another automation."""

    call: Call


KINDS = ("use", "branch", "loop", "parallel", "filter", "delay", "wait_for_event", "call", "collect", "stop", "set")


def kind_of(value: object) -> str | None:
    """The kind of a step, parsed or not; None if it has none, or several."""
    if not isinstance(value, dict):
        return next((kind for kind in KINDS if hasattr(value, kind)), None)
    found = [kind for kind in KINDS if kind in value]
    return found[0] if len(found) == 1 else None


Step = Annotated[
    Annotated[UseStep, Tag("use")]
    | Annotated[BranchStep, Tag("branch")]
    | Annotated[LoopStep, Tag("loop")]
    | Annotated[ParallelStep, Tag("parallel")]
    | Annotated[FilterStep, Tag("filter")]
    | Annotated[DelayStep, Tag("delay")]
    | Annotated[WaitStep, Tag("wait_for_event")]
    | Annotated[CallStep, Tag("call")]
    | Annotated[CollectStep, Tag("collect")]
    | Annotated[StopStep, Tag("stop")]
    | Annotated[SetStep, Tag("set")],
    Discriminator(
        kind_of,
        custom_error_type="step_kind",
        custom_error_message=f"a step has exactly one kind: {', '.join(KINDS)}",
    ),
]

STEP_PARTS = (
    UseStep, BranchStep, Branch, LoopStep, Loop, ParallelStep, Strand, FilterStep, DelayStep, Delay, WaitStep, Wait,
    CallStep, Call, CollectStep, StopStep, Stop, SetStep, Retry,
)  # fmt: skip


def inner(step: Step) -> Iterator[tuple[str, Sequence[Step]]]:
    """The lists of steps inside a step, each with its path from the step on."""
    if isinstance(step, BranchStep):
        for number, branch in enumerate(step.branch):
            yield f"branch.{number}.steps", branch.steps
    elif isinstance(step, LoopStep):
        yield "steps", step.steps
    elif isinstance(step, ParallelStep):
        for number, strand in enumerate(step.parallel):
            yield f"parallel.{number}.steps", strand.steps


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, those inside of others included, in the order they are written."""
    for step in steps:
        yield step
        for _, children in inner(step):
            yield from walk(children)
