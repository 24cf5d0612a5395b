"""The steps that wait for others: for an event, or for the end of the run that they called."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from headrace.contracts import limits
from headrace.contracts.reserved import ENDED
from headrace.contracts.resumptions import Answer
from headrace.contracts.runs import StepResult
from headrace.engine.decisions import Awaited, Park
from headrace.engine.endings import Ending, finished
from headrace.engine.errors import StepError, StepTimeout
from headrace.engine.journal import Journal, Noted
from headrace.engine.leaves import call
from headrace.engine.plan import LONGEST_WAIT_S, PlannedCall, PlannedWait
from headrace.engine.run import Run
from headrace.language.values import to_text

SINCE_BEFORE = timedelta(seconds=1)
"""Of the run's start. The matcher writes the run's job and an event that came right after its trigger in one
transaction, to partitions whose leaders stamp them milliseconds apart, on clocks that agree as well as that."""

LEAST_PARKED_S = 1.0
"""Less than this may be left of a time whose timer has fired: the scheduler's clock is ahead. It is slept, as to park
again would be to be woken again at once."""

LAST_LOOK_S = 10.0
"""What the scheduler may take to tell of an event that has come in time: milliseconds, and after a crash as long as
another needs to have the partition."""

_WELL = ("success", "stopped")


async def do_wait(run: Run, step: PlannedWait, result: StepResult, noted: Noted | None) -> Ending | None:
    """Parks until the event comes that is waited for; its data are the outputs."""
    journal, limit = _journal(run, "wait_for_event"), _shorter(step.limit, step.timeout)
    begun = _begun(noted)
    if begun is None:
        key = to_text(step.key.render(run.scope))
        if not key:
            raise StepError("bad_input", "wait_for_event.key: it is empty, and no event's key is")
        if len(key.encode(errors="replace")) > limits.ATTRIBUTE:
            raise StepError("bad_input", f"wait_for_event.key: an event's key has at most {limits.ATTRIBUTE} bytes")
        awaited = _awaited(run, journal, step.type, key, limit)
        inputs = run.mask.value({"type": step.type, "key": key, "until": awaited.until})
        journal.note_decision(run.key, (awaited, inputs))
    else:
        awaited, inputs = begun
    result["inputs"] = inputs

    def matches(answer: Answer) -> bool:
        return not _caused(run, answer) and (step.match is None or _holds(run, step, answer))

    answer = await _answer(run, journal, awaited, inputs, step.path, limit, matches)
    if answer is None:
        return "parked"
    event = answer.event
    told = {"id": event.id, "source": event.source, "type": event.type, "time": event.time}
    finished(run, step, result, {"success": True, "data": answer.data, "event": told})
    return None


async def do_awaited_call(run: Run, step: PlannedCall, result: StepResult, noted: Noted | None) -> Ending | None:
    """Starts another automation and parks until its run has ended; a run that failed fails the step."""
    journal, limit = _journal(run, "call with `wait: true`"), _shorter(LONGEST_WAIT_S, step.timeout)
    begun = _begun(noted)
    if begun is None:
        called = call(run, step)
        awaited = _awaited(run, journal, ENDED, called.run_id, limit)
        inputs = called.inputs
        journal.note_decision(run.key, (awaited, inputs), run.publications[-1:])
    else:
        awaited, inputs = begun
    result["inputs"] = inputs
    answer = await _answer(run, journal, awaited, inputs, step.path, limit, lambda _: True)
    if answer is None:
        return "parked"
    end = cast("Mapping[str, object]", answer.data)
    outputs: dict[str, object] = {
        "automation": f"{run.job.app}/{step.automation}",
        "run_id": awaited.key,
        "status": end.get("status"),
        "error": end.get("error"),
        "collected": end.get("collected"),
    }
    if end.get("status") not in _WELL:
        error = cast("Mapping[str, object]", end.get("error") or {})
        why = f": {error.get('type')}: {error.get('message')}" if error else ""
        raise StepError("call_failed", f"the called run ended as {end.get('status')}{why}", outputs=outputs)
    finished(run, step, result, {"success": True, **outputs})
    return None


def is_begun(step: object, noted: Noted | None) -> bool:
    """Whether the step is one that waits, has begun to, and has not ended."""
    waits = isinstance(step, PlannedWait) or (isinstance(step, PlannedCall) and step.wait)
    return waits and noted is not None and noted.result is None


def has_answer(run: Run, journal: Journal) -> bool:
    """Whether the run was resumed with an event that its step has not looked at. Whoever left now would get it again,
    but might then find the step's time over, although it came in time."""
    answer = run.answer
    if answer is None or run.strands.have_answer:
        return False
    noted = journal.recall(answer.step)
    return noted is not None and noted.result is None


