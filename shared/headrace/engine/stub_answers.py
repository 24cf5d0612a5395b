"""What a stub says, checked against the step that it stands for: a misspelt output would make a run that cannot be."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import cast

from headrace.engine.plan import PlannedAwaiting, PlannedCall, PlannedDelay, PlannedPure, PlannedWait, Stubbable

Answers = tuple[Mapping[str, object], ...]

_ERROR_NAMES = frozenset(("type", "message", "retryable"))
_CALLED = frozenset(("automation", "run_id"))
_ENDED = frozenset(("status", "error", "collected"))


class StubError(ValueError):
    """Stubs that cannot be meant; the message names the step, why, and what would be understood."""


def answers_of(step: Stubbable, stub: object, *, in_loop: bool) -> Answers:
    """One answer for each iteration of the loop around `step`, or one for all; raises StubError."""
    told = f"stub {step.id!r}"
    answers: list[object] = cast("list[object]", stub) if isinstance(stub, list) else [stub]
    if not answers or not all(isinstance(answer, Mapping) for answer in answers):
        raise StubError(f'{told}: expected an object of outputs, {{"error": {{…}}}}, or a list of these')
    if len(answers) > 1 and not in_loop:
        raise StubError(f"{told}: a list is one for each iteration of a loop, and the step is in none; give one object")
    for answer in cast("list[Mapping[str, object]]", answers):
        _check_error(told, answer)
        _check_outputs(told, step, answer)
    return tuple(cast("list[Mapping[str, object]]", answers))


def outputs_of(step: Stubbable) -> frozenset[str]:
    """The names of a step's outputs, beside `success`."""
    match step:
        case PlannedPure() | PlannedAwaiting():
            return frozenset(step.step.outputs)
        case PlannedCall():
            return _CALLED | _ENDED if step.wait else _CALLED
        case PlannedWait():
            return frozenset(("data", "event"))
        case PlannedDelay():
            return frozenset(("until",))


def _check_error(told: str, answer: Mapping[str, object]) -> None:
    if "error" not in answer:
        return
    error = answer["error"]
    if not isinstance(error, Mapping):
        raise StubError(f"{told}: its error is an object of type, message and retryable")
    unknown = set(cast("Mapping[str, object]", error)) - _ERROR_NAMES
    if unknown:
        raise StubError(f"{told}: an error has type, message and retryable, not {', '.join(sorted(unknown))}")


def _check_outputs(told: str, step: Stubbable, answer: Mapping[str, object]) -> None:
    known = outputs_of(step)
    for name in answer:
        if name == "success" and ("error" in answer or answer[name] is not True):
            raise StubError(f'{told}: `success` can only be true; a step that fails is {{"error": {{…}}}}')
        if name not in known and name not in ("success", "error"):
            close = get_close_matches(name, known, n=1)
            remedy = f"did you mean `{close[0]}`?" if close else f"its outputs are {', '.join(sorted(known))}"
            raise StubError(f"{told}: a step of kind `{step.use}` has no output {name!r}; {remedy}")
