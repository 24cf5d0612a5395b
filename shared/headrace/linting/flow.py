"""Rules about where a run can go."""

from collections.abc import Iterator, Sequence

from headrace.contracts import limits
from headrace.contracts.automation import (
    Automation,
    BranchStep,
    FilterStep,
    LoopStep,
    Step,
    StopStep,
    UseStep,
    inner,
    walk,
)
from headrace.engine.plan import Plan, PlannedAwaiting, PlannedLoop, PlannedStep, lists_in
from headrace.language import constant_truth
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import Located, located_steps

MOST_CALLS = 10_000
"""Calls to others that loops in each other may make before it is told: at a tenth of a second each, a quarter of an
hour, far beyond any run's time."""


def unreachable(automation: Automation) -> Iterator[Finding]:
    """Branches that are never taken, and steps that are never done."""
    for located in located_steps(automation):
        step = located.step
        if step.when is not None and constant_truth(step.when) is False:
            told = f"step {step.id!r} is never done: its `when` is always false"
            yield _finding(
                "unreachable-step", automation, f"{located.path}.when", told, "remove the step, or the `when`"
            )
        if isinstance(step, BranchStep):
            yield from _branches(automation, located, step)
        for path, children in inner(step):
            yield from _behind(automation, children, f"{located.path}.{path}")
    yield from _behind(automation, automation.steps, "steps")


def _branches(automation: Automation, located: Located, step: BranchStep) -> Iterator[Finding]:
    taken: str | None = None
    for number, branch in enumerate(step.branch):
        truth = True if branch.when is None else constant_truth(branch.when)
        path = f"{located.path}.branch.{number}"
        if taken is not None:
            told = f"branch {branch.name!r} is never taken: {taken!r} before it always is"
            yield _finding("unreachable-branch", automation, path, told, f"mend the condition of {taken!r}")
        elif truth is False:
            told = f"branch {branch.name!r} is never taken: its condition is always false"
            yield _finding("unreachable-branch", automation, path, told, "mend its condition, or remove it")
        elif truth and branch.when is not None:
            taken = branch.name


def _behind(automation: Automation, steps: Sequence[Step], path: str) -> Iterator[Finding]:
    """The first step of a list that stands behind the run's end."""
    for number, step in enumerate(steps[:-1]):
        if _always_ends(step):
            lost = steps[number + 1]
            told = f"step {lost.id!r} is never done: step {step.id!r} before it always ends the run"
            remedy = f"remove it, or give {step.id!r} a `when`"
            yield _finding("unreachable-step", automation, f"{path}.{number + 1}", told, remedy)
            return


def _always_ends(step: Step) -> bool:
    if step.when is not None and constant_truth(step.when) is not True:
        return False
    if isinstance(step, StopStep):
        return True
    if isinstance(step, FilterStep):
        return constant_truth(step.filter) is False
    if isinstance(step, BranchStep):
        return step.branch[-1].when is None and all(any(map(_always_ends, way.steps)) for way in step.branch)
    return False


def unbounded(automation: Automation, plan: Plan) -> Iterator[Finding]:
    """Loops over data, without a `max` or `break_if` of their own, that call others for each item; and loops in each
    other that may make more than MOST_CALLS calls."""
    planned = {step.id: step for step in all_planned(plan.steps)}
    for located in located_steps(automation):
        source, step = located.step, planned.get(located.step.id)
        if not isinstance(source, LoopStep) or not isinstance(step, PlannedLoop):
            continue
        called = next((each for each in walk(source.steps) if _calls(each, planned)), None)
        if called is None:
            continue
        loop, path = source.loop, f"{located.path}.loop"
        is_data = isinstance(loop.over, str) and not step.over.constant
        if is_data and "max" not in loop.model_fields_set and loop.break_if is None:
            told = f"the data alone decide how often step {called.id!r} calls others, up to what a loop may do here"
            remedy = "say how many are meant with `max`, or when it is enough with `break_if`"
            yield _finding("unbounded-loop", automation, path, told, remedy)
        elif _most_calls(step) > MOST_CALLS and len(located.way) == 1:
            told = f"they may make more than {MOST_CALLS} calls to others, as the loops are in each other"
            yield _finding("unbounded-loop", automation, path, told, "lower their `max`")


def _calls(step: Step, planned: dict[str, PlannedStep]) -> bool:
    return isinstance(step, UseStep) and is_call(planned.get(step.id))


def is_call(step: PlannedStep | None) -> bool:
    """Whether the step calls others, outside of Headrace."""
    return isinstance(step, PlannedAwaiting) and step.effect in ("at_least_once", "at_most_once")


def _most_calls(step: PlannedStep) -> int:
    if is_call(step):
        return 1
    inside = sum(_most_calls(each) for inner_steps in lists_in(step) for each in inner_steps)
    return inside * (step.most or limits.MAX_ITERATIONS) if isinstance(step, PlannedLoop) else inside


def all_planned(steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    """All steps, those inside of others included."""
    for step in steps:
        yield step
        for inner_steps in lists_in(step):
            yield from all_planned(inner_steps)


def _finding(rule: str, automation: Automation, path: str, message: str, remedy: str) -> Finding:
    return Finding(rule, RULES[rule].severity, automation.id, path, message, remedy)
