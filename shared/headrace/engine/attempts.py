"""A step's tries in place: which failures are worth another, how long to wait, and when time forbids it."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from random import random

from headrace.contracts.runs import Attempt
from headrace.engine.errors import StepError
from headrace.engine.plan import PlannedAwaiting
from headrace.engine.ports import Clock
from headrace.engine.run import Run
from headrace.engine.steps.base import Outputs, Perform


class OutOfTime(Exception):
    """The time was up, or the run was cancelled; an attempt that was under way was cut off."""


async def attempt(
    work: Perform, run: Run, step: PlannedAwaiting, give_up_at: float, attempts: list[Attempt]
) -> Outputs:
    """The outputs of the first attempt that succeeds; every attempt is appended to `attempts`.

    Only failures that may pass, or those of `retry.on`, are tried again, and of a call that is made at most once only
    those after which it is certain that nothing was done: after the backoff or what the other side asked for, whichever
    is longer, and only if that ends before `give_up_at` (of `Clock.perf`). Raises the last StepError, and OutOfTime.
    """
    clock, retry = run.ports.clock, step.retry
    backoff = retry.backoff
    while True:
        if run.cancellation.error is not None:
            raise OutOfTime
        await _announced(run, step, is_first=not attempts)
        entry = _begin(clock.now(), attempts)
        began = clock.perf()
        try:
            outputs = await _in_time(work, run, step, give_up_at)
        except StepError as error:
            entry["error"] = error.info
            # Chance shortens a wait and never lengthens it: the backoff is the most that an author waits.
            wait = max(backoff * (1.0 - retry.jitter * random()), error.retry_after or 0.0)
            out_of_time = clock.perf() + wait >= give_up_at
            if not _is_worth_another(step, error) or len(attempts) >= retry.attempts or out_of_time:
                raise
        else:
            entry["error"] = None
            return outputs
        finally:
            entry["duration_ms"] = milliseconds(began, clock)
        if step.at_most_once and run.journal is not None:
            # The wait may outlast the worker: nobody must take this call for one whose fate is unknown.
            await run.journal.withdraw(run.key)
        await _pause(run, wait)
        backoff = min(backoff * retry.factor, retry.max)


async def _announced(run: Run, step: PlannedAwaiting, *, is_first: bool) -> None:
    """What the journal must know before a call to others is made.

    That it is made, of one that may be made once, and of one beside which the run may end: a resumed run, in which that
    end comes before the call, would not know that there was one.
    """
    if run.journal is None or step.effect in ("none", "once"):
        return
    if step.at_most_once or (run.is_ended_beside and is_first):
        await run.journal.announce(run.key)
    else:
        await run.journal.write_answers()


async def _in_time(work: Perform, run: Run, step: PlannedAwaiting, give_up_at: float) -> Outputs:
    # What is written to our own database is not cut off: whether it was written would be unknown. Nor is the journal.
    limit = asyncio.timeout(None if step.effect == "once" else give_up_at - run.ports.clock.perf())
    try:
        async with limit:
            with nullcontext() if step.effect == "once" else run.cancellation.cutting(limit):
                return await work(run)
    except TimeoutError:
        if not limit.expired():
            raise
        raise OutOfTime from None


async def _pause(run: Run, seconds: float) -> None:
    """Ends early where the run is cancelled."""
    pause = asyncio.timeout(None)
    try:
        async with pause:
            with run.cancellation.cutting(pause):
                await run.ports.clock.sleep(seconds)
    except TimeoutError:
        if not pause.expired():
            raise


def _is_worth_another(step: PlannedAwaiting, error: StepError) -> bool:
    if step.at_most_once and not error.nothing_done:
        return False
    return error.retryable if step.retry.on is None else error.type in step.retry.on


def milliseconds(began: float, clock: Clock) -> float:
    """Since `began`, a moment of `Clock.perf`, to the microsecond."""
    return rounded(clock.perf() - began)


def rounded(seconds: float) -> float:
    """`seconds`, not negative, in milliseconds to the microsecond: `round` takes five times as long."""
    return int(seconds * 1e6 + 0.5) / 1000


def _begin(at: datetime, attempts: list[Attempt]) -> Attempt:
    # What stands if the attempt is cut off: only a timeout does that and leaves a record.
    entry: Attempt = {"started_at": at, "duration_ms": 0.0, "error": _CUT_OFF}
    attempts.append(entry)
    return entry


def is_cut_off(attempts: Sequence[Attempt]) -> bool:
    """Whether the last attempt was under way when all came to an end."""
    return bool(attempts) and attempts[-1]["error"] is _CUT_OFF


_CUT_OFF = StepError("timeout", "cut off by a timeout", retryable=True).info
