"""Cleaning of rendered inputs before a step's model takes them; each raises ValueError naming the expected kind."""

from datetime import datetime
from typing import cast

import orjson

from headrace.language import values


def to_bool(value: object) -> bool:
    """A boolean, or "true"/"false"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError("expected true or false")


def to_number(value: object) -> values.Number:
    """A number, or wholly numeric text."""
    found = values.to_number(value)
    if found is None:
        raise ValueError("expected a number")
    return found


def to_datetime(value: object) -> datetime:
    """A time, or ISO 8601 text."""
    found = values.to_time(value)
    if found is None:
        raise ValueError("expected a time such as 2013-01-31T10:00:00Z")
    return found


def to_json(value: object) -> dict[str, object] | list[object]:
    """An object or array, or JSON text of one."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            raise ValueError("expected an object or array, or JSON text of one") from None
    if isinstance(value, dict | list):
        return cast("dict[str, object] | list[object]", value)
    raise ValueError("expected an object or array")
