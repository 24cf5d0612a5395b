"""A version of an automation, compiled once: what a run executes without parsing, looking up or validating again."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict

from headrace.contracts.automation import Automation, OnError, Retry
from headrace.engine.steps.base import AwaitingStep, Compute, Effect, Perform, PureStep
from headrace.language import Condition, Scope, Value
from headrace.language.limits import bounded_together


class Fields:
    """Named inputs: constants as they are, the rest rendered in every run."""

    __slots__ = ("_all", "_are_several", "_dynamic", "constant")

    def __init__(self, values: Mapping[str, Value], nowhere: Scope) -> None:
        self._all = {name: value.render(nowhere) if value.constant else None for name, value in values.items()}
        self._dynamic = tuple((name, value.render) for name, value in values.items() if not value.constant)
        self._are_several = len(self._dynamic) > 1
        self.constant = not self._dynamic

    @property
    def names(self) -> Collection[str]:
        """The names of the inputs."""
        return self._all.keys()

    def render(self, scope: Scope) -> dict[str, object]:
        """The inputs in the order in which they are written; raises TemplateError."""
        rendered = self._all.copy()
        for name, render in self._dynamic:
            rendered[name] = render(scope)
        if self._are_several:
            bounded_together(rendered)
        return rendered


class Common(TypedDict):
    """The fields of `_Planned`, on their way to one."""

    id: str
    use: str
    name: str
    path: str
    position: int
    names: tuple[str, ...]
    when: Condition | None
    timeout: float | None
    on_error: OnError | None


@dataclass(frozen=True, slots=True)
class _Planned:
    """What all kinds of step have.

    `position` counts the steps in the order they are written, those inside of others included, from 1 (0 is the
    trigger); `names` are those under which `steps` gives the outputs. `timeout` is in seconds. `on_error` None is the
    default, which depends on the failure.
    """

    id: str
    use: str
    name: str
    path: str
    position: int
    names: tuple[str, ...]
    when: Condition | None
    timeout: float | None
    on_error: OnError | None


@dataclass(frozen=True, slots=True)
class PlannedPure(_Planned):
    """A step of the table that only computes; `ready` is its work where all inputs are constant."""

    step: PureStep
    fields: Fields
    ready: Compute | None


@dataclass(frozen=True, slots=True)
class PlannedAwaiting(_Planned):
    """A step of the table that waits for something outside, with its limits."""

    step: AwaitingStep
    fields: Fields
    ready: Perform | None
    retry: Retry
    limit: float
    """`timeout`, or the default where the author gave none."""
    effect: Effect
    """Of this use of the step."""
    at_most_once: bool
    """Whether a call whose fate is unknown is given up rather than made again."""


@dataclass(frozen=True, slots=True)
class PlannedFilter(_Planned):
    """Ends the run where its condition is false."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class PlannedCollect(_Planned):
    """Keeps a value as the run's answer."""

    value: Value


@dataclass(frozen=True, slots=True)
class PlannedSet(_Planned):
    """Sets names of the run's state."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class PlannedStop(_Planned):
    """Ends the run with a status."""

    status: Literal["success", "stopped", "error"]
    message: Value


@dataclass(frozen=True, slots=True)
class PlannedCall(_Planned):
    """Starts another automation of the app."""

    automation: str
    fields: Fields
    wait: bool


@dataclass(frozen=True, slots=True)
class PlannedDelay(_Planned):
    """Lets time pass: `seconds` renders to a duration, else `until` to a time."""

    seconds: Value | None
    until: Value | None
    may_park: bool
    """Whether it may be longer than a worker is held for."""


@dataclass(frozen=True, slots=True)
class PlannedWait(_Planned):
    """Waits for an event."""

    type: str
    key: Value
    match: Condition | None
    limit: float


@dataclass(frozen=True, slots=True)
class PlannedStub(_Planned):
    """Stands for a step that a test run does not do: its inputs are rendered and checked as if it were.

    `answers` are its outputs, or `{"error": {"type", "message", "retryable"}}`: one for each iteration of the loop
    around it, of which the last one repeats.
    """

    stands_for: "Stubbable"
    answers: tuple[Mapping[str, object], ...]


Stubbable: TypeAlias = PlannedPure | PlannedAwaiting | PlannedCall | PlannedDelay | PlannedWait
"""Steps in whose place a stub can be: those that decide where the run goes are what a test run is for."""

STUBBABLE = (PlannedPure, PlannedAwaiting, PlannedCall, PlannedDelay, PlannedWait)


@dataclass(frozen=True, slots=True)
class Way:
    """One branch; `when` None is `else`."""

    name: str
    when: Condition | None
    steps: "tuple[PlannedStep, ...]"


@dataclass(frozen=True, slots=True)
class PlannedBranch(_Planned):
    """Goes the first way whose condition holds."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class PlannedLoop(_Planned):
    """Does its steps for each item; see contracts.automation.Loop for the settings."""

    over: Value
    most: int | None
    option: Literal["array", "string"] | None
    failure: Condition | None
    continue_if: Condition | None
    break_if: Condition | None
    keep: int
    keep_items: int
    """Iterations of which it has the outputs at its end: the last ones, or all where a template may ask for them."""
    concurrency: int
    steps: "tuple[PlannedStep, ...]"
    ended_beside: bool
    """Whether an item may end the run while others are under way."""


