"""Filters on times; where a time names no zone it is UTC."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from headrace.language.errors import Misuse
from headrace.language.filters.arguments import Filter
from headrace.language.kinds import bytes_of
from headrace.language.scope import Scope

FORMAT_LENGTH = 100
"""Characters of a date format."""

_DIRECTIVES = "aAbBdfGHIjmMpSuUVwWyYzZ%"
"""Of C's `strftime`, those that give the same on every machine."""

_FORMAT = re.compile(f"(?:[^%]|%[{_DIRECTIVES}])*")


def _date(scope: Scope, value: datetime, format: str = "%Y-%m-%d") -> str:
    if len(format) > FORMAT_LENGTH:
        raise Misuse(f"a format has at most {FORMAT_LENGTH} characters")
    if b"\0" in bytes_of(format):
        raise Misuse("a format has no character 0")
    if not _FORMAT.fullmatch(format):
        raise Misuse(f"after % one of {_DIRECTIVES} is expected")
    return value.strftime(format)


def _to_datetime(scope: Scope, value: datetime) -> datetime:
    return value


def _add_time(
    scope: Scope,
    value: datetime,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    milliseconds: float = 0,
) -> datetime:
    parts = {"weeks": weeks, "days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    try:
        return value + timedelta(**parts, milliseconds=milliseconds)
    except (OverflowError, ValueError):
        raise Misuse("the time is before the year 1 or after 9999, or a number is none") from None


def _diff_time(scope: Scope, value: datetime, other: datetime, unit: str = "seconds") -> float:
    if unit not in _UNITS:
        raise Misuse(f"`unit` is one of {', '.join(_UNITS)}")
    return (value - other).total_seconds() / _UNITS[unit]


_UNITS = {"milliseconds": 0.001, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}

TIMES: Mapping[str, Filter] = {
    "add_time": _add_time,
    "date": _date,
    "diff_time": _diff_time,
    "to_datetime": _to_datetime,
}
