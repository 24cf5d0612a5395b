"""Clock triggers: armed while their automation is live, one tick for each time, missed ones as the automation says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timer_log import NOW, SECOND, Log, timer

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.automation.schedules import read_schedule
from headrace.contracts.cloudevents import Location, read_event
from headrace.contracts.jobs import run_id
from headrace.contracts.ticks import read_tick
from headrace.contracts.timers import CronTimer, Missed, cron_key, read_any_timer
from headrace.matching import Index, Match, compile_definition, match_tick
from headrace.streams import Record
from services.scheduler.crons import ALLOWED, LATE, LiveCrons, Owed, owed

pytestmark = pytest.mark.unit

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
KEY = cron_key("shop", "nightly")
HOURLY: dict[str, Any] = {"type": "cron", "schedule": "@hourly"}


def document(trigger: dict[str, Any], name: str = "nightly") -> Any:
    return parse_automation({"name": name, "app": "shop", "trigger": trigger, "steps": [{"id": "s", "collect": 1}]})


class Clocks(Log):
    """The log, and the automations beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 0

    def publish(
        self, trigger: dict[str, Any], *, state: Any = "enabled", revision: int | None = None
    ) -> LiveAutomation:
        self.revision += 1
        live = LiveAutomation(
            format=1, revision=revision or self.revision, version=1, state=state, document=document(trigger)
        )
        self._automation(live.model_dump_json(by_alias=True).encode())
        return live

    def unpublish(self) -> None:
        self._automation(None)

    def _automation(self, value: bytes | None) -> None:
        at = int(self.now.timestamp() * 1000)
        self.crons.apply(Record("headrace.automations", 0, 0, at, b"shop/nightly", value, ()))

    def pass_time(self, time: timedelta) -> None:
        """Time passes while nothing fires, then all is done that is to be done."""
        self.now += time
        self.settle()

    @property
    def armed(self) -> datetime | None:
        """What the partition says of the clock's next time."""
        values = [record.value for record in self.records if record.key == KEY]
        if not values or values[-1] is None:
            return None
        return read_any_timer(KEY, values[-1]).due

    @property
    def ticks(self) -> list[datetime]:
        """The scheduled times of all ticks."""
        return [read_tick(orjson.loads(output.value or b"")).scheduled for output in self.outputs]


def test_a_clock_is_armed_when_its_automation_goes_live_and_ticks_at_each_of_its_times() -> None:
    clocks = Clocks()
    clocks.publish(HOURLY)
    clocks.settle()
    assert clocks.armed == NOW + HOUR
    clocks.pass_time(59 * MINUTE)
    assert clocks.ticks == []
    for _ in range(3):
        clocks.pass_time(MINUTE)
        clocks.pass_time(59 * MINUTE)
    assert clocks.ticks == [NOW + HOUR, NOW + 2 * HOUR, NOW + 3 * HOUR]
    assert clocks.armed == NOW + 4 * HOUR


def test_a_tick_is_an_event_that_starts_its_automation_and_names_the_same_run_whenever_it_is_fired() -> None:
    clocks = Clocks()
    live = clocks.publish(HOURLY)
    clocks.settle()
    clocks.pass_time(HOUR + 3 * SECOND)
    (output,) = clocks.outputs
    assert (output.topic, output.key) == ("headrace.ticks", b"shop/nightly")
    place = Location("headrace.ticks", 0, 0)
    event = read_event(output.headers, place, 0)
    tick = read_tick(orjson.loads(output.value or b""))
    assert (tick.scheduled, tick.fired) == (NOW + HOUR, NOW + HOUR + 3 * SECOND)
    assert event.time == NOW + HOUR
    index = Index()
    index.put(compile_definition(live))
    (match,) = match_tick(index, event, tick, "shop/nightly", place)
    assert isinstance(match, Match)
    assert match.job["trigger"] == {
        "type": "cron",
        "scheduled": "2026-01-01T01:00:00.000000+00:00",
        "timestamp": "2026-01-01T01:00:00.000000+00:00",
        "event": {"id": event.id, "source": "headrace/scheduler", "type": "tick", "subject": "nightly"},
    }
    later = Clocks()
    later.publish(HOURLY)
    later.settle()
    later.pass_time(HOUR + 20 * SECOND)
    again = read_event(later.outputs[0].headers, place, 0)
    assert run_id("shop", "nightly", again) == run_id("shop", "nightly", event)


