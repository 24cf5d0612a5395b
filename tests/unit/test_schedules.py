"""When clock triggers fire, and what daylight saving makes of it."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.contracts.automation.schedules import MOST_CHARACTERS, Schedule, ScheduleError, read_schedule

pytestmark = pytest.mark.unit

NOON = datetime(2025, 3, 12, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

SWITCHES = [
    ("Europe/Berlin", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2025, 3, 9, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2025, 11, 2, 6, tzinfo=UTC)),
    # By half an hour, by two hours, at midnight, over a whole day, and a day twice.
    ("Australia/Lord_Howe", datetime(2025, 4, 5, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2025, 10, 4, 15, 30, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2025, 3, 30, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2025, 10, 26, 1, tzinfo=UTC)),
    ("America/Havana", datetime(2025, 3, 9, 5, tzinfo=UTC)),
    ("America/Havana", datetime(2025, 11, 2, 5, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1969, 9, 30, 13, tzinfo=UTC)),
    ("UTC", datetime(2025, 1, 1, tzinfo=UTC)),
]


def times(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found: list[datetime] = []
    while (coming := schedule.next(after)) is not None and coming <= until:
        assert coming > after
        found.append(coming)
        after = coming
    return found


def shown(text: str, zone: str, after: datetime, count: int) -> list[str]:
    schedule, found = read_schedule(text, zone, after), list[str]()
    for _ in range(count):
        coming = schedule.next(after)
        assert coming is not None
        found.append(coming.astimezone(ZoneInfo(zone)).isoformat())
        after = coming
    return found


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("*/5 * * * *", "2025-03-12T12:05", "2025-03-12T12:10"),
        ("0 6 * * 1-5", "2025-03-13T06:00", "2025-03-14T06:00"),
        ("0 0 29 2 *", "2028-02-29T00:00", "2032-02-29T00:00"),
        ("0 12 L * *", "2025-03-31T12:00", "2025-04-30T12:00"),
        ("0 12 * * FRI#2", "2025-03-14T12:00", "2025-04-11T12:00"),
        ("15,45 30 2 * * *", "2025-03-13T02:30:15", "2025-03-13T02:30:45"),
        ("*/20 * * * * *", "2025-03-12T12:00:20", "2025-03-12T12:00:40"),
        ("@hourly", "2025-03-12T13:00", "2025-03-12T14:00"),
        ("@daily", "2025-03-13T00:00", "2025-03-14T00:00"),
        ("@weekly", "2025-03-16T00:00", "2025-03-23T00:00"),
        ("@monthly", "2025-04-01T00:00", "2025-05-01T00:00"),
        ("@yearly", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("@every 90s", "2025-03-12T12:01:30", "2025-03-12T12:03"),
        ("@every 7m", "2025-03-12T12:07", "2025-03-12T12:14"),
        ("@every 1d", "2025-03-13T12:00", "2025-03-14T12:00"),
    ],
)
def test_a_schedule_comes_when_it_says(text: str, first: str, second: str) -> None:
    schedule = read_schedule(text, "UTC", NOON)
    coming = datetime.fromisoformat(f"{first}+00:00")
    assert schedule.next(NOON) == coming
    assert schedule.next(coming) == datetime.fromisoformat(f"{second}+00:00")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0 30 2 *", "it never fires: no year has such a day"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 */30 * MON#4", "never fires"),
        ("61 * * * *", "'61' is no minute: expected 0-59"),
        ("60 0 0 * * *", "'60' is no second: expected 0-59"),
        ("0 24 * * *", "'24' is no hour: expected 0-23"),
        ("0 0 0 * *", "'0' is no day of the month: expected 1-31"),
        ("0 0 1 13 *", "'13' is no month: expected 1-12 or JAN-DEC"),
        ("0 0 * * 8", "'8' is no day of the week: expected 0-7 or SUN-SAT"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("* * * *", "five fields .*; this has 4"),
        ("* * * * * * *", "five fields .*; this has 7"),
        ("x y z a b", "'x' is no minute"),
        ("@every 500ms", "from 1s to 30d"),
        ("@every 1.5s", "whole seconds"),
        ("@every 31d", "30d"),
        ("@every soon", "such as"),
        ("@every 5", "whole seconds, from 1s"),
        ("@every 5m30s", "one duration"),
        ("@fortnightly", "@weekly"),
        ("9" * 5000 + " * * * *", str(MOST_CHARACTERS)),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        read_schedule(text, "UTC", NOON)


def test_an_automation_whose_time_never_comes_is_refused_when_it_is_saved() -> None:
    trigger = {"type": "cron", "schedule": "0 0 30 2 *"}
    with pytest.raises(DocumentError, match=r"trigger\.schedule: it never fires"):
        parse_automation({"name": "a", "app": "b", "trigger": trigger, "steps": [{"id": "s", "collect": 1}]})


def test_a_time_of_the_day_that_the_clock_skips_comes_when_it_has_skipped_it() -> None:
    eve = datetime(2025, 3, 29, 12, tzinfo=UTC)
    for text in ("30 2 * * *", "0 30 2 * * *"):
        assert shown(text, "Europe/Berlin", eve, 2) == ["2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"]
    # Two that are skipped, and the one that follows, are one.
    assert shown("10 2,3 * * *", "Europe/Berlin", eve, 3)[:2] == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-30T03:10:00+02:00",
    ]
    assert shown("0,20,40 2-3 * * *", "Europe/Berlin", eve, 3)[:2] == [
        "2025-03-30T03:00:00+02:00",
        "2025-03-30T03:20:00+02:00",
    ]


def test_a_time_of_the_day_that_comes_twice_is_taken_once_the_first_time() -> None:
    eve = datetime(2025, 10, 25, 12, tzinfo=UTC)
    for text in ("30 2 * * *", "0 30 2 * * *"):
        assert shown(text, "Europe/Berlin", eve, 2) == ["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"]


def test_what_goes_by_every_hour_goes_on_in_the_hour_that_comes_twice_and_leaves_out_the_skipped_one() -> None:
    autumn = datetime(2025, 10, 25, 23, 59, tzinfo=UTC)
    assert shown("30 * * * *", "Europe/Berlin", autumn, 3) == [
        "2025-10-26T02:30:00+02:00",
        "2025-10-26T02:30:00+01:00",
        "2025-10-26T03:30:00+01:00",
    ]
    spring = datetime(2025, 3, 30, 0, 0, tzinfo=UTC)
    assert shown("30 * * * *", "Europe/Berlin", spring, 2) == ["2025-03-30T01:30:00+01:00", "2025-03-30T03:30:00+02:00"]


def test_every_so_often_is_the_same_on_the_days_of_the_switch() -> None:
    begins = datetime(2025, 3, 29, 23, 30, tzinfo=UTC)
    schedule = read_schedule("@every 1h", "Europe/Berlin", begins)
    assert times(schedule, begins, begins + timedelta(hours=5)) == [begins + timedelta(hours=n) for n in range(1, 6)]


@st.composite
def fields(draw: st.DrawFn, size: int) -> tuple[str, frozenset[int]]:
    """A field's text and the values it stands for."""
    kind = draw(st.sampled_from(["*", "*/", "list", "range"]))
    if kind == "*":
        return "*", frozenset(range(size))
    if kind == "*/":
        step = draw(st.integers(2, size - 1))
        return f"*/{step}", frozenset(range(0, size, step))
    values = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=4))
    if kind == "list":
        return ",".join(map(str, values)), frozenset(values)
    return f"{min(values)}-{max(values)}", frozenset(range(min(values), max(values) + 1))


