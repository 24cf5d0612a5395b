"""What the journal does to the flow: steps that were done are given again, steps that are done are written down."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import cast

from headrace.contracts.runs import StepResult
from headrace.engine.endings import Ending, after_failure, counted
from headrace.engine.errors import StepError
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import (
    CONTAINERS,
    PlannedAwaiting,
    PlannedCall,
    PlannedCollect,
    PlannedDelay,
    PlannedSet,
    PlannedStep,
    PlannedStop,
    PlannedWait,
)
from headrace.engine.run import Run
from headrace.language import Condition

_ANSWERED = (PlannedAwaiting, PlannedDelay, PlannedWait, PlannedCall)
"""Steps whose results come from outside of the run."""


def replayed(run: Run, step: PlannedStep, result: StepResult, recorded: StepResult, noted: Noted) -> Ending | None:
    """The step is done already: what it gave is given again, verbatim."""
    result.update(recorded)
    run.publications.extend(noted.publications)
    status = recorded["status"]
    if status == "skipped":
        return None
    outputs = cast("Mapping[str, object]", recorded.get("outputs", {}))
    run.leave(step.names, step.id, step.name or step.id, outputs)
    if isinstance(step, PlannedCollect) and status == "success":
        run.collect(outputs.get("value"))
    elif isinstance(step, PlannedSet) and status == "success":
        run.set_state({name: value for name, value in outputs.items() if name in step.fields.names})
    elif isinstance(step, PlannedStop) and "message" in outputs:
        run.end_status = step.status
    if status == "cancelled":
        return "cancelled"
    if "error" in recorded:
        if noted.cut_off_by is None and not (isinstance(step, PlannedStop) and "message" in outputs):
            return after_failure(run, step, recorded["error"])
        counted(run, step, recorded["error"])
        if noted.cut_off_by is None:
            return "error"
        run.timed_out_by = noted.cut_off_by
        return "timed_out"
    return "stopped" if status == "stopped" else None


async def written_down(
    run: Run, journal: Journal, step: PlannedStep, result: StepResult, before: tuple[int, int], ending: Ending | None
) -> None:
    """Notes what the step did; an answer from outside is written at once, so that the call is not made again.

    `before`: how many publications and failures there were when the step began; those beyond are its own.
    """
    published, failed = before
    key = run.key
    if ending == "gave_up" and "error" in result and not journal.has_ended:
        # When the run is resumed, it is with this step: what failed inside of it is done again with it. How it failed
        # is kept: the run may come to its end before it is here again.
        if not isinstance(step, CONTAINERS):
            journal.note(key, result)
        for failure in run.failures[failed:]:
            if failure.key is not None:
                journal.note_again(failure.key)
        return
    if isinstance(step, CONTAINERS):
        _note_container(journal, key, result)
        return
    is_answer = isinstance(step, _ANSWERED) or result["status"] == "timed_out"
    cut_off_by = run.timed_out_by if ending == "timed_out" else None
    journal.note(key, result, run.publications[published:], cut_off_by, is_answer=is_answer)
    if isinstance(step, PlannedAwaiting) and step.effect not in ("none", "once"):
        await journal.write()


def _note_container(journal: Journal, key: str, result: StepResult) -> None:
    """What follows from the steps inside is not noted, but that the time was up; nor what was decided, which is."""
    if "children" not in result:
        if result["status"] != "no_condition_met":
            journal.note(key, result)
    elif result["status"] == "timed_out" and "error" in result:
        alone = result.copy()
        for made_of_what_is_inside in ("children", "outputs"):
            alone.pop(made_of_what_is_inside, None)
        journal.note(key, alone, is_answer=True)


def last_tried(run: Run, step: PlannedStep, results: list[StepResult]) -> None:
    """The run has come to its end before a step that it was to do again: how it failed last is in its results."""
    last = None if run.journal is None else run.journal.last_try(run.key)
    if last is None or isinstance(step, CONTAINERS):
        return
    with only_recorded(run):
        result = last.copy()
        results.append(result)
        replayed(run, step, result, last, Noted(result=last))


@contextmanager
def only_recorded(run: Run) -> Generator[bool]:
    """Beyond the end of a list of steps, or of a loop's items, nothing more is done; says whether something may have
    been done there: a run that gave up does again what failed, and may now come to its end before what it did after
    that. It stays in the record, and what it published goes out."""
    if run.journal is None or not run.journal.is_resumed:
        yield False
        return
    outer, run.only_recorded = run.only_recorded, run.only_recorded or "halted"
    # How the list came to its end is decided.
    ended = (run.gave_up_on, run.timed_out_by, run.end_status)
    try:
        yield True
    finally:
        run.only_recorded = outer
        run.gave_up_on, run.timed_out_by, run.end_status = ended


def decided(run: Run, name: str, condition: Condition) -> bool:
    """Whether the condition `name` of the loop's iteration under way holds, or held when it was first looked at."""
    journal, step_key = run.journal, run.key
    key = f"{step_key}#{name}"
    noted = None if journal is None else journal.recall(key)
    if noted is not None:
        return bool(noted.decision)
    if run.only_recorded is not None:
        return False
    # A key of its own: what it draws must not depend on what was drawn before it, which a resumed run doesn't draw.
    run.scope.key = key
    try:
        holds = condition.holds(run.scope)
    finally:
        run.scope.key = step_key
    if journal is not None:
        journal.note_decision(key, holds)
    return holds


def is_unknown(step: PlannedStep, noted: Noted) -> bool:
    """Whether the step's call may not be made again, and nobody knows what became of it."""
    was_called = noted.result is None and not noted.is_decided and not noted.is_withdrawn
    return was_called and isinstance(step, PlannedAwaiting) and step.at_most_once


def unknown_outcome(step: PlannedStep) -> StepError:
    """The error of a call that was announced and whose answer nobody wrote down."""
    return StepError(
        "unknown_outcome",
        f"the worker ended while the call of step {step.id} was under way: whether it arrived is not known, and "
        "`on_unknown: fail` does not make it again",
    )
