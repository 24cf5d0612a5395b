"""How steps, and with them runs, come to an end."""

from collections.abc import Mapping
from typing import Literal

from headrace.contracts.jobs import Job
from headrace.contracts.runs import ErrorInfo, RunStatus, StepResult, StepStatus
from headrace.engine.decisions import Decision, GaveUp, HandOver, Hold, Park, Postpone, Retry
from headrace.engine.errors import MAX_MESSAGE, StepError, StepTimeout
from headrace.engine.plan import PlannedAwaiting, PlannedStep, PlannedStub
from headrace.engine.run import Run

Ending = Literal["stopped", "error", "timed_out", "handed_over", "gave_up", "parked", "cancelled", "replayed", "halted"]
"""Why a run, or a list of steps in it, ends before its last step.

`handed_over`: the run goes on later, in another segment. `gave_up`: a step failed that is worth another try later.
`parked`: a step waits for longer than a worker is held for. `cancelled`: somebody asked for it.
`replayed`: all that the journal knows of a step that ran out of its time is done again. `halted`: a strand beside this
one has ended the run.
"""

_GRAVEST: tuple[Ending, ...] = (
    "cancelled",
    "error",
    "stopped",
    "gave_up",
    "timed_out",
    "handed_over",
    "parked",
    "replayed",
    "halted",
)

_STATUSES: Mapping[str, StepStatus] = {
    "max_iterations": "max_iterations",
    "failure_condition": "failure_condition",
    "incorrect_type": "incorrect_type",
}
"""Errors of loops that are statuses of their own, as users of their predecessor know them."""


def finished(run: Run, step: PlannedStep, result: StepResult, outputs: Mapping[str, object]) -> None:
    """The step has these outputs."""
    result["outputs"] = outputs
    run.leave(step.names, step.id, step.name or step.id, outputs)


def failed(run: Run, step: PlannedStep, result: StepResult, error: StepError) -> Ending | None:
    """Captures a failure where it happened; it ends the run only if the step's policy says so."""
    info = error.info
    result["status"] = "timed_out" if isinstance(error, StepTimeout) else _STATUSES.get(error.type, "error")
    result["error"] = info
    finished(run, step, result, {**(error.outputs or {}), "success": False, "error": info})
    return after_failure(run, step, info, error.retry_after)


def after_failure(run: Run, step: PlannedStep, error: ErrorInfo, retry_after: float | None = None) -> Ending | None:
    """Counts the failure, and says what the step's policy makes of it.

    By default what may pass, of a call to others, is tried again later. A call that is made at most once never is: the
    run ends where its policy would be to try again.
    """
    counted(run, step, error)
    is_made_once = _is_made_once(step)
    policy = step.on_error
    if policy is None:
        acting = step.stands_for if isinstance(step, PlannedStub) else step
        may_pass = isinstance(acting, PlannedAwaiting) and error["retryable"] and not is_made_once
        policy = "retry" if may_pass else "contain"
    if policy == "contain":
        return None
    if policy == "stop" or is_made_once:
        return "error"
    run.gave_up_on = GaveUp(step.path, error, retry_after)
    return "gave_up"


def counted(run: Run, step: PlannedStep, error: ErrorInfo) -> None:
    """Counts the failure; what is called at most once is not done again, whatever becomes of the run."""
    run.failed(error, None if _is_made_once(step) else run.key)


def _is_made_once(step: PlannedStep) -> bool:
    acting = step.stands_for if isinstance(step, PlannedStub) else step
    return isinstance(acting, PlannedAwaiting) and acting.at_most_once


def cut_off(run: Run, step: PlannedStep, result: StepResult) -> Ending:
    """The time of the run, or of a step around this one, is up while the step is under way."""
    of = f"the step {run.deadline_of}" if run.deadline_of else "the run"
    info: ErrorInfo = {"type": "timeout", "message": f"cut off: the timeout of {of} passed", "retryable": True}
    result["status"] = "timed_out"
    result["error"] = info
    finished(run, step, result, {"success": False, "error": info})
    counted(run, step, info)
    run.timed_out_by = run.deadline_of
    return "timed_out"


def cut_off_by_cancellation(run: Run, step: PlannedAwaiting, result: StepResult, was_calling: bool) -> Ending:
    """The run is cancelled while the step is under way; `was_calling`: in an attempt, and not between two."""
    if step.effect == "none":
        told = "it does nothing outside of the run"
    elif was_calling:
        told = "its call was under way: whether it had its effect is not known"
    else:
        told = "its attempts had failed, and none was under way"
    error: ErrorInfo = {
        "type": "cancelled",
        "message": f"cut off by the run's cancellation; {told}",
        "retryable": False,
    }
    result["status"] = "cancelled"
    result["error"] = error
    finished(run, step, result, {"success": False, "error": error})
    return "cancelled"


def chain_too_long(job: Job, most: int) -> ErrorInfo:
    """The error of a run that is refused: more than `most` led to it. Names the way, and the circle if it is one."""
    this = f"{job.app}/{job.automation}"
    text = f"not run: {len(job.chain)} runs led here, {most} may: {' → '.join((*job.chain, this))}"
    if this in job.chain:
        text += "; these start each other in a circle"
    return {"type": "chain_too_long", "message": text[:MAX_MESSAGE], "retryable": False}


def run_timeout(seconds: float) -> ErrorInfo:
    """The error of a run whose time is up."""
    return {"type": "run_timeout", "message": f"the run's timeout of {seconds:g} s passed", "retryable": True}


def gravest(endings: list[Ending | None]) -> Ending | None:
    """The one of several strands' endings that decides what becomes of the run."""
    return next((ending for ending in _GRAVEST if ending in endings), None)


def step_status(ending: Ending) -> StepStatus | None:
    """The status of a step inside of which the run ended so; None where the run goes on."""
    if ending in ("stopped", "error", "timed_out", "cancelled"):
        return ending
    if ending == "replayed":
        # There its time was up when the run was first there.
        return "timed_out"
    return "error" if ending == "gave_up" else None


def run_status(run: Run, ending: Ending | None, decision: Decision | None) -> RunStatus:
    """The status of a run that ended so; `decision` where it is not at its end."""
    if decision is not None:
        return (
            "waiting"
            if isinstance(decision, Park | Hold | Postpone)
            else ("retrying" if isinstance(decision, HandOver | Retry) else "dead_lettered")
        )
    if ending in ("timed_out", "cancelled"):
        return ending
    if run.first_error is not None:
        return "error"
    if ending == "stopped":
        return run.end_status or "stopped"
    return "success"
