"""Rules about what templates refer to."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from headrace.contracts.automation import (
    Automation,
    BranchStep,
    CallStep,
    CollectStep,
    DelayStep,
    FilterStep,
    LoopStep,
    ParallelStep,
    SetStep,
    Step,
    StopStep,
    UseStep,
    WaitStep,
)
from headrace.engine.steps.base import AwaitingStep, PureStep
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import Located, Use, located_steps, standing, uses

StepTable = Mapping[str, PureStep | AwaitingStep]


def referring(automation: Automation, table: StepTable) -> Iterator[Finding]:
    """Unknown steps and outputs, and steps that are not done before they are named."""
    steps = located_steps(automation)
    names = _names(steps)
    for located in steps:
        for use in uses(located):
            root, *rest = use.parts
            if root in names and rest:
                yield from _judged(automation, use, names[root], table)


def outside_loops(automation: Automation) -> Iterator[Finding]:
    """What only a loop knows, named where there is none."""
    for use in (use for located in located_steps(automation) for use in uses(located)):
        if use.parts[0] in _OF_A_LOOP and not use.is_inside and not _is_in_loop(use.located):
            remedy = "move the step into a loop, or name what it means another way"
            told = "there is no loop around this: the value is always empty"
            yield _finding("outside-loop", automation, use, told, remedy)


def unknown_in_loops(automation: Automation) -> Iterator[Finding]:
    """Members that `loop` never has, and those around it neither."""
    for use in (use for located in located_steps(automation) for use in uses(located)):
        root, *rest = use.parts
        while rest and rest[0] == "parent":
            rest.pop(0)
        if root == "loop" and rest and rest[0] not in _IN_A_LOOP and (use.is_inside or _is_in_loop(use.located)):
            close = get_close_matches(rest[0], _IN_A_LOOP, n=1)
            remedy = f"did you mean `{close[0]}`?" if close else f"it has {', '.join(_IN_A_LOOP)}"
            told = f"the automation's loop has no {rest[0]!r}: the value is always empty"
            yield _finding("unknown-member", automation, use, told, remedy)


_IN_A_LOOP = ("currentItem", "index", "count", "parent")


def same_names(automation: Automation) -> Iterator[Finding]:
    """Steps of one name, of which templates see the one that is done last; not those of which only one is done."""
    by_name = dict[str, list[Located]]()
    for located in located_steps(automation):
        earlier = by_name.setdefault(located.step.name, [])
        first = next((each for each in earlier if not _excludes(each, located)), None)
        if located.step.name and first is not None:
            told = f"step {first.step.id!r} has the name {located.step.name!r} as well: templates see the one done last"
            path, remedy = f"{located.path}.name", "give it another name, or name the step by its id"
            yield Finding("same-name", RULES["same-name"].severity, automation.id, path, told, remedy)
        earlier.append(located)


def _excludes(one: Located, other: Located) -> bool:
    """Whether they stand in two ways of one branch step."""
    for mine, others in zip(one.way, other.way, strict=False):
        if mine != others:
            is_branch = mine.around is not None and isinstance(mine.around.step, BranchStep)
            return is_branch and mine.which != others.which
    return False


_OF_A_LOOP = ("loop", "item", "item_index")


def _is_in_loop(located: Located) -> bool:
    arounds = (turn.around for turn in located.way)
    return any(around is not None and isinstance(around.step, LoopStep) for around in arounds)


_Names = Mapping[str, list[Located]]


def _names(steps: list[Located]) -> Mapping[str, _Names]:
    """By root, the steps by the names they have there."""
    by_id, by_name, by_any = dict[str, list[Located]](), dict[str, list[Located]](), dict[str, list[Located]]()
    for position, located in enumerate(steps, 1):
        id, name = located.step.id, located.step.name
        by_id[id] = [located]
        by_name.setdefault(name or id, []).append(located)
        for alias in {str(position), id, name or id}:
            by_any.setdefault(alias, []).append(located)
    # An id means its step, whatever others are called.
    return {"steps": {**by_any, **by_id}, "stepsById": by_id, "stepsByName": by_name}


def _judged(automation: Automation, use: Use, names: _Names, table: StepTable) -> Iterator[Finding]:
    root, name, *rest = use.parts
    if root == "steps" and name == "0":
        return
    targets = names.get(name)
    if targets is None:
        close = get_close_matches(name, names, n=1)
        remedy = f"did you mean `{root}.{close[0]}`?" if close else f"the steps are {', '.join(_ids(names))}"
        yield _finding("unknown-step", automation, use, f"no step is called {name!r}", remedy)
        return
    if len(targets) > 1:
        return  # which of them it is depends on the run
    (target,) = targets
    found = standing(use, target)
    if found == "not_before":
        told = f"step {target.step.id!r} is not done before this: the value is always empty"
        yield _finding("not-before", automation, use, told, "move one of the two, or name an earlier step")
    elif found == "other_branch":
        told = f"step {target.step.id!r} is in another branch or list: the value is always empty"
        yield _finding("other-branch", automation, use, told, "use it after the two have come together")
    known = outputs_of(target.step, table)
    if rest and known is not None and rest[0] not in known:
        close = get_close_matches(rest[0], known, n=1)
        remedy = f"did you mean `{close[0]}`?" if close else f"its outputs are {', '.join(sorted(known))}"
        told = f"step {target.step.id!r} ({_kind(target.step)}) has no output {rest[0]!r}"
        yield _finding("unknown-output", automation, use, told, remedy)


def outputs_of(step: Step, table: StepTable) -> frozenset[str] | None:
    """The names of a step's outputs; None where nobody can say."""
    known: frozenset[str] | None
    match step:
        case UseStep():
            known = frozenset(table[step.use].outputs) if step.use in table else None
        case BranchStep():
            known = frozenset(("branch",))
        case LoopStep():
            known = frozenset(("items", "iterations", "summary"))
        case ParallelStep():
            known = frozenset(("failed",))
        case FilterStep():
            known = frozenset(("result",))
        case CollectStep():
            known = frozenset(("value",))
        case SetStep():
            known = frozenset(step.set)
        case StopStep():
            known = frozenset(("message",))
        case DelayStep():
            known = frozenset(("until",))
        case CallStep():
            known = frozenset(("automation", "run_id"))
            if step.call.wait:
                known |= {"status", "collected"}
        case WaitStep():
            known = frozenset(("data", "event"))
    return None if known is None else known | {"success", "error"}


def _kind(step: Step) -> str:
    return step.use if isinstance(step, UseStep) else type(step).__name__.removesuffix("Step").lower()


def _ids(names: _Names) -> list[str]:
    return [name for name in names if not name.isdigit()]


def _finding(rule: str, automation: Automation, use: Use, message: str, remedy: str) -> Finding:
    shown = ".".join(use.parts)
    return Finding(rule, RULES[rule].severity, automation.id, use.path, f"{{{{ {shown} }}}}: {message}", remedy)
