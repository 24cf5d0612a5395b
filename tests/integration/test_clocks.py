"""Clock triggers on a real Kafka: each time ticks once whoever dies, missed ones as their automation says."""

import os
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import orjson
import psutil
import pytest
from conftest import Installation, until
from scheduling import Scheduling

from headrace.contracts.cloudevents import Location, format_time, read_event
from headrace.contracts.ticks import Tick, read_tick
from headrace.contracts.timers import CronTimer, read_any_timer
from headrace.embedded import Stack, Supervisor
from headrace.settings import Settings
from headrace.streams import metrics, state

pytestmark = pytest.mark.integration

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def scheduling(topics: Settings) -> Scheduling:
    return Scheduling(topics)


def ticks(scheduling: Scheduling, automation: str) -> list[datetime]:
    """The scheduled times of an automation's ticks, in the order of their partition."""
    found: list[Tick] = []
    for record in scheduling.read(scheduling.ticks):
        event = read_event(record.headers, Location(*record[:3]), record.timestamp_ms)
        tick = read_tick(orjson.loads(record.value or b""))
        assert (event.app, event.type, event.time) == ("shop", "tick", tick.scheduled)
        assert record.key == f"shop/{tick.automation}".encode()
        found.append(tick)
    return [tick.scheduled for tick in found if tick.automation == automation]


def armed(scheduling: Scheduling) -> dict[str, datetime]:
    """The next time of each clock that is armed."""
    timers = [read_any_timer(key, value) for key, value in scheduling.left().items()]
    return {timer.automation: timer.due for timer in timers if isinstance(timer, CronTimer)}


def test_an_automation_that_goes_live_runs_at_each_of_its_times(installation: Installation) -> None:
    installation.apply(
        {
            "name": "clock",
            "app": "shop",
            "trigger": {"type": "cron", "schedule": "@every 3s"},
            "steps": [{"id": "at", "collect": "{{ trigger.scheduled }}"}],
        }
    )
    metric = 'headrace_run_records_total{outcome="new"}'
    until(lambda: _value(installation.get("recorder-0", "/metrics"), metric) >= 2, "two runs")
    runs = sorted(run["collected"] for run in installation.runs("shop"))
    times = [format_time(time) for time in ticks(Scheduling(installation.settings), "clock")]
    assert runs == times[: len(runs)]


def _value(metrics: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(f"{name} "))


def test_each_time_ticks_once_however_many_schedulers_run_and_die(
    scheduling: Scheduling, start_services: Callable[[Settings, Sequence[str]], Supervisor]
) -> None:
    names = [f"clock-{number}" for number in range(6)]  # in both partitions
    for name in names:
        scheduling.publish(name, schedule="* * * * * *", missed="run_all")
    services = start_services(scheduling.settings, ("scheduler",))
    services.start_service("scheduler", slot=1)
    services.wait_ready()
    until(lambda: all(len(ticks(scheduling, name)) >= 2 for name in names), "the first ticks")
    os.kill(services.processes[0].pid, signal.SIGKILL)
    reached = {name: len(ticks(scheduling, name)) for name in names}
    until(lambda: all(len(ticks(scheduling, name)) >= reached[name] + 5 for name in names), "ticks of the other")
    for name in names:
        times = ticks(scheduling, name)
        assert all(later - earlier == SECOND for earlier, later in pairwise(times)), name


def test_a_clock_follows_its_automation(scheduling: Scheduling) -> None:
    with scheduling.running():
        scheduling.publish("clock", schedule="@every 1h")
        until(lambda: "clock" in armed(scheduling), "the clock to be armed")
        first = armed(scheduling)["clock"]
        scheduling.publish("clock", schedule="@every 2h")
        until(lambda: armed(scheduling)["clock"] > first + 0.5 * HOUR, "the clock to be armed anew")
        scheduling.publish("clock", state="disabled", schedule="@every 2h")
        until(lambda: armed(scheduling) == {}, "the clock to be stopped")
        scheduling.publish("clock", schedule="@every 3h")
        until(lambda: "clock" in armed(scheduling), "the clock to be armed")
        scheduling.put(b"shop/clock", None, scheduling.automations)
        until(lambda: armed(scheduling) == {}, "the clock to be stopped")
        scheduling.clock.shift += 12 * HOUR
        scheduling.publish("other", schedule="@every 1h")
        until(lambda: ticks(scheduling, "other") != [], "what is due to tick")
    assert ticks(scheduling, "clock") == []


def _publish_each_policy(scheduling: Scheduling) -> datetime:
    """An hourly clock of each policy; answers when the first of its times comes."""
    for policy in ("skip", "run_once", "run_all"):
        scheduling.publish(policy.replace("_", "-"), schedule="@every 1h", missed=policy)
    until(lambda: len(armed(scheduling)) == 3, "the clocks to be armed")
    return max(armed(scheduling).values())


def _assert_each_policy_was_kept(scheduling: Scheduling, hours: int) -> None:
    until(lambda: min(armed(scheduling).values()) > scheduling.clock(), "all clocks to be armed anew")
    assert ticks(scheduling, "skip") == []
    every = ticks(scheduling, "run-all")
    assert len(every) == hours
    assert all(later - earlier == HOUR for earlier, later in pairwise(every))
    (last,) = ticks(scheduling, "run-once")
    assert abs(last - every[-1]) < 5 * SECOND


def test_after_hours_without_any_scheduler_each_automation_says_what_it_missed(scheduling: Scheduling) -> None:
    with scheduling.running():
        _publish_each_policy(scheduling)
    scheduling.clock.shift += 6.5 * HOUR
    with scheduling.running():
        _assert_each_policy_was_kept(scheduling, 6)


@contextmanager
def standing_still(stack: Stack) -> Generator[None]:
    """The broker does nothing within the block."""
    (broker,) = [child for child in stack.children if child.name == "Kafka"]
    processes = [psutil.Process(broker.pid), *psutil.Process(broker.pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_after_hours_without_kafka_each_automation_says_what_it_missed(
    scheduling: Scheduling, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stack.addresses.kafka_from != "embedded":
        pytest.skip("only a broker of our own can be stopped")
    with scheduling.running():
        first = _publish_each_policy(scheduling)
        until(scheduling.is_quiet, "all to be read")
        monkeypatch.setattr(state, "ACT_S", 1.0)
        given_up = metrics.FENCED._value.get()
        with standing_still(stack):
            scheduling.clock.shift += first - scheduling.clock() + SECOND
            until(lambda: metrics.FENCED._value.get() > given_up, "the first ticks to be held up")
            scheduling.clock.shift += 5.5 * HOUR
        _assert_each_policy_was_kept(scheduling, 6)
