"""Insights: every run counts once, whatever was killed while it was counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from headrace.chaos.checks.runs import grouped
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import CountsSeen, DeltaSeen, Observations

Ended = Mapping[str, int]
"""Runs by final status."""


def all_is_counted(seen: Observations) -> Finding:
    """What insights answers for an automation is the sum of its records on the stats topic, and one process answers;
    and that sum is the number of its final records on the topic of runs, with which they were committed.

    A pure run that was computed twice has two such records, and counts twice.
    """
    records: dict[str, Counter[str]] = {}
    for run in seen.runs:
        if run.final:
            records.setdefault(run.automation, Counter()).update((run.status,))
    sums = _summed(seen.deltas)
    violations = miscounted(seen.deltas, seen.counts)
    for name in sorted({*sums, *records}):
        told, wanted = _plain(sums.get(name, {})), _plain(records.get(name, {}))
        if told != wanted:
            violations.append(Violation(name, f"the stats topic has {told}, and its final records are {wanted}"))
    counts = {
        "stats_records": len(seen.deltas),
        "runs_counted": sum(sum(each.total.values()) for each in seen.counts),
    }
    return Finding(tuple(violations), counts)


def miscounted(deltas: Sequence[DeltaSeen], counts: Sequence[CountsSeen]) -> list[Violation]:
    """Where the answers differ from the stats topic's sums."""
    sums = _summed(deltas)
    answers = grouped(counts, lambda each: each.automation)
    names = sorted({*sums, *answers})
    return [each for name in names for each in _answered(name, sums.get(name, {}), answers[name])]


def _answered(name: str, wanted: Ended, answers: Sequence[CountsSeen]) -> Iterable[Violation]:
    if len(answers) != 1:
        who = ", ".join(each.process for each in answers) or "no process"
        yield Violation(name, f"{who} of insights answers for it, expected one")
    for answer in answers:
        for what, found in (("in total", answer.total), ("of the last day", answer.day)):
            if _plain(found) != _plain(wanted):
                told = f"{answer.process} counts {_plain(found)} {what}, and the stats topic has {_plain(wanted)}"
                yield Violation(name, told)


def _summed(deltas: Sequence[DeltaSeen]) -> Mapping[str, Ended]:
    sums: dict[str, Counter[str]] = {}
    for delta in deltas:
        sums.setdefault(delta.automation, Counter()).update(delta.ended)
    return sums


def _plain(ended: Ended) -> dict[str, int]:
    """In one order, without what did not happen."""
    return {status: count for status, count in sorted(ended.items()) if count}
