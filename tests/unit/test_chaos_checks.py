"""The judge is judged: what is good passes, and each broken variant is found by the check that is there for it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.checks.cancelled import KNOWN_US
from headrace.chaos.checks.effects import COMMITTED_US, IN_FLIGHT_US, SECOND_US, SETTLED_US
from headrace.chaos.checks.held import FIRED_US, UNDER_WAY_US
from headrace.chaos.checks.streams import NOTICED_US
from headrace.chaos.fleet import last_words
from headrace.chaos.judge import CHECKS, judge
from headrace.chaos.loads.base import APP, SOURCE, Call, ExpectedRun, Pause, Row
from headrace.chaos.observations import (
    CancelSeen,
    ClockSeen,
    CountsSeen,
    DeadLetterSeen,
    DeltaSeen,
    FaultSeen,
    GaveUpSeen,
    HoldSeen,
    HttpCall,
    JobSeen,
    Observations,
    PartitionOf,
    Place,
    ProcessSeen,
    RecallSeen,
    RunSeen,
    Stand,
    TickSeen,
    TimerSeen,
)
from headrace.storage.inspection import StoredRow, StoredRun

pytestmark = pytest.mark.unit

JOBS = "headrace.jobs.normal"
T0 = 1_800_000_000 * SECOND_US
EVENTS = ("e-0", "e-1", "e-2")
PARTITION = PartitionOf("headrace-orchestrator", JOBS, 0)


def expected_run(event: str, **changes: Any) -> ExpectedRun:
    calls, rows = (Call("/http/call", event),), (Row("made", event),)
    return replace(ExpectedRun("http", event, SOURCE, calls=calls, rows=rows), **changes)


def job(event: str, offset: int, **changes: Any) -> JobSeen:
    run = expected_run(event).id
    return replace(JobSeen(Place(JOBS, 0, offset), run, APP, "http", "c1", 0, 0, 1, retry=False), **changes)


def record(event: str, offset: int, started: int, **changes: Any) -> RunSeen:
    place, job_place = Place("headrace.runs", 0, offset), Place(JOBS, 0, offset)
    appended = started + SECOND_US
    run = expected_run(event).id
    seen = RunSeen(place, appended, run, "http", event, SOURCE, "success", True, 0, 1, 1, job_place, started, None)
    return replace(seen, **changes)


def call(event: str, arrived: int, **changes: Any) -> HttpCall:
    run = expected_run(event).id
    key = f"{run}/0/call/0"
    return replace(HttpCall(arrived, "POST", "/http/call", key, run, event, arrived + 1000, 200), **changes)


def stored(event: str, **changes: Any) -> StoredRun:
    return replace(StoredRun(expected_run(event).id, "http", event, SOURCE, "success", 0, 1), **changes)


def tick(second: int, **changes: Any) -> TickSeen:
    """Of the time `second` after T0, which the broker took half a second later."""
    scheduled = T0 + second * SECOND_US
    return replace(
        TickSeen(Place("headrace.ticks", 0, second), scheduled + SECOND_US // 2, "clocks", scheduled), **changes
    )


def delta(*ends: tuple[str, int], automation: str = "http") -> DeltaSeen:
    return DeltaSeen(Place("headrace.stats", 0, 0), automation, dict(ends))


def counts(*ends: tuple[str, int], process: str = "insights-0", automation: str = "http") -> CountsSeen:
    return CountsSeen(process, automation, dict(ends), dict(ends))


def recounted(seen: Observations) -> Observations:
    """The same, with all its final records told to insights and counted there."""
    ends: dict[str, Counter[str]] = {}
    for run in seen.runs:
        if run.final:
            ends.setdefault(run.automation, Counter()).update((run.status,))
    deltas = tuple(delta((status, 1), automation=name) for name, each in ends.items() for status in each.elements())
    return replace(
        seen, deltas=deltas, counts=tuple(counts(*each.items(), automation=name) for name, each in ends.items())
    )


def good() -> Observations:
    """Three events of one lane, one fault, a clock with three times, all as it should be."""
    return Observations(
        deltas=(delta(("success", 1)), delta(("success", 2))),
        counts=(counts(("success", 3)),),
        clocks=(ClockSeen("clocks", T0 - 1, T0 + 4 * SECOND_US, T0 + 9 * SECOND_US),),
        ticks=(tick(0), tick(2), tick(4)),
        holds=(HoldSeen("clocks", T0 + 5 * SECOND_US, T0 + 9 * SECOND_US),),
        expected=tuple(expected_run(event) for event in EVENTS),
        jobs=tuple(job(event, offset) for offset, event in enumerate(EVENTS)),
        runs=tuple(record(event, n, T0 + 2 * n * SECOND_US) for n, event in enumerate(EVENTS)),
        stored_runs=tuple(stored(event) for event in EVENTS),
        rows=tuple(StoredRow(APP, "made", f"row-{event}", {"event": event}) for event in EVENTS),
        calls=tuple(call(event, T0 + 2 * n * SECOND_US + 10) for n, event in enumerate(EVENTS)),
        faults=(FaultSeen("kill", "orchestrator-0", T0, T0 + SECOND_US),),
        after_faults={PARTITION: Stand(1, 3)},
        at_end={PARTITION: Stand(3, 3)},
    )


def redriven() -> Observations:
    """The first event's run died, and was redriven; the second's call may have waited; the third's was cancelled."""
    seen = good()
    id, third = expected_run("e-0").id, expected_run("e-2", statuses=frozenset(("success", "cancelled")))
    died = record("e-0", 10, T0, status="dead_lettered", generation=0)
    first, second, last = seen.runs
    waited = replace(second, final=False, status="waiting", waits_for="timer", due=second.started, sequence=1)
    again = replace(second, sequence=3, place=Place("headrace.runs", 0, 11))
    told = replace(
        seen,
        expected=(replace(expected_run("e-0"), redriven=True), seen.expected[1], replace(third, rows=(), calls=())),
        runs=(died, replace(first, generation=1, appended=T0 + 90 * SECOND_US), waited, again, ended_cancelled(last)),
        stored_runs=(stored("e-0", generation=1), seen.stored_runs[1], stored("e-2", status="cancelled")),
        jobs=(*seen.jobs, job("e-0", 12, generation=1)),
        rows=seen.rows[:2],
        calls=(replace(seen.calls[0], status=503), call("e-0", T0 + 80 * SECOND_US), seen.calls[1]),
        dead_letters=(DeadLetterSeen(Place("headrace.jobs.dlq", 0, 0), Place(JOBS, 0, 0), id, "http_503: …"),),
        cancels=(CancelSeen(third.id, None), CancelSeen(third.id, T0)),
    )
    return recounted(told)


