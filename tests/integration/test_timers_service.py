"""Timers on a real Kafka: never early, never lost, fired once whoever dies."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from conftest import until
from scheduling import Scheduling, run

from headrace.embedded import Supervisor
from headrace.settings import Settings

pytestmark = pytest.mark.integration

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
MANY = 5_000


@pytest.fixture
def scheduling(topics: Settings) -> Scheduling:
    return Scheduling(topics)


def test_a_timer_fires_when_it_is_due_never_before_and_is_taken_out(scheduling: Scheduling) -> None:
    begin = scheduling.clock() + SECOND
    scheduling.write(range(300), begin, SECOND / 100)
    with scheduling.running():
        until(lambda: len(scheduling.resumed()) >= 300, "all timers to fire")
        until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all timers to be taken out")
    assert scheduling.numbers() == list(range(300))
    assert all(at >= begin + number * SECOND / 100 - SECOND / 1000 for number, _, at in scheduling.resumed())


def test_what_came_due_while_nothing_ran_fires_at_once_and_the_rest_in_its_time(scheduling: Scheduling) -> None:
    scheduling.write(range(100), scheduling.clock() - HOUR)
    scheduling.write(range(100, 200), scheduling.clock() + HOUR)
    with scheduling.running():
        until(lambda: len(scheduling.resumed()) >= 100, "what is overdue to fire")
        until(scheduling.is_quiet, "all to be read")
    assert scheduling.numbers() == list(range(100))
    assert len(scheduling.left()) == 100
    scheduling.clock.shift += 2 * HOUR
    with scheduling.running():
        until(lambda: len(scheduling.resumed()) >= 200, "the rest to fire")
        until(scheduling.is_quiet, "all to be read")
    assert scheduling.numbers() == list(range(200))
    assert scheduling.left() == {}


def test_a_younger_timer_takes_the_place_of_its_runs_older_one_and_a_tombstone_takes_it_out(
    scheduling: Scheduling,
) -> None:
    soon = scheduling.clock() + HOUR
    scheduling.write([1, 2, 3], soon)
    with scheduling.running():
        until(scheduling.is_quiet, "the timers to be read")
        scheduling.write([2], soon + HOUR, segment=7)
        scheduling.put(run(3).encode(), None)
        until(scheduling.is_quiet, "the changes to be read")
        scheduling.clock.shift += 1.5 * HOUR
        until(lambda: len(scheduling.resumed()) >= 1, "the first to fire")
        until(scheduling.is_quiet, "all to be read")
        assert [(number, segment) for number, segment, _ in scheduling.resumed()] == [(1, 1)]
        scheduling.clock.shift += HOUR
        until(lambda: len(scheduling.resumed()) >= 2, "the second to fire")
        until(lambda: scheduling.left() == {}, "all to be taken out")
    assert sorted((number, segment) for number, segment, _ in scheduling.resumed()) == [(1, 1), (2, 7)]


def test_what_an_old_log_says_at_last_is_what_counts(scheduling: Scheduling) -> None:
    past = scheduling.clock() - HOUR
    scheduling.write([*range(MANY)] * 2, past)
    scheduling.write(range(MANY), past, segment=2)
    for number in range(10):
        scheduling.put(run(number).encode(), None)
    with scheduling.running():
        until(lambda: len(scheduling.resumed()) >= MANY - 10, "all timers to fire")
        until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all to be taken out")
    assert sorted(scheduling.resumed())[0][:2] == (10, 2)
    assert scheduling.numbers() == list(range(10, MANY))


def test_a_timer_that_nobody_can_read_is_a_dead_letter_and_holds_nobody_up(scheduling: Scheduling) -> None:
    scheduling.put(b"bad", b"{")
    scheduling.write(range(10), scheduling.clock())
    with scheduling.running():
        until(lambda: len(scheduling.resumed()) >= 10, "the others to fire")
        until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all to be taken out")
    with scheduling.running() as again:
        until(lambda: again.ready, "the log to be read again")
    (letter,) = (orjson.loads(record.value or b"") for record in scheduling.read(scheduling.letters))
    assert (letter["service"], letter["reason"]["type"]) == ("scheduler", "not_json")


def test_schedulers_come_and_go_while_they_fire_and_each_timer_fires_once(scheduling: Scheduling) -> None:
    scheduling.write(range(2 * MANY), scheduling.clock() + SECOND, SECOND / 1500)
    with scheduling.running(0):
        until(lambda: len(scheduling.resumed()) > 100, "the first to fire")
        with scheduling.running(1) as second:
            until(lambda: second.ready, "the second scheduler to be ready")
            before = len(scheduling.resumed())
            until(lambda: len(scheduling.resumed()) >= min(before + 1_000, 2 * MANY), "more to fire")
    with scheduling.running(2):
        until(lambda: len(scheduling.resumed()) >= 2 * MANY, "the rest to fire")
        until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all to be taken out")
    assert scheduling.numbers() == list(range(2 * MANY))


def test_a_scheduler_that_is_killed_while_it_fires_thousands_loses_none_and_repeats_none(
    scheduling: Scheduling, start_services: Callable[[Settings, Sequence[str]], Supervisor]
) -> None:
    services = start_services(scheduling.settings, ("scheduler",))
    services.start_service("scheduler", slot=1)
    services.wait_ready()
    scheduling.write(range(2 * MANY), scheduling.clock() + SECOND, SECOND / 1500)
    until(lambda: len(scheduling.resumed()) > 500, "some hundred timers to fire")
    os.kill(services.processes[0].pid, signal.SIGKILL)
    until(lambda: len(scheduling.resumed()) >= 2 * MANY, "all timers to fire")
    until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all to be taken out")
    assert scheduling.numbers() == list(range(2 * MANY))


def test_a_scheduler_killed_between_any_two_steps_of_firing_loses_none_and_repeats_none(
    scheduling: Scheduling, tmp_path: Path
) -> None:
    doomed = str(Path(__file__).with_name("doomed_scheduler.py"))
    points = ["produce 1", "produce 399", "offsets", "offsets done", "commit", "commit done"]
    with Supervisor(scheduling.settings, tmp_path / "logs") as services:
        for at, point in enumerate(points):
            scheduling.write(range(200 * at, 200 * (at + 1)), scheduling.clock() - HOUR)
            worker = services.start(f"scheduler-{at}", [sys.executable, doomed, point], {"HEADRACE_SLOT": "0"}).stats()
            until(lambda w=worker: not w.is_running() or w.status() == "zombie", f"the end at {point}")
        services.start_service("scheduler")
        until(lambda: len(scheduling.resumed()) >= 200 * len(points), "all timers to fire")
        until(lambda: scheduling.left() == {} and scheduling.is_quiet(), "all to be taken out")
    assert scheduling.numbers() == list(range(200 * len(points)))
