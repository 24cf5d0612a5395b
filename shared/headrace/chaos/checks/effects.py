"""Effects: each row once; each call under one key, repeated only where a fault or a failure explains it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from headrace.chaos.checks.runs import grouped
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.loads.base import APP, STEP_ATTEMPTS, STEP_TIMEOUT_S, Call, Row
from headrace.chaos.observations import FaultSeen, HttpCall, Observations

SECOND_US = 1_000_000

IN_FLIGHT_US = int((STEP_TIMEOUT_S + 5) * SECOND_US)
"""A call that arrived longer than this before a fault was not in flight any more: its step had ended by its time-out,
and a few seconds are enough for the commit of its run."""

SETTLED_US = 10 * SECOND_US
"""How long after its end a fault still explains what happens: sessions run out after 3 s, transactions after 3.5 s, a
woken process finds out with its next write. When a process that was started joins is a fault of its own (`start`): on a
busy machine that takes longer."""

COMMITTED_US = 4 * SECOND_US
"""A final record that was appended longer ago than this was committed: transactions time out after 3 s."""

SLEEPERS = frozenset(("pause", "cut", "half-open", "delay", "broker", "mongod"))
"""Faults after which a worker may go on with a run that another has ended meanwhile: it does not know yet."""

SERVER_ERROR = 500
"""A call that was answered with this or more has failed, and its step tries again."""


def each_row_once(seen: Observations) -> Finding:
    """Every row that an event must lead to is there exactly once, and no other; while something waits, at most once.

    One that its run may not have come to, because it was cancelled, is there if its record says so.
    """
    living = [run for run in seen.expected if not run.dead]
    come_to = _late_rows(seen)
    expected = Counter(row for run in living for row in run.rows) + Counter(come_to)
    sure = Counter(row for run in living if run.origin not in seen.uncertain for row in run.rows) + Counter(come_to)
    found = Counter(Row(row.table, str(row.columns.get("event"))) for row in seen.rows if row.app == APP)
    violations = [
        Violation(f"row of {row.table} for {row.event}", f"is there {found[row]} times, expected {wanted}")
        for row, wanted in expected.items()
        if found[row] > wanted or (seen.quiet and found[row] < sure[row])
    ]
    violations += [
        Violation(f"row of {row.table} for {row.event}", "unexpected: no event led to it")
        for row in found
        if row not in expected
    ]
    return Finding(tuple(violations), {"rows_expected": sum(expected.values()), "rows_found": sum(found.values())})


def each_step_has_one_key(seen: Observations) -> Finding:
    """All calls of one step carry one Idempotency-Key, no two steps share one, and every expected call was made."""
    violations: list[Violation] = []
    calls = [call for call in seen.calls if call.run]
    for step, made in grouped(calls, lambda call: (call.run, call.path)).items():
        if len({call.key for call in made}) > 1 or not made[0].key:
            violations.append(Violation(step[0], f"calls of {step[1]} carry several keys, or none", _evidence(made)))
    for key, made in grouped(calls, lambda call: call.key).items():
        if len({(call.run, call.path) for call in made}) > 1:
            violations.append(Violation(made[0].run, f"the key {key} names several steps", _evidence(made)))
    violations += _missing(seen)
    unnamed = [call for call in seen.calls if not call.run]
    violations += [Violation(call.path, "a call that names no run", _evidence([call])) for call in unnamed]
    return Finding(tuple(violations), {"calls": len(seen.calls), "keys": len({call.key for call in calls})})


def each_resend_is_explained(seen: Observations) -> Finding:
    """Between two calls of one key there was a fault, and the earlier call was in flight at it; or it had failed.

    In all there are no more resends than calls in flight at the faults × the step's attempts.
    """
    violations: list[Violation] = []
    failed = resends = 0
    ends = _Ends(seen)
    for key, made in grouped((call for call in seen.calls if call.key), lambda call: call.key).items():
        for earlier, later in pairwise(made):
            if earlier.status is not None and earlier.status >= SERVER_ERROR:
                failed += 1
                continue
            resends += 1
            if not any(_explains(fault, earlier, later, ends.of(earlier)) for fault in seen.faults):
                what = f"{later.path} was called again under {key}, and no fault explains it"
                violations.append(Violation(later.run, what, _evidence([earlier, later])))
    in_flight = sum(_in_flight(fault, seen.calls, ends) for fault in seen.faults)
    if resends > in_flight * STEP_ATTEMPTS:
        what = f"{resends} resends, more than {in_flight} calls in flight × {STEP_ATTEMPTS} attempts"
        violations.append(Violation("all calls", what))
    counts = {"resends": resends, "calls_in_flight_at_faults": in_flight, "calls_after_failures": failed}
    return Finding(tuple(violations), counts)


def once_is_never_twice(seen: Observations) -> Finding:
    """A call whose step says `on_unknown: fail` is made at most once, whatever happens."""
    calls = [call for call in seen.calls if call.path in seen.never_twice]
    violations = [
        Violation(made[0].run, f"{path} was called {len(made)} times for {event}", _evidence(made))
        for (path, event), made in grouped(calls, lambda call: (call.path, call.event)).items()
        if len(made) > 1
    ]
    unknown = sum(run.final and run.status == "error" for run in seen.runs if run.automation == "once")
    return Finding(tuple(violations), {"once_calls": len(calls), "once_runs_of_unknown_end": unknown})


def _late_rows(seen: Observations) -> list[Row]:
    late = {run.id: run.late_rows for run in seen.expected if run.late_rows}
    ends = {record.run: record for record in seen.runs if record.final and record.run in late}
    return [
        row
        for id, end in ends.items()
        for row in late[id]
        # What it was cut off in and what it never came to is not among what it has done.
        if end.status == "success" or row.table in end.done
    ]


def _missing(seen: Observations) -> Iterable[Violation]:
    made = {Call(call.path, call.event) for call in seen.calls}
    succeeded = {run.run for run in seen.runs if run.final and run.status == "success"}
    for run in seen.expected:
        for call in run.calls:
            if run.id in succeeded and call not in made:
                yield Violation(run.id, f"succeeded, but {call.path} was never called for {call.event}")


class _Ends:
    """When each run's generations ended: when the first final record of each was appended."""

    def __init__(self, seen: Observations) -> None:
        firsts: dict[tuple[str, int], int] = {}
        for run in seen.runs:
            if run.final:
                name = run.run, run.generation
                firsts[name] = min(run.appended, firsts.get(name, run.appended))
        self._of = grouped(firsts.items(), lambda first: first[0][0])

    def of(self, call: HttpCall) -> int | None:
        """The end of the generation in which the call was made: the first one after it, else the last there is."""
        ends = sorted(at for _, at in self._of[call.run])
        return next((at for at in ends if at >= call.arrived), ends[-1] if ends else None)


