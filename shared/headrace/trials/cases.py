"""Test cases beside an automation: what they expect, compared with what came of the event."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import NamedTuple, cast

import orjson

from headrace.contracts import limits
from headrace.contracts.automation import Automation, Expectation, LoopStep, Step, TestCase, inner
from headrace.contracts.runs import RunRecord, StepResult
from headrace.engine import PlatformUnavailable, StepCrashed
from headrace.engine.apps import AppConfig, nothing_configured
from headrace.engine.plain import dumps
from headrace.engine.stub_answers import StubError
from headrace.trials.events import BadTrialEvent, NotFired
from headrace.trials.running import Trial, Tried, try_automation

CASE_TIME = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""Of a test case's event that names none: a case gives the same on any day."""


class Difference(NamedTuple):
    """One thing that is not as expected; both sides as text."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case that was tried: as expected where there are no differences. `seconds` is how long it took."""

    automation: str
    case: TestCase
    differences: Sequence[Difference]
    tried: Tried | NotFired | None
    seconds: float = 0.0


def try_case(
    automation: Automation,
    case: TestCase,
    apps: Callable[[str], AppConfig] = nothing_configured,
    max_iterations: int = limits.MAX_ITERATIONS,
) -> CaseResult:
    """Tries one case with what is configured for its app; what is wrong with the case itself is a difference too."""
    trial = Trial(case.event, case.stubs, apps=apps, max_iterations=max_iterations, is_case=True)
    try:
        tried = try_automation(automation, trial, CASE_TIME)
    except (BadTrialEvent, StubError) as error:
        return CaseResult(automation.id, case, (Difference("the case", "a case that can be tried", str(error)),), None)
    except StepCrashed as error:
        return CaseResult(automation.id, case, (Difference("the run", "an end", error.message),), None)
    except PlatformUnavailable as error:
        told = f"none: {error}; this machine has no room for it, or give the step a stub"
        return CaseResult(automation.id, case, (Difference("the run", "an end", told),), None)
    if isinstance(tried, NotFired):
        differences = list(_not_fired(case.expect, tried))
        return CaseResult(automation.id, case, differences, tried)
    differences = list(_compared(automation, case.expect, tried, max_iterations))
    seconds = tried.record["duration_ms"] / 1000.0
    return CaseResult(automation.id, case, differences, tried, seconds)


def _not_fired(expect: Expectation, found: NotFired) -> Iterator[Difference]:
    if expect.fires:
        yield Difference("the trigger", "a run", f"none: {found.reason}")
    elif found.is_error:
        yield Difference("the trigger", "that it does not fire", f"that nobody can say: {found.reason}")


def _compared(automation: Automation, expect: Expectation, tried: Tried, most: int) -> Iterator[Difference]:
    record = tried.record
    if not expect.fires:
        yield Difference("the trigger", "no run", f"one that ended {record['status']}")
        return
    error = record["error"]
    if expect.status is not None and expect.status != record["status"]:
        because = f" ({error['type']}: {error['message']})" if error else ""
        yield Difference("status", expect.status, f"{record['status']}{because}")
    if "error" in expect.model_fields_set:
        found = None if error is None else error["type"]
        if found != expect.error:
            yield Difference("error", expect.error or "no error", found or "no error")
    if "collected" in expect.model_fields_set:
        if "collected" not in record:
            yield Difference("collected", _shown(_plain(expect.collected)), "nothing was collected")
        else:
            yield from _beyond(_plain(expect.collected), record.get("collected"), "collected", exactly=True)
    loops = dict(_loops(automation.steps))
    for name, wanted in expect.steps.items():
        yield from _step(name, wanted, loops, most, record)


_Loops = tuple[int | None, ...]
"""The loops around a step, the outermost first: of each its `max`."""


def _loops(steps: Sequence[Step], around: _Loops = ()) -> Iterator[tuple[str, _Loops]]:
    """All steps' ids, each with the loops around it."""
    for step in steps:
        yield step.id, around
        for _, children in inner(step):
            yield from _loops(children, (*around, step.loop.max) if isinstance(step, LoopStep) else around)


_NUMBER = "(?:0|[1-9][0-9]{0,8})"
_STEP = re.compile(rf"^([A-Za-z_][A-Za-z0-9_-]*)(?:\[({_NUMBER}(?:\.{_NUMBER})*)])?$")
"""A step's id, and with it the iteration, those of loops around it first: `leg`, `leg[2]`, `leg[0.2]`."""


