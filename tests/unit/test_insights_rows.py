"""What insights keeps and answers: each delta counts once, whatever is delivered again, whenever rows are written."""

from datetime import UTC, datetime
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from headrace.contracts.runs import FINAL_STATUSES
from headrace.contracts.sketch import ERROR, bucket_of
from headrace.contracts.stats import Delta
from headrace.service import WrongQuery
from headrace.settings import load_settings
from services.insights.book import Book
from services.insights.credentials import broker_credentials
from services.insights.progress import Look, Progress
from services.insights.queries import AutomationMetrics, insights
from services.insights.rows import FAILURES, HOUR, KEPT, MINUTE, TOTAL, Failures, Window, key_of, parse_key
from services.insights.table import PartitionRows

pytestmark = pytest.mark.unit

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
STATUSES = sorted(FINAL_STATUSES)


def delta(name: str = "desk", durations: tuple[float, ...] = (), **ended: Any) -> Delta:
    counts: dict[int, int] = {}
    for duration in durations or (10.0,) * sum(ended.values()):
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    made: Any = {
        "format": 1, "app": "airport", "automation": name, "version": 1, "is_cron": False, "ended": ended,
        "errors_first": 0, "errors_last": 0, "errors_longest": 0, "durations": counts,
        "time": datetime.fromtimestamp(NOON, UTC),
    }  # fmt: skip
    return made


class Kept:
    """Partitions as a worker has them, written by a book."""

    def __init__(self, numbers: int = 1) -> None:
        self.partitions = {number: PartitionRows() for number in range(numbers)}
        self.book = Book(lambda: self.partitions)

    def write(self, now: float = NOON) -> dict[int, int]:
        changes, reached = self.book.changes(now)
        for (partition, key), value in changes.items():
            self.partitions[partition].put(key, value)
        return reached

    def ask(self, now: float = NOON, **query: str) -> list[dict[str, Any]]:
        return insights(self.partitions, query, now)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(STATUSES), st.integers(1, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=12),
)
def test_each_delta_counts_once_however_often_delivery_goes_back_and_rows_are_written(
    runs: list[tuple[str, str, int]], restarts: list[tuple[int, bool]]
) -> None:
    """`restarts`: (offset to which delivery goes back, whether what was counted so far had been written)."""
    kept = Kept()
    at, left, reached = 0, list(restarts), 0
    while at < len(runs) or left:
        if at < len(runs) and (not left or at % 3 != 2):
            name, status, count = runs[at]
            kept.book.count(0, at, NOON, delta(name, (), **{status: count}), NOON)
            kept.book.reach(0, at + 1)
            at += 1
        else:
            back, is_written = left.pop(0)
            if is_written:
                reached = kept.write().get(0, reached)
            kept.book.forget(0)
            # Delivery begins at the committed offset or, where the commit is lost, anywhere before it.
            at = min(back, reached)
            if at >= len(runs) and not left:
                break
    for offset in range(at, len(runs)):
        name, status, count = runs[offset]
        kept.book.count(0, offset, NOON, delta(name, (), **{status: count}), NOON)
    kept.write()
    for name in "ab":
        wanted: dict[str, int] = {}
        for named, status, count in runs:
            if named == name:
                wanted[status] = wanted.get(status, 0) + count
        found = kept.ask(automation=f"airport/{name}")
        assert [each["total"] for each in found] == ([wanted] if wanted else [])
        assert [each["ended"] for each in found] == ([wanted] if wanted else [])


def test_a_row_counted_on_while_it_is_written_loses_nothing() -> None:
    kept = Kept()
    kept.book.count(0, 0, NOON, delta(success=1), NOON)
    changes, _ = kept.book.changes(NOON)
    for (partition, key), value in changes.items():
        kept.partitions[partition].put(key, value)
    kept.book.count(0, 1, NOON, delta(success=1), NOON)
    kept.write()
    assert kept.ask()[0]["total"] == {"success": 2}


def test_a_delta_that_is_there_again_is_told_from_a_new_one() -> None:
    kept = Kept()
    assert kept.book.count(0, 7, NOON, delta(success=1), NOON)
    kept.write()
    assert not kept.book.count(0, 7, NOON, delta(success=1), NOON)
    assert kept.book.count(0, 8, NOON, delta(success=1), NOON)