@given(fields(60), fields(24), st.none() | st.integers(0, 6), st.sampled_from(SWITCHES), st.data())
@settings(max_examples=60)
def test_around_every_switch_a_schedule_comes_when_the_rules_say(
    minute: tuple[str, frozenset[int]],
    hour: tuple[str, frozenset[int]],
    weekday: int | None,
    switch: tuple[str, datetime],
    data: st.DataObject,
) -> None:
    name, changes = switch
    zone = ZoneInfo(name)
    begin, end = changes - timedelta(hours=27), changes + timedelta(hours=27)
    moments = [begin + number * MINUTE for number in range((end - begin) // MINUTE + 1)]
    walls = [moment.astimezone(zone).replace(tzinfo=None, fold=0) for moment in moments]

    def named(wall: datetime) -> bool:
        return (
            wall.minute in minute[1] and wall.hour in hour[1] and (weekday is None or wall.isoweekday() % 7 == weekday)
        )

    if minute[0].startswith("*") or hour[0].startswith("*"):
        wanted = [moment for moment, wall in zip(moments, walls, strict=True) if named(wall)]
    else:
        first: dict[datetime, datetime] = {}
        for moment, wall in zip(moments, walls, strict=True):
            first.setdefault(wall, moment)
        found: set[datetime] = set()
        wall = walls[0]
        while wall <= walls[-1]:
            if named(wall):
                come = wall
                while come not in first:
                    come += MINUTE
                found.add(first[come])
            wall += MINUTE
        wanted = sorted(found)
    schedule = read_schedule(f"{minute[0]} {hour[0]} * * {'*' if weekday is None else weekday}", name, NOON)
    assert times(schedule, begin - timedelta(seconds=1), end) == wanted
    until = data.draw(st.datetimes(begin.replace(tzinfo=None), end.replace(tzinfo=None))).replace(tzinfo=UTC)
    passed = [each for each in wanted if each <= until]
    last = schedule.previous(until)
    assert last == passed[-1] if passed else last is None or last < begin


@given(st.integers(1, 86_400), st.integers(0, 10**6), st.integers(0, 10**6))
def test_every_so_often_counts_from_where_it_begins(interval: int, after: int, micros: int) -> None:
    schedule = read_schedule(f"@every {interval}s", "UTC", NOON)
    now = NOON + timedelta(seconds=after, microseconds=micros % 10**6)
    coming, last = schedule.next(now), schedule.previous(now)
    assert coming is not None
    assert last is not None
    assert last <= now < coming
    assert coming - last == timedelta(seconds=interval)
    assert (coming - NOON) % timedelta(seconds=interval) == timedelta()


PIECES = st.sampled_from([*"0123456789*/,-#LW ", "MON", "JAN", "@every ", "@daily", "\u0663", "²", "s", "h"])


@given(st.lists(PIECES, max_size=25).map("".join))
def test_no_text_is_refused_in_another_way(text: str) -> None:
    with suppress(ScheduleError):
        read_schedule(text, "Europe/Berlin", NOON)
