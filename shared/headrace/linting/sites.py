"""Where the templates of an automation stand, and which steps are done before them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, cast

from headrace.contracts.automation import (
    Automation,
    BranchStep,
    CallStep,
    CollectStep,
    ConditionSource,
    DelayStep,
    FilterStep,
    LoopStep,
    ParallelStep,
    SetStep,
    Step,
    StopStep,
    UseStep,
    WaitStep,
    inner,
)
from headrace.language import references


class Turn(NamedTuple):
    """One level of the way to a step: the step around it (None: the automation), which of its lists, which place."""

    around: "Located | None"
    which: int
    place: int


class Located(NamedTuple):
    """A step, where it stands in the document, and the way to it from outside to inside."""

    step: Step
    path: str
    way: tuple[Turn, ...]


class Use(NamedTuple):
    """A reference in a template or condition of a step; `is_inside`: evaluated between the steps inside of it."""

    located: Located
    path: str
    parts: tuple[str, ...]
    is_inside: bool


def located_steps(automation: Automation) -> list[Located]:
    """All steps in the order they are written, so that the first is position 1."""
    return list(_located(automation.steps, "steps", None, 0, ()))


def _located(
    steps: Sequence[Step], path: str, around: Located | None, which: int, way: tuple[Turn, ...]
) -> Iterator[Located]:
    for place, step in enumerate(steps):
        found = Located(step, f"{path}.{place}", (*way, Turn(around, which, place)))
        yield found
        for number, (inside, children) in enumerate(inner(step)):
            yield from _located(children, f"{found.path}.{inside}", found, number, found.way)


def trigger_uses(automation: Automation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """All references of what decides on an event before there is a run, with their paths."""
    yield from _in_condition(automation.trigger.when, "trigger.when")
    if automation.key is not None:
        path, source = automation.key
        yield from _in_value(source, path)


def uses(located: Located) -> Iterator[Use]:
    """All references of one step, without those of the steps inside of it."""
    for path, source, kind in _sources(located.step):
        found = _in_condition(source, path) if kind == "condition" else _in_value(source, path)
        for at, parts in found:
            yield Use(located, f"{located.path}.{at}", parts, path in _BETWEEN)


_BETWEEN = frozenset(("loop.failure", "loop.continue_if", "loop.break_if"))
"""Looked at before or after each item."""


def _sources(step: Step) -> Iterator[tuple[str, object, Literal["value", "condition"]]]:
    if step.when is not None:
        yield "when", step.when, "condition"
    match step:
        case UseStep():
            yield "with", step.with_, "value"
        case FilterStep():
            yield "filter", step.filter, "condition"
        case CollectStep():
            yield "collect", step.collect, "value"
        case SetStep():
            yield "set", step.set, "value"
        case StopStep():
            yield "stop.message", step.stop.message, "value"
        case BranchStep():
            for number, branch in enumerate(step.branch):
                yield f"branch.{number}.when", branch.when, "condition"
        case LoopStep():
            yield "loop.over", step.loop.over, "value"
            for name in ("failure", "continue_if", "break_if"):
                yield f"loop.{name}", cast("ConditionSource | None", getattr(step.loop, name)), "condition"
        case ParallelStep():
            pass
        case DelayStep():
            yield "delay.for", step.delay.for_, "value"
            yield "delay.until", step.delay.until, "value"
        case WaitStep():
            yield "wait_for_event.key", step.wait_for_event.key, "value"
            yield "wait_for_event.match", step.wait_for_event.match, "condition"
        case CallStep():
            yield "call.fields", step.call.fields, "value"


def _in_value(value: object, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for at, text in texts_in(value, path):
        for parts in references(text):
            yield at, parts


def _in_condition(source: object, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not isinstance(source, dict | list | tuple):
        yield from _in_value(source, path)
        return
    for name, item in _items(cast(object, source)):
        if name == "field" and isinstance(item, str):
            yield f"{path}.field", tuple(item.split("."))
        elif name == "value":
            yield from _in_value(item, f"{path}.value")
        else:
            yield from _in_condition(item, f"{path}.{name}")


def texts_in(value: object, path: str) -> Iterator[tuple[str, str]]:
    """All texts in a value, each with its path."""
    if isinstance(value, str):
        yield path, value
    for name, item in _items(value):
        yield from texts_in(item, f"{path}.{name}")


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, item in cast(Mapping[object, object], value).items():
            yield str(name), item
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast(Sequence[object], value)):
            yield str(number), item


Standing = Literal["before", "around", "not_before", "other_branch"]


def standing(use: Use, target: Located) -> Standing:
    """How `target` stands to the place of the reference: what the flow has done of it by then."""
    way = use.located.way
    for mine, other in zip(way, target.way, strict=False):
        if mine == other:
            continue
        if mine.which != other.which:
            return _unless_repeated(mine, "other_branch")
        return "before" if other.place < mine.place else _unless_repeated(mine, "not_before")
    if len(target.way) < len(way):
        # Inside of it. What a branch is, is known at once; a loop's outputs come with its end.
        return "before" if isinstance(target.step, BranchStep) else _unless_repeated(target.way[-1], "not_before")
    if len(target.way) > len(way) and use.is_inside:
        return "before"
    return _unless_repeated(way[-1], "not_before")


def _unless_repeated(turn: Turn, found: Standing) -> Standing:
    """In a loop that does one item after the other, an earlier item may have done what stands behind."""
    around = turn.around
    while around is not None:
        if isinstance(around.step, LoopStep) and around.step.loop.concurrency == 1:
            return "before"
        around = around.way[-1].around
    return found
