"""Values inside templates: looking into data, truth, text, typed comparison."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite, isnan, nan
from typing import cast
from uuid import UUID

import orjson

from headrace.language.errors import TemplateError, limit
from headrace.language.limits import PRINTABLE, TEXT, bounded, size_of


class Missing:
    """Where a path leads nowhere: empty, falsy, and missing again at any depth."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def look_up(value: object, name: object) -> object:
    """`value.name` or `value[name]`: data only, never an attribute of a Python object."""
    if type(value) is dict and type(name) is str:
        return cast(dict[str, object], value).get(name, MISSING)
    if isinstance(value, Mapping):
        return _of_object(cast(Mapping[object, object], value), name)
    if isinstance(value, list | tuple | str):
        if isinstance(name, str) and name.isdecimal() and len(name) <= _INDEX_DIGITS and not isinstance(value, str):
            name = int(name)
        sequence = cast("list[object] | str", value)
        return sequence[name] if type(name) is int and -len(sequence) <= name < len(sequence) else MISSING
    if isinstance(value, datetime) and isinstance(name, str) and name in _TIME_PARTS:
        return getattr(value, name)
    return MISSING


def _of_object(value: Mapping[object, object], name: object) -> object:
    if isinstance(name, str):
        return value.get(name, MISSING)
    if type(name) is int and abs(name) < PRINTABLE:
        # steps.1 and steps["1"] are the same.
        found = value.get(name, MISSING)
        return value.get(str(name), MISSING) if found is MISSING else found
    return MISSING


_INDEX_DIGITS = 9
"""Of an index into an array; none is longer than a thousand million."""

_TIME_PARTS = frozenset(("year", "month", "day", "hour", "minute", "second", "microsecond"))


def to_text(value: object) -> str:
    """A value inside a text: nothing for what is empty, JSON for booleans, objects and arrays."""
    if type(value) is str:
        return value
    if value is None or value is MISSING:
        return ""
    if type(value) is float or (type(value) is int and -PRINTABLE < value < PRINTABLE):
        return str(value)
    if isinstance(value, (bool, list, tuple, Mapping)):
        return to_json(cast(object, value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int) and value.bit_length() > _DIGIT_BITS:
        raise limit(f"an integer of {value.bit_length()} bits is too long to be written")
    return str(value)


_DIGIT_BITS = 14_000
"""Of an integer that Python itself agrees to print: it refuses more than 4,300 digits."""


def to_json(value: object, indent: bool = False) -> str:
    """`value` as JSON, measured before it is made; decimal numbers are text, as they are in records."""
    if size_of(value, TEXT, _LEAST_JSON) > TEXT:
        raise limit(f"its JSON would have more than {TEXT} characters, which are allowed")
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return bounded(orjson.dumps(value, default=_plain, option=options).decode())
    except (TypeError, ValueError, RecursionError) as error:
        why = next((why for word, why in _NO_JSON.items() if word in str(error)), "it holds what is no data")
        raise TemplateError(f"this cannot be written as JSON: {why}") from None


_NO_JSON = {
    "Recursion": "its arrays and objects are nested too deeply",
    "recursion": "its arrays and objects are nested too deeply",
    "Integer": "a whole number in it has more than 64 bits",
    "UTF-8": "a text in it holds half a character (a lone surrogate)",
}
"""By a word of what the writer of JSON says."""


_LEAST_JSON = 2
"""Characters of a value in an array: a digit and a comma."""


def _plain(value: object) -> object:
    if value is MISSING:
        return None
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(cast(Mapping[object, object], value))
    raise TypeError(f"a {type(value).__name__}")


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


Number = int | float | Decimal
_NUMBERS = (int, float, Decimal)


def to_number(value: object) -> Number | None:
    """A number, or wholly numeric text, as a number; None for anything else (a boolean is none)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, str) and len(value) <= _NUMBER_LENGTH:
        text = value.strip()
        if _NUMERIC.fullmatch(text):
            number = int(text) if text.lstrip("+-").isdecimal() else float(text)
            return number if isfinite(number) else None
    return None


_NUMBER_LENGTH = 64
"""Digits that any number of the real world has; Python's own conversion slows down with the square of the length."""

_NUMERIC = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def comparable(left: object, right: object) -> tuple[object, object] | None:
    """Both as values of one type by the typed comparison of language.md, or None where they cannot be compared."""
    left_kind, right_kind = kind_of(left), kind_of(right)
    if left_kind == right_kind:
        if left_kind == "time":
            return to_time(left), to_time(right)
        if left_kind == "number":
            return _quiet(left), _quiet(right)
        return left, right
    for one, other, convert in (("number", "text", to_number), ("time", "text", to_time)):
        if {left_kind, right_kind} == {one, other}:
            pair = convert(left), convert(right)
            return None if None in pair else (_quiet(pair[0]), _quiet(pair[1]))
    return None


def _is_no_number(value: object) -> bool:
    return isinstance(value, float) and isnan(value)


def _quiet(value: object) -> object:
    """A decimal that is no number, as the float that is none: with the former equality raises."""
    return nan if isinstance(value, Decimal) and value.is_nan() else value


def kind_of(value: object) -> str:
    """`number`, `text`, `boolean`, `time`, `array`, `object` or `nothing`."""
    if value is None or value is MISSING:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, _NUMBERS):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, date):
        return "time"
    if isinstance(value, list | tuple):
        return "array"
    return "object"


KINDS = ("array", "boolean", "nothing", "number", "object", "text", "time")
"""What `kind_of` answers."""


def is_empty(value: object) -> bool:
    """Nothing, or a text, array or object without anything in it."""
    if isinstance(value, str | list | tuple | Mapping):
        return len(cast("list[object]", value)) == 0
    return value is None or value is MISSING


def equal(left: object, right: object) -> bool:
    """Typed equality; of arrays and objects: of all that is in them."""
    if type(left) is type(right) and type(left) in _PLAIN:
        return left == right
    pair = comparable(left, right)
    if pair is None:
        return False
    one, other = pair
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        items, others = cast("list[object]", one), cast("list[object]", other)
        return len(items) == len(others) and all(map(equal, items, others))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        fields, counterparts = cast("Mapping[str, object]", one), cast("Mapping[str, object]", other)
        # An object's null is a field; one that is not there is none.
        return fields.keys() == counterparts.keys() and all(equal(fields[name], counterparts[name]) for name in fields)
    # Both may be nothing, one of them a path that leads nowhere.
    return kind_of(left) == "nothing" or cast(object, one) == other


_PLAIN = (int, str, float, bool)


def _ordering(compare: Callable[[int, int], bool]) -> Callable[[object, object], bool]:
    plain = cast(Callable[[object, object], bool], compare)

    def typed(left: object, right: object) -> bool:
        if type(left) in _FAST and type(right) in _FAST:
            return plain(left, right)
        pair = comparable(left, right)
        if pair is None or kind_of(pair[0]) not in ("number", "text", "time") or any(map(_is_no_number, pair)):
            return False
        return plain(*pair)

    return typed


_FAST = (int, float)
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
    return isinstance(container, Mapping) and isinstance(item, str) and item in container
