"""Attempts: an outage uses none up."""

from collections import Counter

from headrace.chaos.checks.effects import SERVER_ERROR
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import Observations

IN_A_TIER = "retry"


def each_attempt_is_explained(seen: Observations) -> Finding:
    """A run was sent to a retry tier at most as often as it got an answer of SERVER_ERROR or more: nothing else that
    the loads do, or that is done to the system, fails an attempt."""
    failed = Counter(call.run for call in seen.calls if (call.status or 0) >= SERVER_ERROR)
    # Emitted again by a redelivery it is the same attempt.
    sent = {(run.run, run.generation, run.sequence) for run in seen.runs if run.waits_for == IN_A_TIER}
    attempts = Counter(run for run, _, _ in sent)
    violations = [
        Violation(run, f"went to a retry tier {count} times, and {failed[run]} of its calls had failed")
        for run, count in attempts.items()
        if count > failed[run]
    ]
    handed = {(run.run, run.generation, run.sequence) for run in seen.runs if run.waits_for == "hand_over"}
    return Finding(tuple(violations), {"sent_to_a_tier": len(sent), "handed_over": len(handed)})