def _explains(fault: FaultSeen, earlier: HttpCall, later: HttpCall, ended: int | None) -> bool:
    if later.arrived < fault.began or not _is_in_flight(fault, earlier, ended):
        return False
    if ended is None or later.arrived <= ended + COMMITTED_US:
        return True
    # The run had ended: only one that slept through its end may call again, and only until it finds out.
    return fault.kind in SLEEPERS and later.arrived <= fault.ended + SETTLED_US


def _is_in_flight(fault: FaultSeen, call: HttpCall, ended: int | None) -> bool:
    """Whether a call was made shortly before the fault or while it lasted, and its run not committed before it."""
    near = fault.began - IN_FLIGHT_US <= call.arrived <= fault.ended + SETTLED_US
    return near and (ended is None or ended >= fault.began - COMMITTED_US)


def _in_flight(fault: FaultSeen, calls: Sequence[HttpCall], ends: _Ends) -> int:
    """How many steps had a call in flight at the fault."""
    return len({call.key for call in calls if _is_in_flight(fault, call, ends.of(call))})


def _evidence(calls: Sequence[HttpCall]) -> tuple[str, ...]:
    return tuple(
        f"{call.method} {call.path} {call.event} at {call.arrived} µs, key {call.key}, answered {call.status}"
        for call in calls
    )
