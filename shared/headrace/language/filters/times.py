"""Filters on times; where a time names no zone it is UTC."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from headrace.language.filters.arguments import Filter, time_of
from headrace.language.scope import Scope

FORMAT_LENGTH = 100
"""Characters of a date format."""

_DIRECTIVES = "aAbBdfGHIjmMpSuUVwWyYzZ%"
"""Of C's `strftime`, those that give the same on every machine."""

_FORMAT = re.compile(f"(?:[^%]|%[{_DIRECTIVES}])*")


def _date(scope: Scope, value: object, format: str = "%Y-%m-%d") -> str:
    time = time_of(value)
    if len(format) > FORMAT_LENGTH:
        raise ValueError(f"a format has at most {FORMAT_LENGTH} characters")
    if not _FORMAT.fullmatch(format) or "\0" in format:
        raise ValueError(f"after % one of {_DIRECTIVES} is expected")
    return time.strftime(format)


def _to_datetime(scope: Scope, value: object) -> datetime:
    return time_of(value)


def _add_time(
    scope: Scope,
    value: object,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    milliseconds: float = 0,
) -> datetime:
    span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    return time_of(value) + span


def _diff_time(scope: Scope, value: object, other: object, unit: str = "seconds") -> float:
    left, right = time_of(value), time_of(other)
    if unit not in _UNITS:
        raise ValueError(f"unit is one of {', '.join(_UNITS)}")
    return (left - right).total_seconds() / _UNITS[unit]


_UNITS = {"milliseconds": 0.001, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}

TIMES: Mapping[str, Filter] = {
    "add_time": _add_time,
    "date": _date,
    "diff_time": _diff_time,
    "to_datetime": _to_datetime,
}
