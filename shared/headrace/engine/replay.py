"""What the journal does to the flow: steps that were done are given again, steps that are done are written down."""

from collections.abc import Mapping
from typing import Literal, cast

from headrace.contracts.runs import StepResult
from headrace.engine.errors import StepError
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import PlannedAwaiting, PlannedBranch, PlannedCollect, PlannedStep
from headrace.engine.run import Run

Ending = Literal["stopped", "error", "timed_out", "handed_over", "replayed"]
"""Why a run, or a list of steps in it, ends before its last step. `handed_over`: the run goes on later, in another
segment. `replayed`: all that the journal knows of a branch that failed as a whole is done again."""


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
    if "error" in recorded:
        run.failed(recorded["error"])
        if noted.cut_off_by is not None:
            run.deadline_of = noted.cut_off_by
            return "timed_out"
        return "error" if step.stops_on_error else None
    return "stopped" if status == "stopped" else None


async def written_down(
    run: Run, journal: Journal, step: PlannedStep, result: StepResult, published: int, ending: Ending | None
) -> None:
    """Notes what the step did; an answer from outside is written at once, so that the call is not made again."""
    key = run.key
    if isinstance(step, PlannedBranch):
        if "error" in result and "children" in result:
            childless = result.copy()
            childless.pop("children")
            journal.note(key, childless)
        elif "children" not in result and result["status"] != "no_condition_met":
            journal.note(key, result)
        return
    journal.note(key, result, run.publications[published:], run.deadline_of if ending == "timed_out" else None)
    if isinstance(step, PlannedAwaiting) and step.effect not in ("none", "once"):
        await journal.write()


def unknown_outcome(step: PlannedStep) -> StepError:
    """The error of a call that was announced and whose answer nobody wrote down."""
    return StepError(
        "unknown_outcome",
        f"the worker ended while the call of step {step.id} was under way: whether it arrived is not known, and "
        "`on_unknown: fail` does not make it again",
    )
