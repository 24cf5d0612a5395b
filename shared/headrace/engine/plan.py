"""A version of an automation, compiled once: what a run executes without parsing, looking up or validating again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headrace.contracts.automation import Automation, Retry
from headrace.engine.steps.base import AwaitingStep, Compute, Effect, Perform, PureStep
from headrace.language import Condition, Scope, Value


class Fields:
    """The inputs of a `use` step: constants as they are, the rest rendered in every run."""

    __slots__ = ("_all", "_dynamic", "constant")

    def __init__(self, values: Mapping[str, Value], nowhere: Scope) -> None:
        self._all = {name: value.render(nowhere) if value.constant else None for name, value in values.items()}
        self._dynamic = tuple((name, value.render) for name, value in values.items() if not value.constant)
        self.constant = not self._dynamic

    def render(self, scope: Scope) -> dict[str, object]:
        """The inputs in the order in which they are written; raises TemplateError."""
        rendered = self._all.copy()
        for name, render in self._dynamic:
            rendered[name] = render(scope)
        return rendered


@dataclass(frozen=True, slots=True)
class _Planned:
    """What all kinds of step have.

    `position` counts the steps in the order they are written, those of branches included, from 1 (0 is the trigger);
    `names` are those under which `steps` gives the outputs. `timeout` is in seconds.
    """

    id: str
    use: str
    name: str
    path: str
    position: int
    names: tuple[str, ...]
    when: Condition | None
    timeout: float | None
    stops_on_error: bool


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
class Way:
    """One branch; `when` None is `else`."""

    name: str
    when: Condition | None
    steps: "tuple[PlannedStep, ...]"


@dataclass(frozen=True, slots=True)
class PlannedBranch(_Planned):
    """Goes the first way whose condition holds."""

    ways: tuple[Way, ...]


PlannedStep: TypeAlias = PlannedPure | PlannedAwaiting | PlannedFilter | PlannedCollect | PlannedBranch


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


def awaits(steps: Sequence[PlannedStep]) -> bool:
    """Whether any of `steps`, or of their branches, waits for something outside."""
    return any(
        any(awaits(way.steps) for way in step.ways)
        if isinstance(step, PlannedBranch)
        else isinstance(step, PlannedAwaiting)
        for step in steps
    )


def has_effects(steps: Sequence[PlannedStep]) -> bool:
    """Whether any of `steps`, or of their branches, does something outside of the run."""
    return any(
        any(has_effects(way.steps) for way in step.ways)
        if isinstance(step, PlannedBranch)
        else (isinstance(step, PlannedAwaiting) and step.effect != "none")
        # A pure step's effect is what it publishes: a duplicate of the run must not publish it again.
        or (isinstance(step, PlannedPure) and step.step.effect != "none")
        for step in steps
    )