def test_a_clock_stops_with_its_automation() -> None:
    stops = [
        lambda clocks: clocks.unpublish(),
        lambda clocks: clocks.publish(HOURLY, state="disabled"),
        lambda clocks: clocks.publish({"type": "manual"}),
    ]
    for stop in stops:
        clocks = Clocks()
        clocks.publish(HOURLY)
        clocks.settle()
        stop(clocks)
        clocks.settle()
        assert clocks.armed is None
        clocks.pass_time(3 * HOUR)
        assert clocks.ticks == []
        clocks.publish(HOURLY)
        clocks.settle()
        assert clocks.armed == NOW + 4 * HOUR


def test_an_automation_that_went_while_nothing_ran_ticks_no_more() -> None:
    clocks = Clocks()
    clocks.publish(HOURLY)
    clocks.settle()
    clocks.crons = LiveCrons()
    clocks.restart()
    clocks.pass_time(2 * HOUR)
    assert clocks.ticks == []
    assert clocks.armed is None


def test_an_automation_that_came_while_nothing_ran_counts_from_when_it_came() -> None:
    clocks = Clocks()
    clocks.publish({**HOURLY, "missed": "run_all"})
    clocks.pass_time(2 * HOUR + 30 * MINUTE)
    assert clocks.ticks == [NOW + HOUR, NOW + 2 * HOUR]


def test_another_schedule_arms_it_anew_and_another_document_with_the_same_does_not() -> None:
    clocks = Clocks()
    clocks.publish({**HOURLY, "schedule": "@every 7m"})
    clocks.settle()
    clocks.now += 3 * MINUTE
    clocks.publish({**HOURLY, "schedule": "@every 7m", "missed": "skip", "when": "{{ true }}"})
    clocks.settle()
    assert clocks.armed == NOW + 7 * MINUTE
    clocks.publish({**HOURLY, "schedule": "@every 9m"})
    clocks.settle()
    assert clocks.armed == NOW + 12 * MINUTE
    clocks.publish({**HOURLY, "schedule": "0 6 * * *"})
    clocks.settle()
    assert clocks.armed == NOW + 6 * HOUR
    clocks.publish({**HOURLY, "schedule": "0 6 * * *", "timezone": "Asia/Tokyo"})
    clocks.settle()
    assert clocks.armed == NOW + 21 * HOUR


def test_a_lower_revision_and_one_that_cannot_be_read_change_nothing() -> None:
    clocks = Clocks()
    clocks.publish(HOURLY)
    clocks.publish(HOURLY)
    clocks.publish({**HOURLY, "schedule": "@every 5m"}, revision=1)
    clocks._automation(b"{")
    clocks.settle()
    assert clocks.armed == NOW + HOUR


def test_a_restart_neither_repeats_nor_loses_a_tick() -> None:
    clocks = Clocks()
    clocks.publish({**HOURLY, "schedule": "* * * * *", "missed": "run_all"})
    clocks.settle()
    for number in range(10):
        clocks.now += MINUTE
        if number % 2:
            clocks.restart()
        if number % 3:
            clocks.compact()
        clocks.settle()
    assert clocks.ticks == [NOW + number * MINUTE for number in range(1, 11)]


def test_what_could_not_be_committed_is_judged_anew_when_it_can() -> None:
    clocks = Clocks()
    clocks.publish({**HOURLY, "missed": "skip"})
    clocks.state.take_back(clocks.state.act(100))
    clocks.settle()
    clocks.now += HOUR
    clocks.state.take_back(clocks.state.act(100))
    clocks.pass_time(4.5 * HOUR)
    assert clocks.ticks == []
    assert clocks.armed == NOW + 6 * HOUR


