"""Clocks: each time of one ticks once, none before its moment, and none is left out while it is live."""

from headrace.chaos.checks.effects import SECOND_US
from headrace.chaos.checks.runs import grouped
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.checks.waiting import MILLISECOND_US
from headrace.chaos.loads.clocks import times
from headrace.chaos.observations import Observations, TickSeen


def each_time_ticks_once(seen: Observations) -> Finding:
    """From when a clock went live until it was withdrawn each of its times has one tick, not before that time; no other
    time has one. That each tick has one run is for the checks of runs."""
    violations: list[Violation] = []
    wanted = 0
    found = grouped(seen.ticks, lambda tick: (tick.automation, tick.scheduled))
    known: set[tuple[str, int]] = set()
    for clock in seen.clocks:
        for time in times(clock.since, clock.until):
            known.add((clock.automation, time))
            ticks = found[clock.automation, time]
            wanted += time <= clock.sure_until
            if len(ticks) > 1 or (not ticks and time <= clock.sure_until):
                what = f"its time {_told(time)} ticked {len(ticks)} times"
                violations.append(Violation(clock.automation, what, _evidence(ticks) or (str(clock),)))
    for (automation, time), ticks in found.items():
        if (automation, time) not in known:
            what = f"ticked for {_told(time)}, which is none of its times while it was live"
            violations.append(Violation(automation, what, _evidence(ticks)))
        for tick in ticks:
            if tick.appended + MILLISECOND_US < time:
                what = f"ticked {(time - tick.appended) / SECOND_US:.3f} s before its time {_told(time)}"
                violations.append(Violation(automation, what, _evidence([tick])))
    return Finding(tuple(violations), {"ticks_expected": wanted, "ticks": len(seen.ticks)})


def _told(time: int) -> str:
    return f"{time / SECOND_US:.0f}"


def _evidence(ticks: list[TickSeen]) -> tuple[str, ...]:
    return tuple(f"{tick.place} for {tick.scheduled} µs, appended {tick.appended} µs" for tick in ticks)
