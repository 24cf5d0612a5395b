"""Values inside templates: looking into data, truth, text, typed comparison."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import cast

import orjson

from headrace.language.errors import TemplateError
from headrace.language.limits import bounded


class Missing:
    """Where a path leads nowhere: empty, falsy, and missing again at any depth."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def look_up(value: object, name: object) -> object:
    """`value.name` or `value[name]`: data only, never an attribute of a Python object."""
    if isinstance(value, dict):
        items = cast(dict[object, object], value)
        try:
            found = items.get(name, MISSING)
        except TypeError:
            return MISSING
        # steps.1 and steps["1"] are the same.
        return items.get(str(name), MISSING) if found is MISSING and type(name) is int else found
    if isinstance(value, list | tuple | str) and type(name) is int:
        sequence = cast("list[object] | str", value)
        return sequence[name] if -len(sequence) <= name < len(sequence) else MISSING
    if isinstance(value, list | tuple) and isinstance(name, str) and name.isdecimal():
        return look_up(cast("list[object]", value), int(name))
    if isinstance(value, datetime) and name in _TIME_PARTS:
        return getattr(value, cast(str, name))
    if isinstance(value, Mapping):
        return cast(Mapping[object, object], value).get(name, MISSING)
    return MISSING


_TIME_PARTS = frozenset(("year", "month", "day", "hour", "minute", "second", "microsecond"))


def truthy(value: object) -> bool:
    """What counts as true where a condition is asked for: as in Python, but the texts "false" and "" are not."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false")
    return bool(value)


def to_text(value: object) -> str:
    """A value inside a text: nothing for what is empty, JSON for booleans, objects and arrays."""
    if type(value) is str:
        return value
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return to_json(cast(object, value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def to_json(value: object) -> str:
    """`value` as JSON."""
    try:
        return bounded(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode())
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateError(f"not representable as JSON: {error}") from None


def _plain(value: object) -> object:
    if value is MISSING:
        return None
    if isinstance(value, int):
        return str(value)
    raise TypeError(type(value).__name__)


def to_time(value: object) -> datetime | None:
    """A time, or ISO 8601 text, as an aware time (UTC where it names no zone); None for anything else."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str) and _DATE_LENGTHS[0] <= len(value) <= _DATE_LENGTHS[1]:
        try:
            return to_time(datetime.fromisoformat(value))
        except ValueError:
            return None
    return None


_DATE_LENGTHS = (8, 40)
"""The shortest and the longest ISO 8601 texts; others need no parsing."""


def to_number(value: object) -> int | float | None:
    """A number, or wholly numeric text, as a number; None for anything else (a boolean is none)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= _NUMBER_LENGTH:
        text = value.strip()
        if text.lstrip("+-")[:1].isdecimal() and not text.isalpha() and "_" not in text:
            try:
                return int(text) if text.lstrip("+-").isdecimal() else float(text)
            except ValueError:
                return None
    return None


_NUMBER_LENGTH = 64
"""Digits that any number of the real world has; Python's own conversion slows down with the square of the length."""


def comparable(left: object, right: object) -> tuple[object, object] | None:
    """Both as values of one type by the typed comparison of language.md, or None where they cannot be compared."""
    left_kind, right_kind = kind_of(left), kind_of(right)
    if left_kind == right_kind:
        if left_kind == "time":
            return to_time(left), to_time(right)
        return left, right
    for one, other, convert in (("number", "text", to_number), ("time", "text", to_time)):
        if {left_kind, right_kind} == {one, other}:
            pair = convert(left), convert(right)
            return None if None in pair else pair
    return None


def kind_of(value: object) -> str:
    """`number`, `text`, `boolean`, `time`, `array`, `object` or `nothing`."""
    if value is None or value is MISSING:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, date):
        return "time"
    if isinstance(value, list | tuple):
        return "array"
    return "object"


def equal(left: object, right: object) -> bool:
    """Typed equality."""
    if type(left) is type(right) and type(left) in (int, str, float, bool):
        return left == right
    pair = comparable(left, right)
    if pair is None:
        return False
    one, other = pair
    # Both may be nothing, one of them a path that leads nowhere.
    return kind_of(one) == "nothing" or one == other


def _ordering(compare: Callable[[int, int], bool]) -> Callable[[object, object], bool]:
    plain = cast(Callable[[object, object], bool], compare)

    def typed(left: object, right: object) -> bool:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            return plain(left, right)
        pair = comparable(left, right)
        if pair is None or kind_of(pair[0]) not in ("number", "text", "time"):
            return False
        return plain(*pair)

    return typed


_NUMBERS = (int, float)
less = _ordering(lambda a, b: a < b)
less_or_equal = _ordering(lambda a, b: a <= b)
greater = _ordering(lambda a, b: a > b)
greater_or_equal = _ordering(lambda a, b: a >= b)


def contains(container: object, item: object) -> bool:
    """Whether a text holds a text, an array an item, or an object a name."""
    if isinstance(container, str):
        return isinstance(item, str) and item in container
    if isinstance(container, list | tuple):
        return any(equal(each, item) for each in cast("list[object]", container))
    return isinstance(container, dict) and isinstance(item, str) and item in container