def test_partitions_do_not_share_offsets() -> None:
    kept = Kept(2)
    kept.book.count(0, 100, NOON, delta("a", success=1), NOON)
    kept.book.count(1, 3, NOON, delta("b", success=1), NOON)
    kept.book.reach(0, 101)
    kept.book.reach(1, 4)
    assert kept.write() == {0: 101, 1: 4}
    assert [each["total"] for each in kept.ask()] == [{"success": 1}] * 2


def test_what_was_in_hand_of_a_partition_that_moved_is_not_written() -> None:
    kept = Kept(2)
    kept.book.count(0, 0, NOON, delta("a", success=1), NOON)
    kept.book.count(1, 0, NOON, delta("b", success=1), NOON)
    kept.book.put_failures(0, "airport/a", Failures(0, 1, 1))
    kept.book.reach(0, 1)
    kept.book.forget(0)
    assert kept.write() == {}
    assert [each["automation"] for each in kept.ask()] == ["airport/b"]


@pytest.mark.parametrize(("span", "seconds"), [("5m", 300), ("15m", 900), ("1h", 3_600), ("24h", 86_400)])
def test_a_span_holds_the_window_under_way_and_as_many_before_as_it_says(span: str, seconds: int) -> None:
    kept = Kept()
    for offset, age in enumerate((0, seconds - HOUR if span == "24h" else seconds - MINUTE, seconds)):
        kept.book.count(0, offset, NOON - age, delta(success=1), NOON - age)
        kept.write(NOON - age)
    (found,) = kept.ask(NOON, span=span)
    assert found["runs"] == 2
    assert found["total"] == {"success": 3}


def test_windows_nobody_asks_for_are_taken_away_and_not_made_again() -> None:
    kept = Kept()
    kept.book.count(0, 0, NOON, delta(success=1), NOON)
    kept.write()
    rows = kept.partitions[0].rows
    assert {parse_key(key)[1] for key in rows} == {Window(int(NOON), MINUTE), Window(int(NOON), HOUR), TOTAL}
    kept.write(NOON + MINUTE * KEPT[MINUTE])
    assert {parse_key(key)[1] for key in rows} == {Window(int(NOON), HOUR), TOTAL}
    later = NOON + HOUR * KEPT[HOUR]
    kept.book.count(0, 1, NOON, delta(success=1), later)
    kept.write(later)
    assert set(rows) == {key_of("airport/desk", TOTAL)}
    assert kept.ask(later)[0]["total"] == {"success": 2}


@pytest.mark.parametrize("kind", [Window(1_385_000_040, MINUTE), Window(1_384_999_200, HOUR), TOTAL, FAILURES])
def test_a_key_says_what_its_row_is(kind: Window | str) -> None:
    assert parse_key(key_of("airport/desk", kind)) == ("airport/desk", kind)


def test_error_rate_and_quantiles_are_of_all_runs_in_the_span() -> None:
    kept = Kept()
    kept.book.count(0, 0, NOON, delta(durations=(1.0, 2.0, 3.0), success=2, error=1), NOON)
    kept.book.count(0, 1, NOON + 60, delta(durations=(400.0,), timed_out=1), NOON + 60)
    kept.write(NOON + 60)
    (found,) = kept.ask(NOON + 60, span="5m")
    assert (found["runs"], found["error_rate"]) == (4, 0.5)
    assert found["p50_ms"] == pytest.approx(2.0, rel=ERROR)
    assert found["p95_ms"] == pytest.approx(400.0, rel=ERROR)
    (later,) = kept.ask(NOON + HOUR, span="5m")
    assert (later["runs"], later["error_rate"], later["p50_ms"]) == (0, None, None)


