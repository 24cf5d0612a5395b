"""MongoDB's extended JSON to plain JSON, with the values that rows have elsewhere in Headrace.

Source: MongoDB Extended JSON v2 (canonical, relaxed), and v1's strict mode, which Debezium's connector writes.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from headrace.contracts.cloudevents import format_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plain_json(value: object) -> object:
    """Ids, decimals and binary values become text (hexadecimal, digits, base64), times RFC 3339, numbers numbers. What
    is not known or not well-formed stays as it is."""
    if isinstance(value, list):
        return [plain_json(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    found = cast("dict[str, object]", value)
    name = next(iter(found), "")
    if name in _PLAIN and (len(found) == 1 or (name == "$binary" and found.keys() == {"$binary", "$type"})):
        plain = _PLAIN[name](found[name])
        if plain is not None:
            return plain
    return {name: plain_json(each) for name, each in found.items()}


def _text(value: object) -> object:
    return value if isinstance(value, str) else None


def _whole(value: object) -> object:
    try:
        return int(value) if isinstance(value, str | int) and len(str(value)) <= _MOST_DIGITS else None
    except ValueError:
        return None


_MOST_DIGITS = 20
"""Of 64 bits with a sign."""


def _double(value: object) -> object:
    try:
        found = float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
    # JSON has no word for the others.
    return found if found is None or found - found == 0 else str(value)


def _date(value: object) -> object:
    if isinstance(value, str):
        return value
    ms = _whole(cast("Mapping[str, object]", value).get("$numberLong")) if isinstance(value, dict) else _whole(value)
    return time_text(ms, 1_000) if isinstance(ms, int) else None


def time_text(count: int, per_second: int) -> str | None:
    """RFC 3339 of `count` parts of a second since 1970, UTC; None where no datetime can say it."""
    try:
        return format_time(EPOCH + timedelta(microseconds=count * 1_000_000 // per_second))
    except OverflowError:
        return None


def _binary(value: object) -> object:
    return cast("Mapping[str, object]", value).get("base64") if isinstance(value, dict) else _text(value)


_PLAIN: Mapping[str, Callable[[object], object]] = {
    "$oid": _text,
    "$uuid": _text,
    "$symbol": _text,
    "$numberDecimal": _text,
    "$numberInt": _whole,
    "$numberLong": _whole,
    "$numberDouble": _double,
    "$date": _date,
    "$binary": _binary,
}