def ended_cancelled(run: RunSeen) -> RunSeen:
    return replace(run, status="cancelled")


def without(items: tuple[Any, ...], number: int) -> tuple[Any, ...]:
    return items[:number] + items[number + 1 :]


def test_what_is_good_passes_every_check() -> None:
    assert {name: finding.violations for name, finding in judge(good()).items()} == dict.fromkeys(CHECKS, ())


def test_all_that_is_allowed_passes_too() -> None:
    seen = good()
    dead = expected_run("e-9", dead=True, rows=(), calls=())
    letter = DeadLetterSeen(Place("headrace.jobs.dlq", 0, 0), Place(JOBS, 0, 9), "", "internal_error: …")
    allowed = replace(
        seen,
        expected=(*seen.expected, dead, expected_run("e-8"), expected_run("e-7", owned=False, rows=(), calls=())),
        uncertain=frozenset(("e-8",)),  # never confirmed, and nothing came of it
        jobs=(*seen.jobs, job("e-9", 9), job("e-0", 20), job("e-7", 30), job("e-7", 31)),
        dead_letters=(letter,),
        # A pure run that was computed twice collapses.
        runs=(*seen.runs, record("e-7", 30, T0 + 100 * SECOND_US), record("e-7", 31, T0 + 101 * SECOND_US)),
        stored_runs=(*seen.stored_runs, stored("e-7")),
    )
    findings = judge(recounted(allowed))
    assert {name: each.violations for name, each in findings.items()} == dict.fromkeys(CHECKS, ())
    assert findings["none executed twice"].counts["collapsed"] == 1


