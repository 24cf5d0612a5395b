"""All checks over what was seen."""

from collections.abc import Callable, Mapping

from headrace.chaos.checks import (
    Finding,
    attempts,
    cancelled,
    clocks,
    counted,
    effects,
    held,
    order,
    runs,
    streams,
    waiting,
)
from headrace.chaos.observations import Observations

Check = Callable[[Observations], Finding]

CHECKS: Mapping[str, Check] = {
    "one run per event": runs.each_event_has_one_run,
    "rows once": effects.each_row_once,
    "one key per step": effects.each_step_has_one_key,
    "resends explained": effects.each_resend_is_explained,
    "once never twice": effects.once_is_never_twice,
    "order per lane": order.lanes_start_in_order,
    "finals final": runs.finals_are_final,
    "none executed twice": runs.none_executed_twice,
    "no attempt used up": attempts.each_attempt_is_explained,
    "never early": waiting.nothing_is_early,
    "nothing waits": waiting.nothing_waits,
    "the cancelled end": cancelled.the_cancelled_end,
    "the paused stand still": held.the_paused_stand_still,
    "each time ticks once": clocks.each_time_ticks_once,
    "all is counted": counted.all_is_counted,
    "nothing left": streams.nothing_is_left,
    "no partition stuck": streams.no_partition_is_stuck,
    "nothing leaked": streams.nothing_is_leaked,
    "nothing died by itself": streams.nothing_died_by_itself,
}
"""By the names that reports use; docs/chaos.md says what each means."""


def judge(seen: Observations) -> dict[str, Finding]:
    """What each check found."""
    return {name: check(seen) for name, check in CHECKS.items()}
