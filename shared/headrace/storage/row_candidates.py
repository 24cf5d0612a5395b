"""A MongoDB filter that finds every row a filter of the language holds of, and as few others as is simple to say.

It may find more, never less. Values stand below operators that this module names; fields are whole columns: so no data
becomes an operator or a path. Paths into a column are left to the language: MongoDB's go through arrays.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import cast

from bson import encode

from headrace.language import Comparison, Group, RowFilter
from headrace.language.values import kind_of, to_number, to_time
from headrace.storage.driver import NOT_BSON, Document

EVERYTHING: Document = {}

_TEXT: Document = {"$type": "string"}
_BOUNDS = {"gt": "$gte", "gte": "$gte", "lt": "$lte", "lte": "$lte"}
"""With the bound itself: MongoDB keeps milliseconds and cuts a time with microseconds down to them."""


def candidates(filter: RowFilter | None) -> Document:
    """The MongoDB filter; EVERYTHING where nothing can be said."""
    if filter is None:
        return EVERYTHING
    found = _part(filter)
    try:
        encode(found)
    except NOT_BSON:
        # A value that MongoDB cannot hold, such as a larger number; a row may hold one that is equal as text.
        return EVERYTHING
    return found


def _part(filter: RowFilter) -> Document:
    if isinstance(filter, Comparison):
        return _comparison(filter)
    return _group(filter)


def _group(group: Group) -> Document:
    if group.how == "none":
        return EVERYTHING  # the opposite of too many would be too few
    found = [_part(part) for part in group.parts]
    if group.how == "all":
        found = [each for each in found if each != EVERYTHING]
        return {"$and": found} if found else EVERYTHING
    return {"$or": found} if found and EVERYTHING not in found else EVERYTHING


def _comparison(comparison: Comparison) -> Document:
    if len(comparison.path) != 1:
        return EVERYTHING
    tests = _TESTS.get(comparison.op, _anything)(comparison.value)
    if tests is None:
        return EVERYTHING
    return {"$or": [{comparison.path[0]: test} for test in tests]}


_Tests = list[Document] | None
"""Any of these tests of a column may be true; None: nothing can be said."""


def _anything(_: object) -> _Tests:
    return None


def _equal(value: object) -> _Tests:
    match kind_of(value):
        case "nothing":
            return [{"$eq": None}]
        case "boolean":
            return [{"$eq": value}]
        case "number":
            return [{"$eq": value}, _TEXT]
        case "time":
            return [{"$eq": _time(value)}, _TEXT]
        case "text":
            return [{"$eq": each} for each in _readings(value)]
        case _:
            return None


def _ordered(bound: str) -> Callable[[object], _Tests]:
    def tests(value: object) -> _Tests:
        match kind_of(value):
            case "number":
                return [{bound: value}, _TEXT]
            case "time":
                return [{bound: _time(value)}, _TEXT]
            case "text":
                return [{bound: each} for each in _readings(value)]
            case _:
                return None

    return tests


def _any_equal(values: object) -> _Tests:
    found: list[Document] = []
    for value in cast(Sequence[object], values) if isinstance(values, list | tuple) else ():
        tests = _equal(value)
        if tests is None:
            return None
        found += [test for test in tests if test not in found]
    return found or None


def _between(ends: object) -> _Tests:
    pair = cast(Sequence[object], ends) if isinstance(ends, list | tuple) else ()
    return _ordered("$gte")(pair[0]) if len(pair) == 2 else None


def _text_only(_: object) -> _Tests:
    return [_TEXT]


def _begins(prefix: object) -> _Tests:
    return [{"$gte": prefix}] if isinstance(prefix, str) else None


def _exists(_: object) -> _Tests:
    return [{"$exists": True}]


def _readings(text: object) -> list[object]:
    """What a text is equal to: itself, and the number and the time it can be read as."""
    return [text, *(each for each in (to_number(text), to_time(text)) if each is not None)]


def _time(value: object) -> datetime | None:
    return to_time(value) if isinstance(value, date) else None


_TESTS: Mapping[str, Callable[[object], _Tests]] = {
    "eq": _equal,
    "in": _any_equal,
    "between": _between,
    "starts_with": _begins,
    "ends_with": _text_only,
    "matches": _text_only,
    "exists": _exists,
    **{op: _ordered(bound) for op, bound in _BOUNDS.items()},
}
"""Every other op is the language's alone."""