def test_what_died_waited_and_was_cancelled_passes_too() -> None:
    assert {name: each.violations for name, each in judge(redriven()).items()} == dict.fromkeys(CHECKS, ())


def test_a_call_that_is_cut_off_after_a_redrive_may_be_made_again() -> None:
    seen = redriven()
    at = T0 + 80 * SECOND_US
    again = call("e-0", at + 2 * SECOND_US)
    cut_off = replace(seen, calls=(seen.calls[0], replace(seen.calls[1], status=None, answered=None), again))
    assert judge(cut_off)["resends explained"].violations
    fault = FaultSeen("kill", "orchestrator-0", at + SECOND_US, at + 2 * SECOND_US)
    assert judge(replace(cut_off, faults=(fault,)))["resends explained"].violations == ()


def test_the_row_of_a_cancelled_run_is_there_if_its_record_says_so() -> None:
    seen = redriven()
    late = replace(seen.expected[2], late_rows=(Row("late", "e-2"),))
    end = replace(seen.runs[-1], done=frozenset(("late",)))
    row = StoredRow(APP, "late", "row", {"event": "e-2"})
    expected = (*seen.expected[:2], late)

    def violations(end: RunSeen, *rows: StoredRow) -> int:
        found = replace(seen, expected=expected, runs=(*seen.runs[:-1], end), rows=(*seen.rows, *rows))
        return len(judge(found)["rows once"].violations)

    assert violations(seen.runs[-1]) == violations(end, row) == 0
    assert violations(seen.runs[-1], row) == violations(end) == violations(end, row, row) == 1


def written_at(seen: Observations, at: int) -> tuple[JobSeen, ...]:
    return tuple(replace(each, appended=at) for each in seen.jobs)


def gave_up(target: str, at: int) -> GaveUpSeen:
    return GaveUpSeen(target, 7, at - 1, at, "Faust crashed: x")


def test_those_that_an_automation_s_cancel_covers_may_end_cancelled_and_others_may_not() -> None:
    seen = replace(redriven(), cancels=())

    def violations(written: int, *recalls: RecallSeen) -> int:
        found = replace(seen, jobs=written_at(seen, written), recalls=recalls)
        return len(judge(found)["the cancelled end"].violations)

    before, at_once = T0 - 5 * SECOND_US, RecallSeen("http", T0)
    assert violations(before, at_once) == violations(T0 + 1, at_once) == 0
    assert violations(before, RecallSeen("other", T0)) == violations(T0 + 2 * SECOND_US, at_once) == 1


def test_what_was_under_way_when_it_was_paused_goes_on_and_so_does_who_slept_through_it() -> None:
    called = good().calls[0].arrived
    for known, faults in (
        (called - UNDER_WAY_US, ()),
        (called + 1, ()),
        (called - UNDER_WAY_US - 1, (FaultSeen("pause", "orchestrator-0", called - 2, called - 1),)),
    ):
        seen = replace(good(), holds=(HoldSeen("http", known, T0 + SECOND_US),), faults=faults)
        assert judge(seen)["the paused stand still"].violations == ()
    ticked = good().ticks[1].appended
    seen = replace(good(), holds=(HoldSeen("clocks", ticked - FIRED_US, ticked + SECOND_US),))
    assert judge(seen)["the paused stand still"].violations == ()


def test_the_last_times_of_a_clock_may_have_a_tick_or_not() -> None:
    seen = good()
    assert judge(replace(seen, ticks=(*seen.ticks, tick(8))))["each time ticks once"].violations == ()


