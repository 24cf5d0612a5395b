"""The benches, each small: that they run, what they answer, and what must hold however long it took."""

from typing import Any

import orjson
import pytest
from conftest import DEADLINE_S, run_headrace

from headrace.settings import Settings

pytestmark = pytest.mark.integration


TIMEOUT_S = 4 * DEADLINE_S
"""Of a whole stack that starts, works and ends."""


def bench(settings: Settings, *arguments: str) -> Any:
    """What `headrace bench … --json` prints. It starts a stack of its own, beside that of the tests."""
    done = run_headrace(settings, "bench", *arguments, "--json", timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return orjson.loads(done.stdout)


@pytest.fixture
def alone(settings: Settings, tmp_path: Any) -> Settings:
    """Settings that name no running stack."""
    nowhere = {"kafka_bootstrap_servers": None, "mongodb_uri": None, "state_dir": tmp_path}
    found = settings.model_copy(update=nowhere)
    vars(found).pop("kafka", None)
    return found


def test_timers_fire_all_and_none_early(alone: Settings) -> None:
    found = bench(alone, "timers", "--pending", "1000", "--rate", "100", "--seconds", "2")
    assert found["due"] == {"per_s": 100, "seconds": 2, "fired": 200}
    assert (found["pending"], found["early"]) == (1_000, 0)
    assert found.keys() == {"pending", "rebuild_s", "rss_mib", "rss_after_mib", "due", "early", "late_ms"}
    assert found["late_ms"].keys() == {"p50", "p99", "max"}


def test_retries_wait_together_and_none_goes_on_early(alone: Settings) -> None:
    found = bench(alone, "retries", "--waiting", "100", "--rate", "100")
    assert (found["runs"], found["early"]) == (100, 0)
    assert 0 < found["waiting"] <= 100
    assert found.keys() == {"runs", "tier_s", "waiting", "early", "late_ms"}


def test_fairness_has_all_of_the_quiet_apps_runs_done_before_all_of_the_busy_ones(alone: Settings) -> None:
    found = bench(alone, "fairness", "--busy", "8000", "--quiet", "5")
    assert (found["busy"]["runs"], found["quiet"]["runs"]) == (8_000, 5)
    assert 0 <= found["busy_done_before_quiet"] < found["busy"]["waiting"] <= 8_000


def test_every_caller_of_a_synchronous_webhook_gets_its_value(alone: Settings) -> None:
    found = bench(alone, "respond", "--rate", "20", "--seconds", "2")
    assert (found["rate"], found["count"]) == (20, 40)
    assert found.keys() == {"rate", "count", "p50_ms", "p99_ms", "max_ms"}


def test_a_redrive_that_is_killed_leaves_no_letter_open_and_no_effect_twice(alone: Settings) -> None:
    count = 1_500
    found = bench(alone, "redrive", "--letters", f"{count}", "--kills", "1")
    assert found["states"] == {"open": 0, "redriven": count, "discarded": 0}
    assert found["runs"] == {"success": count}
    assert (found["succeeded_once"], found["rows"]) == (count, count)
    assert found["calls"] == {"steps": count, "again": 0}
    assert found["jobs"]["runs"] == count
    assert sum(each["count"] for each in found["audit"]) == count
    assert found["audit"][0]["ended"] == "done"


def test_runs_that_wait_hold_no_worker_and_each_ends_once(alone: Settings) -> None:
    found = bench(alone, "waits", "--runs", "100")
    assert (found["parked"], found["in_flight_while_waiting"]) == (90, 0)
    assert found["statuses"] == {"success": 90, "error": 10}
    assert (found["ended_more_than_once"], found["timed_out_early"], found["rows"]) == (0, 0, 90)
    assert (found["told"], found["told_before_the_wait"], found["timed_out"]) == (80, 10, 10)
