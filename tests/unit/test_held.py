"""Timers of a paused automation wait, and go on in their order and at a rate once the pause is over."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timer_log import NOW, SECOND, Log, timer

from headrace.contracts.cloudevents import Location
from headrace.contracts.resumptions import Resumption, Timer, write_timer
from headrace.contracts.ticks import read_tick
from headrace.contracts.timers import CronTimer, cron_key, write_cron_timer
from headrace.streams import Record

pytestmark = pytest.mark.unit


def live(log: Log, state: str, rate: float = 10.0, name: str = "pay", trigger: dict[str, Any] | None = None) -> None:
    """The next revision of the automation's live document."""
    log.revision += 1
    document = {
        "name": name, "app": "shop", "trigger": trigger or {"type": "event", "event": "go"},
        "steps": [{"id": "a", "collect": 1}],
    }  # fmt: skip
    value = {
        "format": 1, "revision": log.revision, "version": 1, "state": state, "release_rate": rate, "document": document,
    }  # fmt: skip
    record = Record("headrace.automations", 0, log.revision, 0, f"shop/{name}".encode(), orjson.dumps(value), ())
    log.pauses.apply(record)
    log.crons.apply(record)


def held(key: bytes, due: datetime = NOW, automation: str = "pay") -> bytes:
    """What the orchestrator writes of a run whose automation is paused."""
    resumption = Resumption(
        run_id=key.decode(), app="shop", automation=automation, source=Location("headrace.events", 0, 7), generation=0,
        segment=1, key="k", priority="normal",
    )  # fmt: skip
    return write_timer(Timer(due=due, held=True, resumes=resumption))


def resumed(log: Log) -> Sequence[str]:
    """The runs that were resumed since the last call."""
    found = [orjson.loads(each.value or b"")["run_id"] for each in log.outputs]
    log.outputs.clear()
    return found


@pytest.fixture
def log() -> Log:
    return Log()


def test_what_waits_for_a_pause_to_end_goes_on_first_come_first_at_the_rate(log: Log) -> None:
    live(log, "paused")
    for number in range(30):
        log.append(b"run-%02d" % number, held(b"run-%02d" % number, NOW + number * SECOND / 1000))
    log.now = NOW + 3600 * SECOND
    log.settle()
    assert (resumed(log), log.state.wait_s()) == ([], float("inf"))
    live(log, "enabled")
    found: list[str] = []
    while len(found) < 30:
        log.settle()
        some = resumed(log)
        assert len(some) == 1
        found += some
        if len(found) < 30:
            assert log.state.wait_s() == pytest.approx(0.1, abs=1e-4)
        log.now += SECOND / 10
    assert found == [f"run-{number:02}" for number in range(30)]
    assert log.state.wait_s() == float("inf")


def test_a_delay_that_is_over_while_its_automation_is_paused_waits_too(log: Log) -> None:
    log.append(b"run-a", timer(b"run-a", 1, NOW + SECOND))
    live(log, "paused")
    log.now = NOW + 2 * SECOND
    log.settle()
    assert resumed(log) == []
    live(log, "enabled")
    log.settle()
    assert resumed(log) == ["run-a"]


def test_others_are_neither_held_nor_slowed_down(log: Log) -> None:
    live(log, "paused", name="other")
    live(log, "enabled")
    for number in range(10):
        log.append(b"other-%d" % number, held(b"other-%d" % number, automation="other"))
        log.append(b"run-%d" % number, timer(b"run-%d" % number, 1, NOW))
    log.settle()
    assert resumed(log) == [f"run-{number}" for number in range(10)]


def test_the_rate_holds_for_who_takes_the_partition_over_half_way(log: Log) -> None:
    live(log, "enabled")
    for number in range(20):
        log.append(b"run-%02d" % number, held(b"run-%02d" % number, NOW + number * SECOND / 1000))
    log.settle()
    log.now += SECOND / 2
    log.settle()
    assert resumed(log) == [f"run-{number:02}" for number in range(6)]
    log.restart()
    log.settle()
    assert resumed(log) == ["run-06"]
    log.now += SECOND / 2
    log.settle()
    assert resumed(log) == [f"run-{number:02}" for number in range(7, 12)]


def test_what_stood_still_for_long_does_not_go_on_in_a_flood(log: Log) -> None:
    live(log, "enabled")
    for number in range(100):
        log.append(b"run-%02d" % number, held(b"run-%02d" % number))
    log.settle()
    log.now += 60 * SECOND
    log.settle()
    assert len(resumed(log)) == 1 + 11  # the first, and a second's worth


def test_a_run_that_ends_while_it_is_held_is_forgotten(log: Log) -> None:
    live(log, "paused")
    log.append(b"run-a", held(b"run-a"))
    log.append(b"run-b", held(b"run-b"))
    log.settle()
    log.append(b"run-a", None)
    log.settle()
    live(log, "enabled", rate=1_000_000)
    log.now += SECOND
    log.settle()
    assert resumed(log) == ["run-b"]


def test_what_could_not_be_committed_is_held_again_or_goes_on_again(log: Log) -> None:
    live(log, "enabled", rate=1_000_000)
    log.append(b"run-a", held(b"run-a"))
    log.apply()
    acts = log.state.act(10)
    assert len(acts) == 1
    log.state.take_back(acts)
    live(log, "paused")
    log.settle()
    assert resumed(log) == []
    live(log, "enabled", rate=1_000_000)
    log.now += SECOND
    log.settle()
    assert resumed(log) == ["run-a"]


def test_a_paused_clock_stands_still_and_then_does_what_its_policy_says_of_missed_times(log: Log) -> None:
    trigger = {"type": "cron", "schedule": "0 * * * *", "missed": "run_once"}
    live(log, "enabled", name="desk", trigger=trigger)
    key = cron_key("shop", "desk")
    clock = CronTimer(
        due=NOW + 3600 * SECOND, app="shop", automation="desk", schedule="0 * * * *", timezone="UTC", missed="run_once"
    )
    log.append(key, write_cron_timer(clock))
    log.settle()
    live(log, "paused", name="desk", trigger=trigger)
    log.now = NOW + 10 * 86_400 * SECOND + 120 * SECOND
    log.settle()
    assert log.outputs == []
    live(log, "enabled", name="desk", trigger=trigger)
    log.settle()
    (tick,) = [read_tick(orjson.loads(each.value or b"")) for each in log.outputs]
    assert tick.scheduled == NOW + 10 * 86_400 * SECOND


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["paused", "enabled"]), st.booleans()), max_size=12))
def test_whatever_is_paused_and_resumed_each_run_goes_on_once_and_none_while_it_is_paused(
    steps: list[tuple[int, str, bool]],
) -> None:
    log = Log()
    live(log, "enabled", rate=1_000_000)
    written: list[str] = []
    found: list[str] = []
    for count, state, is_lost in steps:
        live(log, state, rate=1_000_000)
        for _ in range(count):
            key = b"run-%d" % len(written)
            log.append(key, held(key, log.now) if len(written) % 2 else timer(key, 1, log.now))
            written.append(key.decode())
        log.now += SECOND
        if is_lost:
            log.restart()
        log.settle()
        some = resumed(log)
        assert not (some and state == "paused")
        found += some
    live(log, "enabled", rate=1_000_000)
    for _ in range(2):  # the first one opens the account
        log.now += SECOND
        log.settle()
    assert sorted([*found, *resumed(log)]) == sorted(written)