@pytest.mark.parametrize(
    ("kind", "target"),
    [("broker", "broker"), ("pause", "insights-0"), ("cut", "insights-0 kafka"), ("half-open", "insights-0 both")],
)
def test_insights_may_give_up_once_kafka_was_taken_from_it(kind: str, target: str) -> None:
    fault = FaultSeen(kind, target, T0, T0 + SECOND_US)
    seen = replace(good(), faults=(fault,), gave_up=(gave_up("insights-0", T0 + SECOND_US + NOTICED_US),))
    assert judge(seen)["nothing died by itself"].violations == ()
    assert judge(seen)["nothing died by itself"].counts["gave_up"] == 1


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ('{"event": "started"}\nnot JSON\n{"event": "cannot run", "reason": "Faust crashed: x"}\n', "Faust crashed: x"),
        ('{"event": "Faust does not stop; the process ends without it", "reason": null}\n', "Faust does not stop"),
        ('{"event": "started"}\nSegmentation fault\n', ""),
    ],
    ids=["cannot run", "does not stop", "died without a word"],
)
def test_the_last_words_of_a_process_tell_whether_it_ended_itself(log: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "insights-0.1.log"
    path.write_text(log)
    assert last_words(path).startswith(words)
    assert bool(last_words(path)) == bool(words)


def broken() -> Mapping[str, tuple[str, Observations, str]]:
    """Name of the case: the check that must find it, what it sees, a word of what it says."""
    seen, after = good(), redriven()
    second = seen.runs[1]
    later = T0 + 500 * SECOND_US
    return {
        "no record at all": ("one run per event", replace(seen, runs=without(seen.runs, 1)), "lost: no final record"),
        "no record in MongoDB": (
            "one run per event",
            replace(seen, stored_runs=without(seen.stored_runs, 1)),
            "lost: on the topic",
        ),
        "not yet done": (
            "one run per event",
            replace(seen, runs=without(seen.runs, 1), quiet=False),
            "unfinished: no final record",
        ),
        "only a running record": (
            "one run per event",
            replace(seen, runs=(seen.runs[0], replace(second, final=False, status="running"), seen.runs[2])),
            "lost",
        ),
        "a run nobody asked for": (
            "one run per event",
            replace(seen, runs=(*seen.runs, record("stranger", 7, later))),
            "unexpected run of http for stranger",
        ),
        "another id": (
            "one run per event",
            replace(seen, runs=(*without(seen.runs, 1), replace(second, run="another"))),
            "another id",
        ),
        "another status": (
            "one run per event",
            replace(seen, runs=(*without(seen.runs, 1), replace(second, status="error"))),
            "ended error, expected success",
        ),
        "another answer": (
            "one run per event",
            replace(seen, expected=(expected_run("e-0", collected=7), *seen.expected[1:])),
            "collected None, expected 7",
        ),
        "a dead letter nobody expects": (
            "one run per event",
            replace(seen, dead_letters=(DeadLetterSeen(Place("dlq", 0, 0), Place(JOBS, 0, 1), "", "bug: x"),)),
            "unexpected dead letter: bug: x",
        ),
        "a dead letter that is missing": (
            "one run per event",
            replace(seen, expected=(*seen.expected, expected_run("e-9", dead=True, rows=(), calls=()))),
            "expected a dead letter",
        ),
        "alive though it must be dead": (
            "one run per event",
            replace(seen, expected=(expected_run("e-0", dead=True), *seen.expected[1:])),
            "ended success, expected a dead letter",
        ),
        "no row": ("rows once", replace(seen, rows=without(seen.rows, 1)), "is there 0 times"),
        "two rows": ("rows once", replace(seen, rows=(*seen.rows, seen.rows[0])), "is there 2 times"),
        "a strange row": (
            "rows once",
            replace(seen, rows=(*seen.rows, StoredRow(APP, "made", "x", {"event": "x"}))),
            "no event led to it",
        ),
        "a second key": (
            "one key per step",
            replace(seen, calls=(*seen.calls, call("e-0", T0 + 20, key="another"))),
            "several keys",
        ),
        "no key": (
            "one key per step",
            replace(seen, calls=(*seen.calls[1:], replace(seen.calls[0], key=""))),
            "several keys, or none",
        ),
        "a shared key": (
            "one key per step",
            replace(seen, calls=(*seen.calls[:2], replace(seen.calls[2], key=seen.calls[1].key))),
            "names several steps",
        ),
        "no call": ("one key per step", replace(seen, calls=without(seen.calls, 2)), "was never called"),
        "called again without a fault": (
            "resends explained",
            replace(seen, faults=(), calls=(*seen.calls, call("e-2", T0 + 9 * SECOND_US))),
            "no fault explains it",
        ),
        "called again before the fault": (
            "resends explained",
            replace(seen, calls=(call("e-0", T0 - 20), call("e-0", T0 - 10), *seen.calls[1:])),
            "no fault explains it",
        ),
        "called long before the fault": (
            "resends explained",
            replace(seen, calls=(call("e-0", T0 - IN_FLIGHT_US - 1), *seen.calls)),
            "no fault explains it",
        ),
        "called after the run had ended": (
            "resends explained",
            replace(seen, calls=(*seen.calls, call("e-0", T0 + SECOND_US + COMMITTED_US + 1))),
            "no fault explains it",
        ),
        "woken, and called for too long": (
            "resends explained",
            replace(
                seen,
                faults=(FaultSeen("pause", "orchestrator-0", T0, T0 + SECOND_US),),
                calls=(*seen.calls, call("e-0", T0 + SECOND_US + SETTLED_US + 1)),
            ),
            "no fault explains it",
        ),
        "more resends than calls in flight": (
            "resends explained",
            replace(
                seen,
                runs=(),
                calls=tuple(call("e-0", T0 + n * 1000) for n in range(6)),
            ),
            "5 resends, more than 1 calls in flight",
        ),
        "once called twice": (
            "once never twice",
            replace(
                seen,
                never_twice=frozenset(("/http/call",)),
                calls=(*seen.calls, call("e-0", T0 + 30)),
            ),
            "was called 2 times for e-0",
        ),
        "started before its predecessor": (
            "order per lane",
            replace(seen, runs=(seen.runs[0], replace(second, started=T0 - 1), seen.runs[2])),
            "started before its predecessor in lane chaos/http/c1",
        ),
        "called before its predecessor": (
            "order per lane",
            replace(seen, calls=(seen.calls[0], replace(seen.calls[1], arrived=T0 + 5), seen.calls[2])),
            "called /http/call before its predecessor",
        ),
        "two final statuses": (
            "finals final",
            replace(seen, runs=(*seen.runs, replace(second, status="error", place=Place("headrace.runs", 0, 9)))),
            "ended in several ways",
        ),
        "another status in MongoDB": (
            "finals final",
            replace(seen, stored_runs=(stored("e-0", status="error"), *seen.stored_runs[1:])),
            "MongoDB has it as error, the topic as success",
        ),
        "executed twice": (
            "none executed twice",
            replace(seen, runs=(*seen.runs, record("e-1", 9, later))),
            "executed 2 times",
        ),
        "redriven without having died": (
            "one run per event",
            replace(after, dead_letters=(), runs=after.runs[1:]),
            "no final record of its first generation",
        ),
        "redriven, and it had not died": (
            "one run per event",
            replace(after, runs=(replace(after.runs[0], status="success"), *after.runs[1:])),
            "ended success, expected a dead letter first",
        ),
        "two letters of one death": (
            "one run per event",
            replace(after, dead_letters=after.dead_letters * 2),
            "has 2 dead letters",
        ),
        "redriven and lost": (
            "one run per event",
            replace(after, runs=without(after.runs, 1)),
            "lost: no final record",
        ),
        "sent to a tier though nothing had failed": (
            "no attempt used up",
            replace(seen, runs=(replace(seen.runs[0], sequence=0, waits_for="retry", final=False), *seen.runs)),
            "went to a retry tier 1 times, and 0 of its calls had failed",
        ),
        "went on before its time": (
            "never early",
            replace(after, runs=(*after.runs[:2], replace(after.runs[2], due=later), *after.runs[3:])),
            "before its time (timer)",
        ),
        "called before its time": (
            "never early",
            replace(
                seen,
                calls=(*seen.calls, call("e-0", T0 + 5 * SECOND_US, path="/after", key="another")),
                pauses=(Pause("/http/call", "/after", 6.0),),
            ),
            "/after was called 5.000 s after /http/call, expected 6 s",
        ),
        "called without what goes before": (
            "never early",
            replace(seen, pauses=(Pause("/before", "/http/call", 6.0),)),
            "/http/call was called without /before",
        ),
        "a timer is left": (
            "nothing waits",
            replace(seen, timers=(TimerSeen(Place("headrace.timers", 0, 1), "a-run", "…"),)),
            "its timer is still pending",
        ),
        "a run is owned": ("nothing waits", replace(seen, open_heads=("a-run",)), "its head is still open"),
        "cancelled unasked": ("the cancelled end", replace(after, cancels=()), "nobody had asked for it"),
        "cancelled, and it went on": (
            "the cancelled end",
            replace(after, cancels=(CancelSeen(second.run, second.appended - KNOWN_US - 1),)),
            "ended success 15.0 s after its cancel",
        ),
        "cancelled, and it called": (
            "the cancelled end",
            replace(after, cancels=(CancelSeen(second.run, after.calls[2].arrived - KNOWN_US - 1),)),
            "called /http/call 15.0 s after its cancel",
        ),
        "called after it was cancelled": (
            "the cancelled end",
            replace(after, calls=(*after.calls, call("e-2", after.runs[-1].appended + COMMITTED_US + 1))),
            "called /http/call after it had ended as cancelled",
        ),
        "cancelled, though its job came after the cancel of all": (
            "the cancelled end",
            replace(
                after, cancels=(), recalls=(RecallSeen("http", T0 - 2 * SECOND_US, T0),), jobs=written_at(after, T0)
            ),
            "nobody had asked for it",
        ),
        "all were cancelled, and one went on": (
            "the cancelled end",
            replace(
                after,
                recalls=(RecallSeen("http", T0 - 1, second.appended - KNOWN_US - 1),),
                jobs=written_at(after, T0 - 2),
            ),
            "ended success 15.0 s after its cancel",
        ),
        "paused, and it called": (
            "the paused stand still",
            replace(seen, holds=(HoldSeen("http", T0 + 1 * SECOND_US, T0 + 9 * SECOND_US),)),
            "called /http/call 3.0 s after its pause was known",
        ),
        "paused, and it ticked": (
            "the paused stand still",
            replace(seen, holds=(HoldSeen("clocks", T0 + SECOND_US, T0 + 9 * SECOND_US),)),
            "ticked 1.5 s after its pause was known",
        ),
        "a time without a tick": (
            "each time ticks once",
            replace(seen, ticks=without(seen.ticks, 1)),
            f"its time {T0 // SECOND_US + 2} ticked 0 times",
        ),
        "a time that ticked twice": (
            "each time ticks once",
            replace(seen, ticks=(*seen.ticks, tick(8), tick(8))),
            f"its time {T0 // SECOND_US + 8} ticked 2 times",
        ),
        "a tick at no time of the clock's": (
            "each time ticks once",
            replace(seen, ticks=(*seen.ticks, tick(3))),
            "none of its times",
        ),
        "a tick before the clock was live": (
            "each time ticks once",
            replace(seen, ticks=(*seen.ticks, tick(-2))),
            "none of its times",
        ),
        "a tick after the clock was withdrawn": (
            "each time ticks once",
            replace(seen, ticks=(*seen.ticks, tick(10))),
            "none of its times",
        ),
        "ticked before its time": (
            "each time ticks once",
            replace(seen, ticks=(*seen.ticks[:2], tick(4, appended=T0 + 3 * SECOND_US))),
            "ticked 1.000 s before its time",
        ),
        "a run that is not counted": (
            "all is counted",
            replace(seen, counts=(counts(("success", 2)),)),
            "insights-0 counts {'success': 2} in total, and the stats topic has {'success': 3}",
        ),
        "a run that is counted twice of a day": (
            "all is counted",
            replace(seen, counts=(replace(counts(("success", 3)), day={"success": 4}),)),
            "counts {'success': 4} of the last day",
        ),
        "two that answer": (
            "all is counted",
            replace(seen, counts=(counts(("success", 3)), counts(("success", 3), process="insights-1"))),
            "insights-0, insights-1 of insights answers for it",
        ),
        "nobody that answers": ("all is counted", replace(seen, counts=()), "no process of insights answers"),
        "a run that the stats do not tell": (
            "all is counted",
            replace(seen, deltas=(delta(("success", 2)),), counts=(counts(("success", 2)),)),
            "the stats topic has {'success': 2}, and its final records are {'success': 3}",
        ),
        "gave up without a reason": (
            "nothing died by itself",
            replace(seen, gave_up=(gave_up("insights-0", T0 + SECOND_US),)),
            "gave up, and no fault explains it: Faust crashed",
        ),
        "gave up long after": (
            "nothing died by itself",
            replace(
                seen,
                faults=(FaultSeen("broker", "broker", T0, T0 + SECOND_US),),
                gave_up=(gave_up("insights-0", T0 + SECOND_US + NOTICED_US + 1),),
            ),
            "no fault explains it",
        ),
        "another gave up": (
            "nothing died by itself",
            replace(
                seen,
                faults=(FaultSeen("cut", "insights-1 kafka", T0, T0 + SECOND_US),),
                gave_up=(gave_up("insights-0", T0 + SECOND_US),),
            ),
            "no fault explains it",
        ),
        "lag": ("nothing left", replace(seen, at_end={PARTITION: Stand(2, 3)}), "lag 1"),
        "no rest": ("nothing left", replace(seen, quiet=False), "did not come to rest"),
        "stuck": (
            "no partition stuck",
            replace(seen, at_end={PARTITION: Stand(1, 3)}),
            "stuck",
        ),
        "stuck on what came later": (
            "no partition stuck",
            replace(seen, after_faults={PARTITION: Stand(3, 3)}, at_end={PARTITION: Stand(3, 5)}),
            "stuck",
        ),
        "never committed": (
            "no partition stuck",
            replace(seen, after_faults={PARTITION: Stand(-1, 3)}, at_end={PARTITION: Stand(-1, 3)}),
            "stuck",
        ),
        "leaked": ("nothing leaked", replace(seen, leaked=(ProcessSeen("x", 7, "still runs"),)), "still runs"),
        "died": ("nothing died by itself", replace(seen, died=(ProcessSeen("x", 7, "ended"),)), "ended"),
    }


@pytest.mark.parametrize("case", broken())
def test_what_is_broken_is_found_by_its_check(case: str) -> None:
    check, seen, told = broken()[case]
    violations = judge(seen)[check].violations
    assert any(told in each.what for each in violations), violations
    assert all(each.subject for each in violations)


def test_every_check_has_a_case_that_it_must_find() -> None:
    assert {check for check, _, _ in broken().values()} == set(CHECKS)


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": (call("e-0", T0 - 10), call("e-0", T0 + 100))},
        {"calls": (call("e-0", T0 + 100, status=503), call("e-0", T0 + 200)), "faults": ()},
        {
            "calls": (call("e-0", T0 - 10), call("e-0", T0 + 8 * SECOND_US)),
            "faults": (FaultSeen("pause", "orchestrator-0", T0, T0 + 6 * SECOND_US),),
        },
    ],
    ids=["in flight when its worker died", "failed and tried again", "slept through the end of its run"],
)
def test_a_resend_that_has_a_reason_is_no_violation(changes: dict[str, Any]) -> None:
    seen = replace(good(), **changes)
    assert judge(seen)["resends explained"].violations == ()


@pytest.mark.parametrize(
    "jobs",
    [
        (job("e-1", 1, attempt=2),),
        (job("e-1", 1), job("e-1", 0, retry=True, place=Place("headrace.jobs.retry.5s", 0, 0))),
        (job("e-1", 1, key="c2"),),
        (job("e-1", 1, place=Place(JOBS, 1, 1)),),
    ],
    ids=["tried again", "handed over", "another lane", "another partition"],
)
def test_who_may_be_passed_may_be_passed(jobs: tuple[JobSeen, ...]) -> None:
    seen = good()
    early = replace(seen.runs[1], started=T0 - 1)
    passed = replace(
        seen,
        jobs=(seen.jobs[0], *jobs, seen.jobs[2]),
        runs=(seen.runs[0], early, seen.runs[2]),
        calls=(seen.calls[0], replace(seen.calls[1], arrived=T0), seen.calls[2]),
    )
    assert judge(passed)["order per lane"].violations == ()
