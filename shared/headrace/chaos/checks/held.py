"""Pauses: while an automation is paused none of its runs begins a step, and its clock stands still."""

from collections.abc import Iterable

from headrace.chaos.checks.cancelled import is_slept_through
from headrace.chaos.checks.effects import SECOND_US
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import HoldSeen, Observations

UNDER_WAY_US = 3 * SECOND_US
"""How long after every process knows a pause a call may still come: of a run that was under way then and goes on until
it next waits. Calls of the load are answered within 0.1 s, and one that fails is made again within 1 s."""

FIRED_US = 1 * SECOND_US
"""How long a tick may be under way when its clock's pause becomes known: one transaction."""


def the_paused_stand_still(seen: Observations) -> Finding:
    """No call comes from a run of an automation that is paused, but for those of runs that were under way, and those of
    a worker that slept through the pause; and no tick.

    That those that were held all go on is for the checks of runs: they are expected as if there had been no pause.
    """
    automations = {run.id: run.automation for run in seen.expected}
    violations = [each for hold in seen.holds for each in _begun(hold, automations, seen)]
    counts = {
        "pauses": len(seen.holds),
        "held": len({run.run for run in seen.runs if run.waits_for == "pause"}),
    }
    return Finding(tuple(violations), counts)


def _begun(hold: HoldSeen, automations: dict[str, str], seen: Observations) -> Iterable[Violation]:
    for call in seen.calls:
        if automations.get(call.run) != hold.automation or not hold.known + UNDER_WAY_US < call.arrived < hold.resumed:
            continue
        if not is_slept_through(call, seen):
            what = f"called {call.path} {(call.arrived - hold.known) / SECOND_US:.1f} s after its pause was known"
            yield Violation(call.run, what, (str(hold), str(call)))
    for tick in seen.ticks:
        if tick.automation == hold.automation and hold.known + FIRED_US < tick.appended < hold.resumed:
            what = f"ticked {(tick.appended - hold.known) / SECOND_US:.1f} s after its pause was known"
            yield Violation(str(tick.place), what, (str(hold), str(tick)))
