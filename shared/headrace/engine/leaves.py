"""The steps without steps inside: each function does one kind, into its result, and says whether the run ends so."""

from datetime import datetime, timedelta
from typing import NamedTuple, cast

from headrace.contracts.automation.values import delay_seconds
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Parent, derived_uuid, run_id
from headrace.contracts.representable import refuse_deep
from headrace.contracts.reserved import CALLED, Start
from headrace.contracts.runs import Attempt, StepResult
from headrace.contracts.topics import EVENTS
from headrace.engine.attempts import OutOfTime, attempt, is_cut_off
from headrace.engine.decisions import Park
from headrace.engine.endings import Ending, cut_off, cut_off_by_cancellation, finished
from headrace.engine.errors import StepError, StepTimeout
from headrace.engine.journal import Noted
from headrace.engine.plain import dumps
from headrace.engine.plan import (
    FURTHEST_DAYS,
    LONGEST_PAUSE_S,
    PlannedAwaiting,
    PlannedCall,
    PlannedCollect,
    PlannedDelay,
    PlannedFilter,
    PlannedPure,
    PlannedSet,
    PlannedStop,
)
from headrace.engine.publications import own_event, published
from headrace.engine.run import Run
from headrace.language.values import to_text, to_time


def do_pure(run: Run, step: PlannedPure, result: StepResult) -> None:
    """Renders the inputs of a step that only computes, and does it."""
    rendered = step.fields.render(run.scope)
    result["inputs"] = run.mask.value(step.step.stored(rendered))
    compute = step.ready or step.step.bind(rendered)
    finished(run, step, result, compute(run))


async def do_awaiting(run: Run, step: PlannedAwaiting, result: StepResult, began: float) -> Ending | None:
    """Does a step that waits, within its own time and the run's; what is cut off is really cancelled."""
    rendered = step.fields.render(run.scope)
    result["inputs"] = run.mask.value(step.step.stored(rendered))
    work = step.ready or step.step.bind(rendered)
    own_deadline = began + step.limit
    attempts: list[Attempt] = []
    try:
        outputs = await attempt(work, run, step, min(own_deadline, run.deadline), attempts)
    except OutOfTime:
        if run.cancellation.error is not None:
            return cut_off_by_cancellation(run, step, result, is_cut_off(attempts))
        if own_deadline < run.deadline:
            raise StepTimeout(step.limit) from None
        return cut_off(run, step, result)
    finally:
        if len(attempts) > 1:
            result["attempts"] = attempts
    finished(run, step, result, outputs)
    return None


def do_filter(run: Run, step: PlannedFilter, result: StepResult) -> Ending | None:
    """Ends the run where the condition is false."""
    holds = step.condition.holds(run.scope)
    finished(run, step, result, {"success": True, "result": holds})
    if holds:
        return None
    result["status"] = "stopped"
    return "stopped"


def do_collect(run: Run, step: PlannedCollect, result: StepResult) -> None:
    """Keeps the run's answer."""
    value = step.value.render(run.scope)
    run.collect(value)
    finished(run, step, result, {"success": True, "value": value})


def do_set(run: Run, step: PlannedSet, result: StepResult) -> None:
    """Sets the run's state."""
    values = step.fields.render(run.scope)
    run.set_state(values)
    finished(run, step, result, {"success": True, **values})


def do_stop(run: Run, step: PlannedStop, result: StepResult) -> Ending:
    """Ends the run."""
    message = to_text(step.message.render(run.scope))
    run.end_status = step.status
    if step.status == "error":
        error = StepError("stopped", message or f"the step {step.id} ended the run")
        result["status"] = "error"
        result["error"] = error.info
        finished(run, step, result, {"success": False, "message": message, "error": error.info})
        run.failed(error.info)
        return "error"
    result["status"] = "stopped"
    finished(run, step, result, {"success": True, "message": message})
    return "stopped"


class Called(NamedTuple):
    """A run that was asked for; `inputs` are the step's."""

    run_id: str
    inputs: object


def do_call(run: Run, step: PlannedCall, result: StepResult) -> None:
    """Starts another automation, and does not wait for it."""
    called = call(run, step)
    result["inputs"] = called.inputs
    automation = f"{run.job.app}/{step.automation}"
    finished(run, step, result, {"success": True, "automation": automation, "run_id": called.run_id})


def call(run: Run, step: PlannedCall) -> Called:
    """Publishes the event that starts another automation; its run is named already."""
    fields = step.fields.render(run.scope)
    inputs = run.mask.value({"automation": step.automation, "fields": fields})
    job, key = run.job, run.key
    parent = Parent(run_id=job.run_id, automation=job.automation, step=key, awaits=step.wait)
    event = own_event(job, derived_uuid(key), CALLED, run.now, subject=step.automation)
    body = dumps(Start(automation=step.automation, fields=fields, parent=parent).model_dump(exclude_none=True))
    try:
        refuse_deep(body, "call.fields")
    except ContractError as error:
        raise StepError("bad_input", error.message) from None
    run.publications.append(published(event, EVENTS.full_name(run.ports.prefix), job.key, body))
    return Called(run_id(job.app, step.automation, event), inputs)


async def do_delay(
    run: Run, step: PlannedDelay, result: StepResult, began: float, noted: Noted | None
) -> Ending | None:
    """Lets a short time pass, or what is left of a longer one; for that the run parks."""
    clock = run.ports.clock
    if noted is None:
        until, gives_up_at = end_of(run, step, clock.now()), None
        if step.timeout is not None and clock.now() + timedelta(seconds=step.timeout) < until:
            gives_up_at = clock.now() + timedelta(seconds=step.timeout)
    else:
        until, gives_up_at = cast("tuple[datetime, datetime | None]", noted.decision)
    result["inputs"] = {"until": until}
    wakes_at = gives_up_at or until
    pause = (wakes_at - clock.now()).total_seconds()
    if pause > LONGEST_PAUSE_S:
        if run.journal is None:
            raise StepError(
                "cannot_park",
                f"a delay of more than {LONGEST_PAUSE_S:g} s is waited for by the services only; give the step a stub",
            )
        if noted is None:
            run.journal.note_decision(run.key, (until, gives_up_at))
        run.park(Park(wakes_at, step.path))
        return "parked"
    if noted is not None and gives_up_at is not None:
        await clock.sleep(max(0.0, pause))
        raise StepTimeout(step.timeout or 0.0)
    if pause > 0:
        left = run.deadline - clock.perf()
        own = None if step.timeout is None else began + step.timeout - clock.perf()
        if own is not None and own < min(left, pause):
            await clock.sleep(max(0.0, own))
            raise StepTimeout(step.timeout or 0.0)
        await clock.sleep(min(pause, max(0.0, left)))
        if pause > left:
            return cut_off(run, step, result)
    finished(run, step, result, {"success": True, "until": until})
    return None


def end_of(run: Run, step: PlannedDelay, now: datetime) -> datetime:
    """When a delay is over that begins `now`; raises StepError `bad_input`."""
    if step.seconds is not None:
        try:
            length = delay_seconds(step.seconds.render(run.scope))
        except ValueError as error:
            raise StepError("bad_input", f"delay.for: {error}") from None
        return now + timedelta(seconds=length)
    until = None if step.until is None else to_time(step.until.render(run.scope))
    if until is None:
        raise StepError("bad_input", "delay.until: expected a time such as 2013-01-31T10:00:00Z")
    if until - now > timedelta(days=FURTHEST_DAYS):
        told = (
            f"delay.until: more than {FURTHEST_DAYS} days ahead; where a run is to go on later, let a trigger start one"
        )
        raise StepError("bad_input", told)
    return until