@dataclass(frozen=True, slots=True)
class PlannedParallel(_Planned):
    """Does several lists of steps at once."""

    strands: "tuple[tuple[str, tuple[PlannedStep, ...]], ...]"
    awaits: bool
    """Whether any of them waits for something; else they are done one after the other."""
    ended_beside: tuple[bool, ...]
    """For each, whether another of them may end the run."""


Container: TypeAlias = PlannedBranch | PlannedLoop | PlannedParallel
"""Steps with steps inside."""

CONTAINERS = (PlannedBranch, PlannedLoop, PlannedParallel)

PlannedStep: TypeAlias = (
    PlannedPure
    | PlannedAwaiting
    | PlannedFilter
    | PlannedCollect
    | PlannedSet
    | PlannedStop
    | PlannedCall
    | PlannedDelay
    | PlannedWait
    | PlannedStub
    | Container
)

LONGEST_WAIT_S = 7 * 86_400.0
"""The retention of `headrace.waits`: a longer wait could miss the event that ends it."""

FURTHEST_DAYS = 366
"""How far ahead a delay's `until` may be: a year, as of a renewal. What is further is as a rule a stand-in for "never"
(9999-12-31), and its run would keep its timer and its journal for good."""

LONGEST_PAUSE_S = 5.0
"""A longer delay parks the run: a worker is not held for it, and it outlives the worker."""

_MOST_AT_ONCE = 20
"""Steps that a run may do without letting others have the event loop: a step takes microseconds, but one whose template
uses up its budget takes a second. Loops always let others in between."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled version. Immutable, free of any run's state: all runs of a process share it.

    `awaits` False promises that `Orchestrator.execute` never suspends: one `coroutine.send(None)` runs it to its end.
    `has_effects`: a run of it is owned before its first step, and keeps a journal. Without, it is simply done again.
    `hides_secrets`: its runs can come to know a secret, and what they leave behind is masked.
    """

    automation: Automation
    version: int
    steps: tuple[PlannedStep, ...]
    awaits: bool
    has_effects: bool
    hides_secrets: bool = False


def lists_in(step: PlannedStep) -> Iterator[Sequence[PlannedStep]]:
    """The lists of steps inside a step."""
    match step:
        case PlannedBranch():
            yield from (way.steps for way in step.ways)
        case PlannedLoop():
            yield step.steps
        case PlannedParallel():
            yield from (steps for _, steps in step.strands)
        case _:
            pass


def awaits(steps: Sequence[PlannedStep]) -> bool:
    """Whether any of `steps`, or inside of them, waits for something, or others must have turns in between."""
    return any(_waits(step) for step in steps) or _count(steps) > _MOST_AT_ONCE


def _waits(step: PlannedStep) -> bool:
    if isinstance(step, PlannedAwaiting | PlannedDelay | PlannedWait | PlannedCall | PlannedLoop):
        return True
    return any(awaits(inner) for inner in lists_in(step))


def _count(steps: Sequence[PlannedStep]) -> int:
    return sum(1 + sum(_count(inner) for inner in lists_in(step)) for step in steps)


def may_end(steps: Sequence[PlannedStep]) -> bool:
    """Whether any of `steps`, or inside of them, may end the run for good."""
    return any(
        isinstance(step, PlannedStop | PlannedFilter)
        or step.on_error == "stop"
        # What is made at most once is not tried again later: its run ends.
        or (isinstance(step, PlannedAwaiting) and step.at_most_once and step.on_error == "retry")
        or any(may_end(inner) for inner in lists_in(step))
        for step in steps
    )


def has_effects(steps: Sequence[PlannedStep]) -> bool:
    """Whether any of `steps`, or inside of them, does something outside of the run."""
    return any(
        (isinstance(step, PlannedAwaiting) and step.effect != "none")
        # What a pure step publishes is an effect: a duplicate of the run must not publish it again.
        or (isinstance(step, PlannedPure) and step.step.effect != "none")
        or isinstance(step, PlannedCall)
        # Whoever resumes a parked run needs its journal.
        or (isinstance(step, PlannedDelay) and step.may_park)
        or isinstance(step, PlannedWait)
        or any(has_effects(inner) for inner in lists_in(step))
        for step in steps
    )
