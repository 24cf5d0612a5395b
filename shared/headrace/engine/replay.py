"""What the journal does to the flow: steps that were done are given again, steps that are done are written down."""

from collections.abc import Mapping
from typing import cast

from headrace.contracts.runs import StepResult
from headrace.engine.endings import Ending, after_failure
from headrace.engine.errors import StepError
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import CONTAINERS, PlannedAwaiting, PlannedCollect, PlannedSet, PlannedStep, PlannedStop
from headrace.engine.run import Run
from headrace.language import Condition


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
    if "error" in recorded:
        run.failed(recorded["error"])
        if noted.cut_off_by is not None:
            run.deadline_of = noted.cut_off_by
            return "timed_out"
        ends = isinstance(step, PlannedStop) and "message" in outputs
        return "error" if ends else after_failure(step, recorded["error"])
    return "stopped" if status == "stopped" else None


async def written_down(
    run: Run, journal: Journal, step: PlannedStep, result: StepResult, published: int, ending: Ending | None
) -> None:
    """Notes what the step did; an answer from outside is written at once, so that the call is not made again."""
    key = run.key
    if isinstance(step, CONTAINERS):
        _note_container(journal, key, result)
        return
    if ending == "gave_up":
        # When the run is resumed, it is with this step.
        journal.note_again(key)
        return
    journal.note(key, result, run.publications[published:], run.deadline_of if ending == "timed_out" else None)
    if isinstance(step, PlannedAwaiting) and step.effect not in ("none", "once"):
        await journal.write()


def _note_container(journal: Journal, key: str, result: StepResult) -> None:
    """What follows from the steps inside is not noted, but that the time was up; nor what was decided, which is."""
    if "children" not in result:
        if result["status"] != "no_condition_met":
            journal.note(key, result)
    elif result["status"] == "timed_out" and "error" in result:
        childless = result.copy()
        childless.pop("children")
        journal.note(key, childless)


def decided(run: Run, name: str, condition: Condition) -> bool:
    """Whether the condition `name` of the loop's iteration under way holds, or held when it was first looked at."""
    journal = run.journal
    if journal is None:
        return condition.holds(run.scope)
    key = f"{run.key}#{name}"
    noted = journal.recall(key)
    if noted is not None:
        return bool(noted.decision)
    if run.only_recorded:
        return False
    holds = condition.holds(run.scope)
    journal.note_decision(key, holds)
    return holds


def unknown_outcome(step: PlannedStep) -> StepError:
    """The error of a call that was announced and whose answer nobody wrote down."""
    return StepError(
        "unknown_outcome",
        f"the worker ended while the call of step {step.id} was under way: whether it arrived is not known, and "
        "`on_unknown: fail` does not make it again",
    )
