"""What transactions say of their runs: counted once, whatever transactions they were in."""

from math import ceil
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.automation import parse_automation
from headrace.contracts.errors import ContractError
from headrace.contracts.runs import FINAL_STATUSES, RunStatus
from headrace.contracts.sketch import ERROR, FLOOR_MS, bucket_of, quantile
from headrace.contracts.stats import ERRORS, SUCCESSES, Delta, Streak, read_delta, streak_of
from headrace.settings import load_settings
from headrace.streams import Outcome, Record
from services.orchestrator.stats import Summary, tally

pytestmark = pytest.mark.unit

STATUSES: list[RunStatus] = sorted(FINAL_STATUSES)
RUNS = st.lists(st.tuples(st.sampled_from(STATUSES), st.floats(0, 1e9)), max_size=60)


def plan(name: str = "desk", version: int = 3, trigger: str = "event") -> Any:
    document = {
        "app": "airport",
        "name": name,
        "trigger": {"type": trigger, **({"schedule": "* * * * *"} if trigger == "cron" else {"event": "e"})},
        "steps": [{"id": "s", "use": "log", "with": {"text": "t"}}],
    }
    return SimpleNamespace(automation=parse_automation(document), version=version)


DESK = plan()


def outcomes(runs: list[tuple[RunStatus, float]], of: Any = DESK) -> list[Outcome]:
    made = [tally(of, cast(Any, {"status": status, "duration_ms": duration})) for status, duration in runs]
    return [Outcome(Record("jobs", 0, at, 0, None, None, ()), 1, (), each) for at, each in enumerate(made)]


def deltas(made: list[Outcome]) -> list[Delta]:
    return [read_delta(each.value) for each in Summary(load_settings())(made)]


def longest(statuses: list[RunStatus]) -> int:
    """Failures in a row, counted as a person would."""
    most = now = 0
    for status in statuses:
        now = 0 if status in SUCCESSES else now + (status in ERRORS)
        most = max(most, now)
    return most


@st.composite
def groupings(draw: st.DrawFn) -> list[list[tuple[RunStatus, float]]]:
    """Runs in their order, cut into transactions."""
    runs = draw(RUNS)
    cuts = sorted(draw(st.lists(st.integers(0, len(runs)), max_size=8)))
    return [runs[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(runs)], strict=True)]


@given(groupings())
def test_counts_streaks_and_durations_are_the_same_however_runs_are_cut_into_transactions(
    transactions: list[list[tuple[RunStatus, float]]],
) -> None:
    runs = [run for each in transactions for run in each]
    statuses: list[RunStatus] = [status for status, _ in runs]
    ended: dict[RunStatus, int] = {}
    durations: dict[int, int] = {}
    streak = Streak(0, 0, 0, has_success=False)
    for transaction in transactions:
        for delta in deltas(outcomes(transaction)):
            streak = streak.then(streak_of(delta))
            for status, count in delta["ended"].items():
                ended[status] = ended.get(status, 0) + count
            for bucket, count in delta["durations"].items():
                durations[bucket] = durations.get(bucket, 0) + count
    assert ended == {status: statuses.count(status) for status in set(statuses)}
    whole = [bucket_of(duration) for _, duration in runs]
    assert durations == {bucket: whole.count(bucket) for bucket in set(whole)}
    good = [at for at, status in enumerate(statuses) if status in SUCCESSES]
    assert streak.longest == longest(statuses)
    assert streak.has_success == bool(good)
    assert streak.first == longest(statuses[: good[0]] if good else statuses)
    assert streak.last == longest(statuses[good[-1] :] if good else statuses)


@given(st.lists(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6), min_size=3, max_size=3))
def test_streaks_are_joined_in_any_grouping(transactions: list[list[RunStatus]]) -> None:
    made = [deltas(outcomes([(status, 1.0) for status in each])) for each in transactions]
    a, b, c = (streak_of(delta) for (delta,) in made)
    assert a.then(b).then(c) == a.then(b.then(c))


@given(st.lists(st.floats(FLOOR_MS, 1e9), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_quantile_is_within_the_stated_error_of_the_duration_that_has_its_rank(
    durations: list[float], share: float
) -> None:
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    exact = sorted(durations)[ceil(share * len(durations)) - 1]
    found = quantile(counts, share)
    assert found is not None
    assert abs(found - exact) <= exact * ERROR * (1 + 1e-9)


def test_a_sketch_of_nothing_has_no_quantile_and_no_duration_is_too_short_for_one() -> None:
    assert quantile({}, 0.5) is None
    assert bucket_of(0.0) == bucket_of(FLOOR_MS)
    assert quantile({bucket_of(0.0): 1}, 0.5) == pytest.approx(FLOOR_MS, rel=ERROR)


def test_a_sketch_stays_as_small_as_is_said() -> None:
    assert bucket_of(10_000) - bucket_of(1) < 240


def test_each_automation_and_version_has_a_delta_of_its_own_keyed_by_the_automation() -> None:
    other, newer = plan("other", trigger="cron"), plan(version=4)
    mixed = [
        *outcomes([("success", 1.0), ("error", 1.0)]),
        *outcomes([("error", 2.0)], other),
        *outcomes([("stopped", 2.0)], newer),
    ]
    made = Summary(load_settings(prefix="mine"))(mixed)
    assert {each.topic for each in made} == {"mine.stats"}
    assert [each.key for each in made] == [b"airport/desk", b"airport/other", b"airport/desk"]
    found = [read_delta(each.value) for each in made]
    assert [(each["automation"], each["version"], each["is_cron"], each["ended"]) for each in found] == [
        ("desk", 3, False, {"success": 1, "error": 1}),
        ("other", 3, True, {"error": 1}),
        ("desk", 4, False, {"stopped": 1}),
    ]


@pytest.mark.parametrize("status", ["running", "waiting", "retrying"])
def test_a_run_that_is_not_at_its_end_does_not_count(status: RunStatus) -> None:
    assert Summary(load_settings())(outcomes([(status, 1.0)])) == []


@pytest.mark.parametrize("value", [None, b"", b"[]", b'{"format": 2}'])
def test_what_is_no_delta_is_refused_in_words(value: bytes | None) -> None:
    with pytest.raises(ContractError, match="stats"):
        read_delta(value)
