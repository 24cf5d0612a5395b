"""Runs: none lost, none too many, none executed twice, and what is final stays."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.loads.base import ExpectedRun
from headrace.chaos.observations import DeadLetterSeen, Observations, Place, RunSeen

Name = tuple[str, str, str]
"""A run by what it is, not by its id: automation, event source, event id."""

DEAD_LETTERED = "dead_lettered"

_KeyT = TypeVar("_KeyT")
_ItemT = TypeVar("_ItemT")


def each_event_has_one_run(seen: Observations) -> Finding:
    """Every event × matching automation has exactly one final run, on the topic and in MongoDB, as expected from the
    events alone; dead letters are only where they are expected, and what was redriven died before that."""
    expected = {_name(each): each for each in seen.expected}
    finals = grouped((run for run in seen.runs if run.final), lambda run: (run.automation, run.source, run.event))
    stored = grouped(seen.stored_runs, lambda run: (run.automation, run.source, run.event))
    dead = _dead_runs(seen)
    # While something still waits to be done nobody can say that it is lost.
    gone = "lost" if seen.quiet else "unfinished"
    violations: list[Violation] = []
    for name, run in expected.items():
        if run.origin in seen.uncertain and not finals[name]:
            continue
        ends = finals[name]
        if run.dead:
            violations += _dead_as_expected(run, ends, dead[run.id], gone)
            continue
        if run.redriven:
            violations += _redriven_as_expected(run, ends, dead[run.id], gone)
            ends = [record for record in ends if record.generation > 0]
        violations += _final_as_expected(run, ends, [each.status for each in stored[name]], gone)
    violations += _unexpected(seen, expected)
    violations += _unexpected_letters(seen)
    counts = {
        "expected": len(expected),
        "lost": sum(each.what.startswith("lost") for each in violations),
        "unfinished": sum(each.what.startswith("unfinished") for each in violations),
        "unexpected": sum(each.what.startswith("unexpected") for each in violations),
        "dead_letters": len(seen.dead_letters),
        "redrives": seen.redrives,
    }
    return Finding(tuple(violations), counts)


def finals_are_final(seen: Observations) -> Finding:
    """Per run and generation there is at most one distinct final status on the topic, and MongoDB has the last one."""
    violations: list[Violation] = []
    by_run = grouped((run for run in seen.runs if run.final), lambda run: run.run)
    stored = {run.id: run for run in seen.stored_runs}
    for id, finals in by_run.items():
        for generation, records in grouped(finals, lambda run: run.generation).items():
            if len({record.status for record in records}) > 1:
                what = f"generation {generation} ended in several ways"
                violations.append(Violation(id, what, _evidence(records)))
        newest = max(run.generation for run in finals)
        statuses = {run.status for run in finals if run.generation == newest}
        found = stored.get(id)
        if found is not None and found.status not in statuses:
            what = f"MongoDB has it as {found.status}, the topic as {', '.join(sorted(statuses))}"
            violations.append(Violation(id, what, _evidence(finals)))
    return Finding(tuple(violations), {"final_records": sum(map(len, by_run.values()))})


def none_executed_twice(seen: Observations) -> Finding:
    """No run that has effects left a second final record that began at another time.

    A duplicate of a pure run is computed again and collapses in the recorder: those are counted, not judged.
    """
    owned = {(run.automation, run.source, run.event): run.owned for run in seen.expected}
    violations: list[Violation] = []
    counts = {"executed_twice": 0, "collapsed": 0, "emitted_again": 0}
    for id, finals in grouped((run for run in seen.runs if run.final), lambda run: run.run).items():
        for records in grouped(finals, lambda run: run.generation).values():
            if len(records) < 2:
                continue
            again = len(records) - 1
            if not owned.get((records[0].automation, records[0].source, records[0].event), True):
                counts["collapsed"] += again
            elif len({record.started for record in records}) == 1:
                counts["emitted_again"] += again
            else:
                counts["executed_twice"] += again
                violations.append(Violation(id, f"executed {len(records)} times", _evidence(records)))
    return Finding(tuple(violations), counts)


def grouped(items: Iterable[_ItemT], key: Callable[[_ItemT], _KeyT]) -> Mapping[_KeyT, list[_ItemT]]:
    """The items by a key of theirs, in their order; an unknown key has none."""
    groups: defaultdict[_KeyT, list[_ItemT]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _name(run: ExpectedRun) -> Name:
    return run.automation, run.source, run.event


def _final_as_expected(run: ExpectedRun, finals: list[RunSeen], stored: list[str], gone: str) -> Iterable[Violation]:
    subject = f"{run.automation} for {run.event}"
    if not finals:
        there = f"in MongoDB: {', '.join(stored) or 'nothing'}"
        yield Violation(subject, f"{gone}: no final record on the topic", (there,))
        return
    if other := [record for record in finals if record.run != run.id]:
        yield Violation(subject, f"has a run of another id than {run.id}", _evidence(other))
    if not stored:
        yield Violation(subject, f"{gone}: on the topic, not in MongoDB", _evidence(finals))
    if wrong := [record for record in finals if record.status not in run.statuses]:
        allowed = " or ".join(sorted(run.statuses))
        yield Violation(subject, f"ended {wrong[0].status}, expected {allowed}", _evidence(wrong))
    if run.collected is not None and any(record.collected != run.collected for record in finals):
        yield Violation(subject, f"collected {finals[0].collected!r}, expected {run.collected!r}", _evidence(finals))


def _redriven_as_expected(run: ExpectedRun, finals: list[RunSeen], letters: int, gone: str) -> Iterable[Violation]:
    """It died once, in its first generation, and left one letter of that."""
    subject = f"{run.automation} for {run.event}"
    first = [record for record in finals if record.generation == 0]
    if not first:
        yield Violation(subject, f"{gone}: no final record of its first generation", _evidence(finals))
    if alive := [record for record in first if record.status != DEAD_LETTERED]:
        yield Violation(subject, f"ended {alive[0].status}, expected a dead letter first", _evidence(alive))
    if letters != 1:
        yield Violation(subject, f"has {letters} dead letters, expected one", _evidence(finals))


def _dead_as_expected(run: ExpectedRun, finals: list[RunSeen], letters: int, gone: str) -> Iterable[Violation]:
    subject = f"{run.automation} for {run.event}"
    if not letters:
        yield Violation(subject, f"{gone}: expected a dead letter and there is none")
    if alive := [record for record in finals if record.status != DEAD_LETTERED]:
        yield Violation(subject, f"ended {alive[0].status}, expected a dead letter", _evidence(alive))


def _dead_runs(seen: Observations) -> Mapping[str, int]:
    """How many dead letters each run has."""
    jobs = {job.place: job.run for job in seen.jobs}
    return Counter(_run_of(letter, jobs) for letter in seen.dead_letters)


def _run_of(letter: DeadLetterSeen, jobs: Mapping[Place, str]) -> str:
    return letter.run or (jobs.get(letter.source, "") if letter.source is not None else "")


def _unexpected(seen: Observations, expected: Mapping[Name, ExpectedRun]) -> Iterable[Violation]:
    for record in seen.runs:
        if (record.automation, record.source, record.event) not in expected:
            yield Violation(
                record.run, f"unexpected run of {record.automation} for {record.event}", _evidence([record])
            )
    for stored in seen.stored_runs:
        if (stored.automation, stored.source, stored.event) not in expected:
            yield Violation(stored.id, f"unexpected run of {stored.automation} for {stored.event} in MongoDB")


def _unexpected_letters(seen: Observations) -> Iterable[Violation]:
    may_die = {run.id for run in seen.expected if run.dead or run.redriven}
    jobs = {job.place: job.run for job in seen.jobs}
    for letter in seen.dead_letters:
        run = _run_of(letter, jobs)
        if run not in may_die:
            where = f"{letter.place}, of {letter.source or 'the job itself'}"
            yield Violation(run or str(letter.source), f"unexpected dead letter: {letter.reason}", (where,))


def _evidence(records: Iterable[RunSeen]) -> tuple[str, ...]:
    return tuple(f"{run.place} {run.status}, job {run.job}, began {run.started} µs" for run in records)
