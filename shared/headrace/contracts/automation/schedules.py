"""When a clock trigger fires: five fields, six with seconds first, `@every 5m`, `@daily` and its like.

Daylight saving. A schedule whose minute or hour begins with `*` goes by what the clock on the wall shows: what that
skips does not come, what it shows twice comes twice. Any other names times of the day, and each comes once a day: one
that is skipped comes when the clock has skipped it, one that is shown twice the first time. Debian's cron does so too.

cronsim finds the times on the wall, which knows no zones; what a zone makes of them is ours: with zones it misses half
hours where clocks are put by half an hour, and does not end in some years in which midnight was skipped.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from headrace.contracts.automation.values import LONGEST_S, seconds

MOST_CHARACTERS = 256
"""Of a schedule: all minutes of an hour fit in, one by one."""


class ScheduleError(ValueError):
    """The text is no schedule, or one that never comes."""


class Schedule(Protocol):
    """Times: aware, in UTC, whole seconds."""

    def next(self, after: datetime) -> datetime | None:
        """The first time after `after`; None if none comes within fifty years."""
        ...

    def previous(self, until: datetime) -> datetime | None:
        """The last time that is not after `until`; None if there was none for fifty years."""
        ...


def read_schedule(text: str, zone: str, begins: datetime) -> Schedule:
    """The schedule that `text` means in the time zone `zone`; `@every` counts from `begins`. Raises ScheduleError."""
    if len(text) > MOST_CHARACTERS:
        raise ScheduleError(f"the schedule has {len(text)} characters; {MOST_CHARACTERS} are accepted")
    if text.startswith("@every "):
        return _Every(_interval(text.removeprefix("@every ")), begins)
    if text.startswith("@") and text not in _NAMED:
        raise ScheduleError(f"unknown schedule; those with a name are @every 5m, {', '.join(_NAMED)}")
    fields = _NAMED.get(text, text).split()
    if len(fields) not in (5, 6):
        raise ScheduleError(f"{_FORM}; this has {len(fields)}")
    if len(fields) == 5:
        fields.insert(0, "0")
    for number, field in enumerate(fields):
        _check_field(number, field)
    names_times = not fields[1].startswith("*") and not fields[2].startswith("*")
    try:
        found = (_Named if names_times else _Shown)(" ".join(fields), ZoneInfo(zone))
        if found.next(_ANY_DAY) is None:
            raise ScheduleError(_NEVER)
    except CronSimError:  # cronsim sees that no month has the day
        raise ScheduleError(_NEVER) from None
    return found


def _check_field(number: int, text: str) -> None:
    fields = ["*"] * len(_FIELDS)
    fields[number] = text
    try:
        CronSim(" ".join(fields), _ANY_DAY)
    except CronSimError:
        name, values = _FIELDS[number]
        ways = "*, or a list, range or step of them such as 1,5 or 8-18 or */2"
        raise ScheduleError(f"{text!r} is no {name}: expected {values}, {ways}") from None


def check_schedule(text: str) -> str:
    """The same text; raises ScheduleError if it is no schedule."""
    read_schedule(text, "UTC", _ANY_DAY)
    return text


_NAMED: Mapping[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_FIELDS = (
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31 (L: the last, LW: the last weekday)"),
    ("month", "1-12 or JAN-DEC"),
    ("day of the week", "0-7 or SUN-SAT (5#2: the second Friday, 5L: the last)"),
)
"""Each with the values that it takes."""

_FORM = (
    "expected five fields (minute, hour, day of the month, month, day of the week), six with seconds first, "
    "@daily or @every 5m"
)
_NEVER = "it never fires: no year has such a day"

_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)

_SECOND, _MINUTE, _DAY, _YEARS = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1), timedelta(days=50 * 366)


def _interval(text: str) -> timedelta:
    try:
        found = seconds(text)
    except ValueError:
        found = None
    if not isinstance(found, float) or not found.is_integer() or not 1 <= found <= LONGEST_S:
        raise ScheduleError(
            f"@every {text[:40]}: expected one duration of whole seconds, from 1s to 30d, such as 90s, 5m or 2h"
        )
    return timedelta(seconds=found)


class _Every:
    """Every so often from a time on, whatever the wall clock does."""

    def __init__(self, interval: timedelta, begins: datetime) -> None:
        self._interval = interval
        self._begins = begins.astimezone(UTC).replace(microsecond=0)

    def next(self, after: datetime) -> datetime | None:
        return self._begins + ((after - self._begins) // self._interval + 1) * self._interval

    def previous(self, until: datetime) -> datetime | None:
        return self._begins + (until - self._begins) // self._interval * self._interval


class _Named:
    """Each time of the day that the fields name, once a day."""

    def __init__(self, fields: str, zone: tzinfo) -> None:
        self._fields = fields
        self._zone = zone

    def next(self, after: datetime) -> datetime | None:
        moments = map(self._moment, CronSim(self._fields, _wall(after, self._zone)))
        # Shown twice, a time of the second hour is one of the first, which is over.
        return next((moment for moment in moments if moment > after), None)

    def previous(self, until: datetime) -> datetime | None:
        wall = _wall(until, self._zone)
        # In the second of two equal hours all times of the first are over.
        wall += _offset(wall.replace(tzinfo=self._zone)) - _offset(until.astimezone(self._zone))
        moments = map(self._moment, CronSim(self._fields, wall.replace(microsecond=0) + _SECOND, reverse=True))
        return next((moment for moment in moments if moment <= until), None)

    def _moment(self, wall: datetime) -> datetime:
        """When the wall clock shows it first, or has skipped it."""
        while True:
            moment = wall.replace(tzinfo=self._zone).astimezone(UTC)
            if _wall(moment, self._zone) == wall:
                return moment
            wall = wall.replace(second=0) + _MINUTE  # clocks are put forward at whole minutes


class _Shown:
    """Every moment at which the wall clock shows what the fields say."""

    def __init__(self, fields: str, zone: tzinfo) -> None:
        self._fields = fields
        self._zone = zone

    def next(self, after: datetime) -> datetime | None:
        offset = _offset(after.astimezone(self._zone))
        wall = _wall(after, self._zone)
        while (found := next(CronSim(self._fields, wall), None)) is not None:
            moment = (found - offset).replace(tzinfo=UTC)
            # As far as a day looks ahead: clocks are put by less than that, and not twice in it.
            end = min(moment, after + _DAY)
            if (later := _offset(end.astimezone(self._zone))) != offset:
                after = self._change(after, end, offset)
                if moment < after:
                    return moment
                offset, wall = later, _wall(after, self._zone) - _SECOND
            elif moment == end:
                return moment
            else:
                # Whatever becomes of the clock meanwhile, a day before it shows nothing that the fields say.
                after = max(end, moment - 2 * _DAY)
                offset, wall = _offset(after.astimezone(self._zone)), _wall(after, self._zone)
        return None

    def previous(self, until: datetime) -> datetime | None:
        shown = until.astimezone(self._zone)
        wall = shown.replace(tzinfo=None, microsecond=0) + _SECOND
        found = next(CronSim(self._fields, wall, reverse=True), None)
        if found is not None:
            moment = (found - _offset(shown)).replace(tzinfo=UTC)
            if until - moment < _DAY and _offset(moment.astimezone(self._zone)) == _offset(shown):
                return moment
        # Rare: the first moment after which the next one is no longer due.
        low, high = until - _YEARS, until
        while high - low > _SECOND:
            middle = low + (high - low) // 2
            coming = self.next(middle)
            low, high = (middle, high) if coming is not None and coming <= until else (low, middle)
        coming = self.next(low)
        return coming if coming is not None and coming <= until else None

    def _change(self, low: datetime, high: datetime, offset: timedelta) -> datetime:
        """The first second in which the offset is no longer `offset`: it is so at `low`, and no more at `high`."""
        low = low.replace(microsecond=0)
        while high - low > _SECOND:
            middle = low + (high - low) // 2
            low, high = (middle, high) if _offset(middle.astimezone(self._zone)) == offset else (low, middle)
        return high.replace(microsecond=0)


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(shown: datetime) -> timedelta:
    return shown.utcoffset() or timedelta()