def _journal(run: Run, what: str) -> Journal:
    if run.journal is None:
        raise StepError("cannot_park", f"{what} is waited for by the services only; give the step a stub")
    return run.journal


def _shorter(limit: float, own: float | None) -> float:
    return limit if own is None else min(limit, own)


def _begun(noted: Noted | None) -> tuple[Awaited, object] | None:
    """What the step waits for, and its inputs; None where it begins, or begins again after its time was up."""
    if noted is None or noted.decision is None:
        return None
    awaited, inputs = cast("tuple[tuple[object, ...], object]", noted.decision)
    return Awaited(*cast("Any", awaited)), inputs


def _awaited(run: Run, journal: Journal, type: str, key: str, limit: float) -> Awaited:
    since = journal.first_job_time(run.now) - SINCE_BEFORE
    return Awaited(run.key, type, key, since, run.ports.clock.now() + timedelta(seconds=limit), -1)


async def _answer(
    run: Run,
    journal: Journal,
    awaited: Awaited,
    inputs: object,
    path: str,
    limit: float,
    is_meant: Callable[[Answer], bool],
) -> Answer | None:
    """The answer, if the run was resumed with it and it is meant; else None, and the run parks.

    An event is taken by one step of a run, so that two that wait for the same do not take it for two. Raises
    StepTimeout once the time is up. Where anything else than the timer has resumed the run, or nothing has, it had not
    asked for all that came in time: then it does so once more, and again after each event that it passes over.
    """
    answer, clock, segment = run.answer, run.ports.clock, (run.job.generation, run.job.segment)
    is_passed_over = False
    if answer is not None and answer.step == run.key:
        run.strands.have_answer = True
    if answer is not None and answer.step == run.key and answer.at > awaited.after:
        event = answer.event.source, answer.event.id
        if journal.taker_of(event) in (None, run.key) and is_meant(answer):
            journal.note_taken(run.key, event)
            return answer
        awaited, is_passed_over = awaited._replace(after=answer.at), True
        journal.note_decision(run.key, (awaited, inputs))
    over = awaited.over or awaited.until
    left = (over - clock.now()).total_seconds()
    is_timer = answer is None and journal.has_parked_before(run.job)
    has_looked = awaited.over is not None and tuple(awaited.looked) < segment
    # Behind an event that was passed over may stand another one that came in time, and each is told of by itself.
    asks_again = left < LAST_LOOK_S if is_passed_over else left <= LEAST_PARKED_S and not is_timer and not has_looked
    if asks_again:
        over, left = clock.now() + timedelta(seconds=LAST_LOOK_S), LAST_LOOK_S
        awaited = awaited._replace(over=over, looked=segment)
        journal.note_decision(run.key, (awaited, inputs))
    if left <= LEAST_PARKED_S:
        await clock.sleep(max(0.0, left))
        journal.note_decision(run.key, None)
        raise StepTimeout(limit)
    run.park(Park(over, path, (awaited,)))
    return None


def _caused(run: Run, answer: Answer) -> bool:
    """Whether the event is the one that started the run, which may be of the type that it waits for."""
    cause = run.job.cause
    return (answer.event.source, answer.event.id) == (cause.source, cause.id)


def _holds(run: Run, step: PlannedWait, answer: Answer) -> bool:
    event = answer.event
    facts: dict[str, str | datetime] = {"id": event.id, "source": event.source, "type": event.type, "time": event.time}
    with run.seeing({"data": answer.data, "event": facts}):
        return step.match is None or step.match.holds(run.scope)
