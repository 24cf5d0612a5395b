"""Time: what waits goes on, never before its time, and at the end nothing waits."""

from collections.abc import Iterable
from itertools import pairwise

from headrace.chaos.checks.effects import SECOND_US
from headrace.chaos.checks.runs import grouped
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import HttpCall, Observations, RunSeen

UNTIL_A_TIME = frozenset(("timer", "retry"))
"""What a run waits for that only time ends; an event may come before the time that its record tells."""

MILLISECOND_US = 1_000
"""Brokers tell no less."""


def nothing_is_early(seen: Observations) -> Finding:
    """No run goes on before the time that its record tells, and between two calls there is the time that the load puts
    there; a cancelled run ends when it is told to."""
    violations = [*_early_records(seen), *_early_calls(seen)]
    waits = [run for run in seen.runs if run.waits_for in UNTIL_A_TIME]
    counts = {
        "waits_for_a_time": sum(run.waits_for == "timer" for run in waits),
        "waits_in_a_tier": sum(run.waits_for == "retry" for run in waits),
        "waits_for_an_event": sum(run.waits_for == "event" for run in seen.runs),
    }
    return Finding(tuple(violations), counts)


def nothing_waits(seen: Observations) -> Finding:
    """At the end no timer is pending, and nobody owns a run."""
    violations = [
        Violation(timer.id, "its timer is still pending", (f"{timer.place}, due {timer.due}",)) for timer in seen.timers
    ]
    violations += [Violation(run, "its head is still open: somebody owns it") for run in seen.open_heads]
    return Finding(tuple(violations), {"timers_pending": len(seen.timers), "heads_open": len(seen.open_heads)})


def _early_records(seen: Observations) -> Iterable[Violation]:
    by_run = grouped(seen.runs, lambda run: (run.run, run.generation))
    for (id, _), records in by_run.items():
        for before, after in pairwise(sorted(records, key=lambda run: (run.sequence, run.appended))):
            is_told = before.due is not None and before.waits_for in UNTIL_A_TIME and after.sequence > before.sequence
            if not is_told or after.status == "cancelled":
                continue
            early = (before.due or 0) - (after.appended + MILLISECOND_US)
            if early > 0:
                what = f"went on {early / SECOND_US:.3f} s before its time ({before.waits_for})"
                yield Violation(id, what, (_told(before), _told(after)))


def _early_calls(seen: Observations) -> Iterable[Violation]:
    first: dict[tuple[str, str], HttpCall] = {}
    for call in seen.calls:
        first.setdefault((call.run, call.path), call)
    for pause in seen.pauses:
        for (run, path), after in first.items():
            before = first.get((run, pause.before))
            if path != pause.after:
                continue
            if before is None or after.arrived - before.arrived < pause.least_s * SECOND_US:
                since = "without" if before is None else f"{(after.arrived - before.arrived) / SECOND_US:.3f} s after"
                yield Violation(run, f"{path} was called {since} {pause.before}, expected {pause.least_s:g} s")


def _told(run: RunSeen) -> str:
    return f"{run.place} {run.status}, sequence {run.sequence}, appended {run.appended} µs, due {run.due} µs"
