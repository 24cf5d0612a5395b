"""What a run holds of its steps' results until its end: beside it a worker has thousands of others."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import cast

from headrace.contracts.automation import Automation
from headrace.contracts.runs import StepResult
from headrace.engine.errors import StepError
from headrace.engine.plan import CONTAINERS, PlannedStep
from headrace.engine.run import Run
from headrace.language import LanguageError, references
from headrace.language.limits import size_of
from headrace.language.references import Reference, names_set

MOST_STEPS = 100_000
"""Steps that a run may begin while it is in a loop: their results are held until its end, a kilobyte or more each."""

MOST_HELD = 64 << 20
"""Characters of its steps' results that a run may hold."""

ITEMS_HELD = 1_000
"""Iterations of whose outputs a loop holds the last, where no template can ask for them: what people look at then are
its summary and the last steps."""

_SMALL = 1_000
"""Characters of a text that is not counted outside of loops: 1,000 of them are 1 MB."""


def can_see_items(automation: Automation) -> bool:
    """Whether a template or condition of it may look at what a loop's iterations gave (`items`): names it, or takes a
    step's outputs, or those of all steps, as a whole."""
    try:
        return any(map(_reaches_items, _references(automation.model_dump())))
    except (LanguageError, RecursionError):
        return True  # whoever compiles it says where and why


def _reaches_items(reference: Reference) -> bool:
    place = 1 if reference[0] == "previous" else 2
    return reference[0] in _WITH_OUTPUTS and (len(reference) <= place or reference[place] == "items")


_WITH_OUTPUTS = frozenset(("steps", "stepsById", "stepsByName", "previous"))


def _references(value: object) -> Iterator[Reference]:
    if isinstance(value, str):
        yield from references(value)
        # A root that the template sets anew, as it may from the root itself: it may then be all of it.
        yield from ((name,) for name in names_set(value))
        # As a comparison's `field` names it, without a template.
        yield tuple(value.split("."))
    elif isinstance(value, Mapping):
        for item in cast(Mapping[object, object], value).values():
            yield from _references(item)
    elif isinstance(value, list | tuple):
        for item in cast(Iterable[object], value):
            yield from _references(item)


def too_large() -> StepError:
    """The error of a step that begins where the run holds too much."""
    told = f"what this run's steps were given and gave has more than {MOST_HELD} characters, which it may hold"
    return StepError("too_large", told)


def held_by(results: Iterable[StepResult]) -> int:
    """The characters of what steps were given and gave, about; where one alone is more than a run may hold, so much."""
    return sum(size_of((each.get("inputs"), each.get("outputs")), MOST_HELD, 1) for each in results)


def hold(run: Run, step: PlannedStep, result: StepResult) -> None:
    """Counts what a step was given and gave. Loops count what is inside of them, by `held_by`."""
    if type(step) in _CONTAINERS or run.is_in_loop:
        return
    if "inputs" in result:
        _count(run, result["inputs"])
    if "outputs" in result:
        _count(run, result["outputs"])


def _count(run: Run, part: object) -> None:
    if type(part) is not dict:
        run.strands.held += size_of(part, MOST_HELD, 1)
        return
    # As a rule a few small values: to compare types costs less than to ask what they are.
    for value in cast("dict[str, object]", part).values():
        if type(value) in _SCALARS:
            continue
        if type(value) is not str or len(value) > _SMALL:
            run.strands.held += size_of(value, MOST_HELD, 1)


_CONTAINERS = frozenset(CONTAINERS)
_SCALARS = frozenset((int, float, bool, datetime, type(None)))
