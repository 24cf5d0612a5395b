"""A step's tries in place: which failures are worth another, how long to wait, and when time forbids it."""

from collections.abc import Sequence
from datetime import datetime
from random import random

from headrace.contracts.automation import Retry
from headrace.contracts.runs import Attempt
from headrace.engine.errors import StepError
from headrace.engine.ports import Clock
from headrace.engine.run import Run
from headrace.engine.steps.base import Outputs, Perform


async def attempt(work: Perform, run: Run, retry: Retry, give_up_at: float, attempts: list[Attempt]) -> Outputs:
    """The outputs of the first attempt that succeeds; every attempt is appended to `attempts`.

    Only failures that may pass, or those of `retry.on`, are tried again, after the backoff or what the other side asked
    for, whichever is longer, and only if that ends before `give_up_at` (of `Clock.perf`). Raises the last StepError.
    """
    clock = run.ports.clock
    backoff = retry.backoff
    while True:
        entry = _begin(clock.now(), attempts)
        began = clock.perf()
        try:
            outputs = await work(run)
        except StepError as error:
            entry["error"] = error.info
            # Chance shortens a wait and never lengthens it: the backoff is the most that an author waits.
            wait = max(backoff * (1.0 - retry.jitter * random()), error.retry_after or 0.0)
            out_of_time = clock.perf() + wait >= give_up_at
            may_pass = error.retryable if retry.on is None else error.type in retry.on
            if not may_pass or len(attempts) >= retry.attempts or out_of_time:
                raise
        else:
            entry["error"] = None
            return outputs
        finally:
            entry["duration_ms"] = milliseconds(began, clock)
        await clock.sleep(wait)
        backoff = min(backoff * retry.factor, retry.max)


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
