"""Streams and processes: all is committed, every partition moved on, nothing died or stayed behind."""

from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import FaultSeen, GaveUpSeen, Observations

SECOND_US = 1_000_000

NOTICED_US = 60 * SECOND_US
"""How long after a fault a process may still find that it cannot go on: Kafka's Python client gives a request up after
40 s, and some seconds go by until that is told."""

CUTS_OFF = frozenset(("broker", "pause", "cut", "half-open", "delay"))
"""Faults that take Kafka away from a process, or its place in its group."""


def nothing_is_left(seen: Observations) -> Finding:
    """Every group has committed all that its topics hold, and the system came to rest before the deadline."""
    violations = [
        Violation(str(partition), f"lag {stand.lag}", (f"committed {stand.committed}, end {stand.end}",))
        for partition, stand in seen.at_end.items()
        if stand.lag > 0
    ]
    if not seen.quiet:
        violations.append(Violation("the system", "did not come to rest before the deadline"))
    return Finding(tuple(violations), {"lag": sum(max(0, stand.lag) for stand in seen.at_end.values())})


def no_partition_is_stuck(seen: Observations) -> Finding:
    """A partition that had something to do once the faults were over has committed some of it since."""
    busy = {partition: stand for partition, stand in seen.after_faults.items() if stand.lag > 0}
    grown = {
        partition: seen.after_faults[partition]
        for partition, stand in seen.at_end.items()
        if partition in seen.after_faults and stand.end > seen.after_faults[partition].end
    }
    due = {**grown, **busy}
    violations = [
        Violation(str(partition), "stuck", (f"committed {before.committed} then, {now.committed} now, end {now.end}",))
        for partition, before in due.items()
        if (now := seen.at_end.get(partition, before)).committed <= before.committed
    ]
    return Finding(tuple(violations), {"partitions": len(seen.at_end), "moved": len(due) - len(violations)})


def nothing_is_leaked(seen: Observations) -> Finding:
    """Once the harness has ended its processes, none of them, nor any that one of them started, lives."""
    violations = [Violation(f"{each.name} ({each.pid})", each.what) for each in seen.leaked]
    return Finding(tuple(violations), {"leaked": len(seen.leaked)})


def nothing_died_by_itself(seen: Observations) -> Finding:
    """No service ends unless it is told to, or a poison step of the load ends it: a fence or an outage is no crash.

    Insights may end itself and say why, after a fault that takes Kafka or its place in its group away from it.
    """
    violations = [Violation(f"{each.name} ({each.pid})", each.what) for each in seen.died]
    violations += [
        Violation(f"{each.target} ({each.pid})", f"gave up, and no fault explains it: {each.reason}")
        for each in seen.gave_up
        if not any(_explains(fault, each) for fault in seen.faults)
    ]
    return Finding(tuple(violations), {"died": len(seen.died), "gave_up": len(seen.gave_up)})


def _explains(fault: FaultSeen, end: GaveUpSeen) -> bool:
    if fault.kind not in CUTS_OFF or not fault.began <= end.at <= fault.ended + NOTICED_US:
        return False
    return fault.kind == "broker" or fault.target.split()[0] == end.target
