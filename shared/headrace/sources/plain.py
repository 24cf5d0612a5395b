"""A record that is data and nothing else: an event of a type, or the row that it is from then on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, cast

from headrace.contracts.errors import ContractError
from headrace.contracts.rows import RowChange, RowSource
from headrace.sources.extended_json import EPOCH, time_text
from headrace.sources.model import AtPath, PlainSource

_OPS: Mapping[str, Literal["c", "u", "d"]] = {
    **dict.fromkeys(("c", "i", "create", "created", "insert", "inserted"), "c"),
    **dict.fromkeys(("u", "update", "updated"), "u"),
    **dict.fromkeys(("d", "delete", "deleted"), "d"),
}
"""What records call a change, in small letters."""


def type_of(source: PlainSource, data: object) -> str:
    """The event's type; raises ContractError."""
    if not isinstance(source.event_type, AtPath):
        return source.event_type or ""
    found = at_path(data, source.event_type.path)
    if isinstance(found, str) and found:
        return found
    raise ContractError("no_type", f"the event's type is expected as text at {source.event_type.path}")


def key_of(source: PlainSource, data: object, record_key: str) -> str:
    """What orders; raises ContractError."""
    if source.key is None:
        return record_key
    found = at_path(data, source.key)
    if isinstance(found, str) or (isinstance(found, int | float) and not isinstance(found, bool)):
        return str(found)
    raise ContractError("no_key", f"the key is expected as text or a number at {source.key}")


def time_of(source: PlainSource, data: object, otherwise: datetime) -> datetime:
    """When it happened: RFC 3339, or milliseconds since 1970; raises ContractError."""
    if source.time is None:
        return otherwise
    found = at_path(data, source.time)
    time = _rfc3339(found) if isinstance(found, str) else of_ms(found)
    if time is None:
        raise ContractError(
            "bad_time", f"the time is expected at {source.time}: RFC 3339, or milliseconds since 1970 as a number"
        )
    return time


def row_of(source: PlainSource, data: object) -> RowChange:
    """The change that the record is; raises ContractError."""
    table = RowSource(table=source.table or "")
    if data is None:
        return RowChange(op="d", before={}, source=table)
    if not isinstance(data, dict):
        raise ContractError("bad_shape", "row: expected an object: columns with values")
    row = cast("dict[str, object]", data)
    op = _op(source, row)
    return RowChange(op=op, before=row if op == "d" else None, after=None if op == "d" else row, source=table)


def _op(source: PlainSource, row: Mapping[str, object]) -> Literal["c", "u", "d"]:
    if not isinstance(source.change, AtPath):
        return "c" if source.change == "created" else "u"
    found = at_path(row, source.change.path)
    op = _OPS.get(found.lower()) if isinstance(found, str) else None
    if op is None:
        raise ContractError(
            "no_change",
            f"what became of the row is expected at {source.change.path}: one of {', '.join(_OPS)}",
        )
    return op


def at_path(data: object, path: str) -> object:
    """The value at names with dots between; None where there is none."""
    for name in path.split("."):
        if isinstance(data, dict):
            data = cast("Mapping[str, object]", data).get(name)
        elif isinstance(data, list) and name.isascii() and name.isdigit() and len(name) < 10:
            listed = cast("list[object]", data)
            data = listed[int(name)] if int(name) < len(listed) else None
        else:
            return None
    return data


def of_ms(value: object) -> datetime | None:
    """The time of a number of milliseconds since 1970; None where it is none, or before or after all calendars."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    text = time_text(int(value), 1_000) if abs(value) < _BEYOND_MS else None
    return None if text is None else datetime.fromisoformat(text)


_BEYOND_MS = 1e15
"""Of 33,000 years: beyond what a datetime holds."""


def _rfc3339(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def safe_time(timestamp_ms: int) -> datetime:
    """A record's timestamp, which its producer may have set to any number: 1970 where it is no time."""
    return of_ms(timestamp_ms) or EPOCH