def test_a_clock_whose_timer_was_taken_out_or_spoilt_by_another_hand_goes_on() -> None:
    for value in (None, b"{", timer(b"run-a", 1, NOW)):
        clocks = Clocks()
        clocks.publish(HOURLY)
        clocks.settle()
        clocks.append(KEY, value)
        clocks.settle()
        assert clocks.armed == NOW + HOUR
        assert [output.topic for output in clocks.outputs] == ["headrace.jobs.dlq"] * (value is not None)


def test_what_belongs_to_another_partition_is_armed_there() -> None:
    clocks = Clocks()
    clocks.state._owns = lambda key: False
    clocks.publish(HOURLY)
    clocks.settle()
    assert clocks.armed is None


MISSED: list[tuple[Missed, str, timedelta, list[timedelta]]] = [
    # After three hours and a half of nothing.
    ("skip", "@hourly", 3.5 * HOUR, []),
    ("run_once", "@hourly", 3.5 * HOUR, [3 * HOUR]),
    ("run_all", "@hourly", 3.5 * HOUR, [HOUR, 2 * HOUR, 3 * HOUR]),
    # What is over by less than a minute is late, not missed.
    ("skip", "@hourly", 3 * HOUR + 59 * SECOND, [3 * HOUR]),
    ("run_once", "@hourly", 3 * HOUR + 59 * SECOND, [2 * HOUR, 3 * HOUR]),
    ("skip", "*/20 * * * * *", 10 * MINUTE + 5 * SECOND, [560 * SECOND, 580 * SECOND, 600 * SECOND]),
    ("skip", "@every 25s", 60 * SECOND, [25 * SECOND, 50 * SECOND]),
    ("run_once", "@every 7m", HOUR, [56 * MINUTE]),
]


@pytest.mark.parametrize(("missed", "schedule", "outage", "wanted"), MISSED)
def test_after_an_outage_the_automation_says_what_becomes_of_missed_times(
    missed: Missed, schedule: str, outage: timedelta, wanted: list[timedelta]
) -> None:
    clocks = Clocks()
    clocks.publish({"type": "cron", "schedule": schedule, "missed": missed})
    clocks.settle()
    clocks.now += outage
    clocks.restart()
    clocks.settle()
    assert [time - NOW for time in clocks.ticks] == wanted
    assert clocks.armed is not None
    assert clocks.armed > clocks.now


def test_all_missed_times_are_the_last_thousand() -> None:
    now = NOW + timedelta(days=10)
    timer = CronTimer(
        due=NOW, app="shop", automation="a", schedule="* * * * * *", timezone="Europe/Berlin", missed="run_all"
    )
    found = owed(timer, now)
    on_time = int(LATE.total_seconds()) + 1
    assert found.times == [now - number * SECOND for number in reversed(range(ALLOWED["run_all"] + on_time))]
    assert (found.made_up, found.are_all, found.next) == (ALLOWED["run_all"], False, now + SECOND)


@given(
    st.sampled_from(["@every 40s", "* * * * *", "*/25 * * * * *", "5 2 * * *", "0,30 1-3 * * *", "@hourly"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    st.sampled_from([datetime(2025, 3, 29, 22, tzinfo=UTC), datetime(2025, 10, 25, 22, tzinfo=UTC)]),
    st.sampled_from(list(ALLOWED)),
    st.integers(0, 20_000),
    st.integers(0, 999_999),
)
def test_what_is_owed_is_what_came_since_it_was_due(
    text: str, zone: str, begin: datetime, missed: Missed, after: int, micros: int
) -> None:
    schedule = read_schedule(text, zone, begin)
    due = schedule.next(begin)
    assert due is not None
    now = due + timedelta(seconds=after, microseconds=micros)
    passed: list[datetime] = []
    coming: datetime | None = due
    while coming is not None and coming <= now:
        passed.append(coming)
        coming = schedule.next(coming)
    late = [time for time in passed if time >= now - LATE]
    missed_times = [time for time in passed if time < now - LATE]
    made_up = missed_times[len(missed_times) - min(len(missed_times), ALLOWED[missed]) :]
    timer = CronTimer(due=due, app="shop", automation="a", schedule=text, timezone=zone, missed=missed)
    assert owed(timer, now) == Owed([*made_up, *late], len(made_up), len(made_up) == len(missed_times), coming)
