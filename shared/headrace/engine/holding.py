"""What a run holds of its steps' results until its end: beside it a worker has thousands of others."""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from headrace.contracts.automation import Automation
from headrace.contracts.runs import StepResult
from headrace.engine.errors import StepError
from headrace.engine.plan import CONTAINERS, PlannedStep
from headrace.engine.run import Run
from headrace.language import LanguageError, references
from headrace.language.limits import size_of
from headrace.language.references import Reference

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
    except LanguageError:
        return True


def _reaches_items(reference: Reference) -> bool:
    place = 1 if reference[0] == "previous" else 2
    return reference[0] in _WITH_OUTPUTS and (len(reference) <= place or reference[place] == "items")


_WITH_OUTPUTS = frozenset(("steps", "stepsById", "stepsByName", "previous"))


def _references(value: object) -> Iterator[Reference]:
    if isinstance(value, str):
        yield from references(value)
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
    if not run.is_in_loop and not isinstance(step, CONTAINERS):
        run.strands.held += _large_in(result.get("inputs")) + _large_in(result.get("outputs"))


def _large_in(value: object) -> int:
    """Costs a fraction of a microsecond where nothing is large."""
    if not isinstance(value, Mapping):
        return 0 if value is None else size_of(value, MOST_HELD, 1)
    size = 0
    for part in cast(Mapping[str, object], value).values():
        if isinstance(part, str):
            size += len(part) if len(part) > _SMALL else 0
        elif isinstance(part, Mapping | list | tuple):
            size += size_of(cast(object, part), MOST_HELD, 1)
    return size