def test_answers_are_of_one_automation_one_app_or_all_and_a_wrong_question_is_told_what_is_known() -> None:
    kept = Kept()
    kept.book.count(0, 0, NOON, delta("a", success=1), NOON)
    kept.book.count(0, 1, NOON, delta("b", success=1), NOON)
    kept.write()
    assert [each["automation"] for each in kept.ask()] == ["airport/a", "airport/b"]
    assert [each["automation"] for each in kept.ask(automation="airport/b")] == ["airport/b"]
    assert len(kept.ask(app="airport")) == 2
    assert kept.ask(app="air") == []
    with pytest.raises(WrongQuery, match="5m, 15m, 1h, 24h"):
        kept.ask(span="7m")
    with pytest.raises(WrongQuery, match="'minutes'"):
        kept.ask(minutes="5")


def test_metrics_are_counters_that_go_on_and_gauges_of_the_last_minutes() -> None:
    kept = Kept()
    kept.book.count(0, 0, NOON - HOUR, delta(success=4), NOON - HOUR)
    kept.book.count(0, 1, NOON, delta(durations=(10.0, 10.0), success=1, error=1), NOON)
    kept.book.put_failures(0, "airport/desk", Failures(1, 1, 3))
    kept.write()
    registry = CollectorRegistry()
    registry.register(AutomationMetrics(lambda: kept.partitions, lambda: NOON))
    text = generate_latest(registry).decode()
    desk = 'automation="airport/desk"'
    assert f'headrace_automation_runs_total{{{desk},status="success"}} 5.0' in text
    assert f"headrace_automation_error_ratio{{{desk}}} 0.5" in text
    assert f'headrace_automation_run_seconds{{{desk},quantile="0.95"}} 0.0' in text
    assert f"headrace_automation_failures_in_a_row{{{desk}}} 3.0" in text


class Watched:
    """A worker's progress by a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.progress = Progress(lambda: self.now)

    def see(self, after: float, position: int, end: int, *, settled: bool = True, moves: int = 0) -> float:
        self.now += after
        self.progress.see(Look({0: position}, {0: end}, settled, moves))
        return self.progress.stalled_s()


def test_a_worker_that_has_counted_all_is_not_stalled_and_one_that_gets_on_neither() -> None:
    watched = Watched()
    assert [watched.see(1, 5, 5) for _ in range(3)] == [0, 0, 0]
    assert [watched.see(1, position, 1_000) for position in (5, 6, 7)] == [0, 0, 0]


def test_a_worker_that_does_not_come_further_while_there_is_more_is_stalled() -> None:
    watched = Watched()
    watched.see(1, 5, 5)
    watched.see(1, 5, 9)  # what came since the last look may be under way
    assert [watched.see(1, 5, 9) for _ in range(3)] == [1, 2, 3]
    assert watched.see(1, 6, 9) == 0


def test_a_worker_that_is_never_looked_at_is_stalled() -> None:
    watched = Watched()
    watched.see(1, 5, 5)
    watched.now += 50
    assert watched.progress.stalled_s() == 50


def test_a_worker_that_never_gets_its_partitions_is_stalled_and_one_that_still_moves_is_not() -> None:
    watched = Watched()
    watched.see(1, 5, 5, settled=False)
    assert [watched.see(1, 5, 5, settled=False) for _ in range(2)] == [1, 2]
    assert watched.see(1, 5, 5, settled=False, moves=1) == 0


def test_a_worker_that_waits_for_a_part_that_is_away_is_not_stalled() -> None:
    watched = Watched()
    watched.see(1, 5, 9)
    watched.see(1, 5, 9)
    watched.progress.excuse()
    assert watched.progress.stalled_s() == 0


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {"security_protocol": "PLAINTEXT"}),
        ({"kafka_security_protocol": "SSL"}, {"security_protocol": "SSL"}),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"},
        ),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512"},
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"},
        ),
    ],
)
def test_faust_connects_as_the_other_services_do(settings: dict[str, Any], wanted: dict[str, str]) -> None:
    user = {"kafka_sasl_username": "ann", "kafka_sasl_password": "secret"} if "sasl_mechanism" in wanted else {}
    auth = credentials_to_aiokafka_auth(broker_credentials(load_settings(**settings, **user)), None)
    assert {name: auth[name] for name in wanted} == wanted
    assert ("ssl_context" in auth and auth["ssl_context"] is not None) == wanted["security_protocol"].endswith("SSL")
    if user:
        assert (auth["sasl_plain_username"], auth["sasl_plain_password"]) == ("ann", "secret")
