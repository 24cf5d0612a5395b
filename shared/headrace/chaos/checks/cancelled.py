"""Cancelled runs: none is cancelled unasked, and what was asked for in time has ended and does nothing more."""

from collections.abc import Iterable, Mapping

from headrace.chaos.checks.effects import COMMITTED_US, SECOND_US, SETTLED_US, SLEEPERS
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import CancelSeen, HttpCall, Observations, RunSeen

CANCELLED = "cancelled"

KNOWN_US = 15 * SECOND_US
"""How long after Kafka has confirmed it a cancel may still come too late: what had been done by then may be committed
only after an outage (7 s at the most) and the recovery from it."""


NAMED_US = 1 * SECOND_US
"""How long after somebody asks for the end of all runs of an automation the time is taken up to which they are meant:
at once, but on a busy machine."""


def the_cancelled_end(seen: Observations) -> Finding:
    """A run ends as cancelled only if somebody asked for that, of it or of all that its automation had by then.
    KNOWN_US later it ends as nothing else and makes no call any more, nor does one that has ended as cancelled."""
    written = _written(seen)
    cancels = [*seen.cancels, *_recalled(written, seen)]
    asked = {cancel.run for cancel in cancels}
    confirmed: dict[str, int] = {}
    for cancel in cancels:
        if cancel.confirmed is not None:
            confirmed[cancel.run] = min(cancel.confirmed, confirmed.get(cancel.run, cancel.confirmed))
    ends = {run.run: run for run in seen.runs if run.final}
    cancelled = {id: run for id, run in ends.items() if run.status == CANCELLED}
    violations = [
        Violation(id, "ended as cancelled, and nobody had asked for it", _evidence(run, written.get(id)))
        for id, run in cancelled.items()
        if id not in asked
    ]
    violations += _went_on(confirmed, ends, seen)
    violations += _called_after_end(cancelled, seen)
    counts = {
        "cancels": len(asked),
        "cancels_of_automations": sum(recall.confirmed is not None for recall in seen.recalls),
        "cancelled": len(cancelled),
        "cancelled_too_late": sum(id in ends and id not in cancelled for id in confirmed),
    }
    return Finding(tuple(violations), counts)


def _written(seen: Observations) -> Mapping[str, int]:
    """When the first job of each run was written."""
    written: dict[str, int] = {}
    for job in seen.jobs:
        written[job.run] = min(job.appended, written.get(job.run, job.appended))
    return written


def _recalled(written: Mapping[str, int], seen: Observations) -> Iterable[CancelSeen]:
    """The cancels of runs that follow from those of their automations: one of a run whose job was written before."""
    automations = {job.run: job.automation for job in seen.jobs}
    for recall in seen.recalls:
        for run, at in written.items():
            if automations[run] != recall.automation or at > recall.asked + NAMED_US:
                continue
            # Of what was written just then nobody can say on which side of the time it was.
            is_meant = at < recall.asked
            yield CancelSeen(run, recall.confirmed if is_meant else None)


def _went_on(confirmed: Mapping[str, int], ends: Mapping[str, RunSeen], seen: Observations) -> Iterable[Violation]:
    for id, at in confirmed.items():
        end = ends.get(id)
        if end is not None and end.status != CANCELLED and end.appended > at + KNOWN_US:
            what = f"ended {end.status} {(end.appended - at) / SECOND_US:.1f} s after its cancel was confirmed"
            yield Violation(id, what, (f"confirmed at {at} µs", _told(end)))
    for call in seen.calls:
        at = confirmed.get(call.run)
        if at is not None and call.arrived > at + KNOWN_US:
            what = f"called {call.path} {(call.arrived - at) / SECOND_US:.1f} s after its cancel was confirmed"
            yield Violation(call.run, what, (f"confirmed at {at} µs",))


def _called_after_end(cancelled: Mapping[str, RunSeen], seen: Observations) -> Iterable[Violation]:
    for call in seen.calls:
        end = cancelled.get(call.run)
        if end is None or call.arrived <= end.appended + COMMITTED_US or is_slept_through(call, seen):
            continue
        yield Violation(call.run, f"called {call.path} after it had ended as cancelled", (_told(end), str(call)))


def is_slept_through(call: HttpCall, seen: Observations) -> bool:
    """Whether a worker may have made it that did not know yet that the run was another's."""
    return any(
        fault.kind in SLEEPERS and fault.began <= call.arrived <= fault.ended + SETTLED_US for fault in seen.faults
    )


def _evidence(run: RunSeen, written: int | None) -> tuple[str, ...]:
    return _told(run), f"its job was written at {written} µs"


def _told(run: RunSeen) -> str:
    return f"{run.place} {run.status}, appended {run.appended} µs"
