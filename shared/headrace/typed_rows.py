"""Rows that come as JSON or as text, in which times and much else are text: their values as their columns type them.

What cannot be taken so is left as it came: MongoDB then refuses it, with the column's name.
"""

from collections.abc import Mapping
from datetime import UTC

import orjson

from headrace.contracts.tables import Column, Table
from headrace.language.values import to_number, to_time

_BOOLEANS = {"true": True, "false": False}


def from_json(table: Table | None, row: Mapping[str, object]) -> dict[str, object]:
    """A row out of JSON: text in a column of times that is one becomes it."""
    columns: Mapping[str, Column] = {} if table is None else table.columns
    return {name: _time(value) if _is_time(columns.get(name)) else value for name, value in row.items()}


def from_text(table: Table | None, row: Mapping[str, str]) -> dict[str, object]:
    """A row out of CSV: each text becomes what its column is; an empty one is none.

    Columns of the type `any`, and those that no table names, stay text: a zip code is no number.
    """
    columns: Mapping[str, Column] = {} if table is None else table.columns
    return {name: _of(columns.get(name), text) for name, text in row.items() if text != ""}


def _of(column: Column | None, text: str) -> object:
    match None if column is None else column.type:
        case "number":
            return _or(text, to_number(text))
        case "boolean":
            return _BOOLEANS.get(text.strip().lower(), text)
        case "time":
            return _time(text)
        case "array" | "object":
            try:
                return orjson.loads(text)
            except orjson.JSONDecodeError:
                return text
        case _:
            return text


def _is_time(column: Column | None) -> bool:
    return column is not None and column.type == "time"


def _time(value: object) -> object:
    time = to_time(value)
    if time is None:
        return value
    time = time.astimezone(UTC)
    # MongoDB keeps milliseconds: what is answered now is what is read later.
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _or(value: object, typed: object) -> object:
    return value if typed is None else typed
