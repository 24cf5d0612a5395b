"""Types of inputs, cleaned after rendering as the language says."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, cast

import orjson
from pydantic import BeforeValidator, StringConstraints

from headrace.contracts import limits
from headrace.contracts.cloudevents import is_name
from headrace.engine.plain import dumps


def _text(value: object) -> object:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return dumps(value).decode()


def _short_text(value: object) -> object:
    if isinstance(value, list | dict):
        raise ValueError("expected text, not an array or object")
    return _text(value)


def _json_object(value: object) -> object:
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("expected an object, or an object as JSON text") from None
    if not isinstance(value, Mapping):
        raise ValueError("expected an object")
    found = cast(Mapping[object, object], value)
    if not all(isinstance(key, str) for key in found):
        raise ValueError("expected an object whose names are text")
    return dict(found)


def _table(value: object) -> object:
    if not isinstance(value, str) or not is_name(value) or len(value) > _MAX_NAME:
        raise ValueError(f"expected a table's name: up to {_MAX_NAME} of a-z, 0-9, '_' and '-'")
    return value


_MAX_NAME = 64
"""Characters; what the automation document allows in a name."""

Text = Annotated[str, BeforeValidator(_text)]
"""Anything, as text: numbers in their usual form, null as "", arrays and objects as JSON."""

ShortText = Annotated[str, BeforeValidator(_short_text)]
"""Text, a number, a boolean or a time, as text; null is ""."""

Attribute = Annotated[ShortText, StringConstraints(min_length=1, max_length=limits.ATTRIBUTE)]
"""Text that becomes an id, a key or a header of a record."""

JsonObject = Annotated[dict[str, object], BeforeValidator(_json_object)]
"""An object with text keys, or JSON text of one."""

TableName = Annotated[str, BeforeValidator(_table)]
"""The name of a table."""