def _step(
    name: str,
    wanted: Mapping[str, object] | None,
    loops: Mapping[str, _Loops],
    most: int,
    record: RunRecord,
) -> Iterator[Difference]:
    what = f"steps.{name}"
    parsed = _STEP.match(name)
    if parsed is None or parsed[1] not in loops:
        close = get_close_matches(name.partition("[")[0], loops, n=1)
        told = "no step of this id" + (f"; did you mean {close[0]}?" if close else "")
        yield Difference(what, "a step's id, such as leg or leg[2]", told)
        return
    found = [(at, step) for at, step in _results(record["steps"]) if step["id"] == parsed[1]]
    if parsed[2] is not None:
        impossible = _impossible(parsed[2], loops[parsed[1]], most)
        if impossible:
            yield Difference(what, "the number of an iteration for each loop", impossible)
            return
        found = [(at, step) for at, step in found if at == parsed[2]]
    if wanted is None or "status" not in wanted:
        # One whose `when` is false is not done.
        found = [(at, step) for at, step in found if step["status"] != "skipped"]
    if wanted is None:
        if found:
            yield Difference(what, "not to be done", f"done: {found[0][1]['status']}")
        return
    if not found:
        yield Difference(what, _shown(_plain(wanted)), "not done")
    for at, step in found:
        # Without an iteration it is said of each.
        place = f"{what}[{at}]" if at and parsed[2] is None else what
        yield from _beyond(_plain(wanted), _facts(step), place)


def _impossible(iteration: str, loops: _Loops, most: int) -> str:
    """Why no run has this iteration, whatever its event; "" where one may."""
    numbers = iteration.split(".")
    if len(numbers) != len(loops):
        return f"{len(numbers)} given, where {len(loops)} loops are around the step"
    for number, limit in zip(numbers, loops, strict=True):
        allowed = most if limit is None else min(limit, most)
        if int(number) >= allowed:
            return f"{number}, where the loop does at most {allowed} items, from 0 to {allowed - 1}"
    return ""


def _results(steps: Sequence[StepResult], inside: str = "") -> Iterator[tuple[str, StepResult]]:
    """All results, each with the iterations around it."""
    for step in steps:
        number = step.get("iteration")
        at = inside if number is None else f"{inside}.{number}" if inside else str(number)
        yield at, step
        yield from _results(step.get("children", []), at)


def _facts(step: StepResult) -> Mapping[str, object]:
    outputs = step.get("outputs")
    branch = cast(Mapping[str, object], outputs).get("branch") if isinstance(outputs, Mapping) else None
    return {"error": None, **step, "branch": branch}


def _beyond(wanted: object, found: object, what: str, *, exactly: bool = False) -> Iterator[Difference]:
    """Where `found` is not what is wanted: of objects only the names that are wanted are looked at."""
    if isinstance(wanted, dict) and isinstance(found, Mapping):
        names, there = cast(dict[str, object], wanted), cast(Mapping[str, object], found)
        for name, value in names.items():
            if name in there:
                yield from _beyond(value, there[name], f"{what}.{name}", exactly=exactly)
            else:
                yield Difference(f"{what}.{name}", _shown(value), "nothing")
        if exactly:
            for name in there.keys() - names.keys():
                yield Difference(f"{what}.{name}", "nothing", _shown(there[name]))
    elif isinstance(wanted, list) and isinstance(found, list):
        items, others = cast(list[object], wanted), cast(list[object], found)
        if len(items) != len(others):
            yield Difference(f"{what} (length)", str(len(items)), f"{len(others)}: {_shown(others)}")
            return
        for number, (item, other) in enumerate(zip(items, others, strict=True)):
            yield from _beyond(item, other, f"{what}.{number}", exactly=exactly)
    elif isinstance(wanted, bool) != isinstance(found, bool) or wanted != found:
        yield Difference(what, _shown(cast(object, wanted)), _shown(found))


def _plain(value: object) -> object:
    """As JSON has it: what is found is JSON, and YAML's dates are none."""
    return orjson.loads(dumps(value))


LONGEST = 300
"""Characters of a side of a difference."""


def _shown(value: object) -> str:
    text = dumps(value).decode()
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
