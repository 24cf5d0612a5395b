"""The part of JSON Schema that an answer is checked against: what decides whether later steps find what they expect.

Checked are `type`, `properties`, `required`, `additionalProperties: false`, `items` and `enum`. Other words go to the
endpoint and are its matter alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def mismatch(value: object, schema: Mapping[str, object], path: str = "answer") -> str | None:
    """Where and how `value` does not fit, without quoting it; None if it fits."""
    if (wrong := _wrong_type(value, schema.get("type"), path)) is not None:
        return wrong
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in cast(list[object], allowed):
        return f"{path}: none of the values of its enum"
    if isinstance(value, dict):
        return _wrong_object(cast(dict[str, object], value), schema, path)
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        inner = cast(dict[str, object], items)
        return _first(mismatch(each, inner, f"{path}.{i}") for i, each in enumerate(cast(list[object], value)))
    return None


def _wrong_type(value: object, wanted: object, path: str) -> str | None:
    names = cast(Sequence[object], wanted) if isinstance(wanted, list) else [wanted]
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if not known or any(_TYPES[name](value) for name in known):
        return None
    return f"{path}: expected {' or '.join(known)}"


def _wrong_object(value: dict[str, object], schema: Mapping[str, object], path: str) -> str | None:
    required = schema.get("required")
    if isinstance(required, list):
        for name in cast(list[object], required):
            if name not in value:
                return f"{path}.{name}: it is missing"
    known = schema.get("properties")
    properties = cast(dict[str, object], known) if isinstance(known, dict) else {}
    if schema.get("additionalProperties") is False and not value.keys() <= properties.keys():
        return f"{path}: it has a name that the schema does not know"
    return _first(
        mismatch(value[name], cast(dict[str, object], each), f"{path}.{name}")
        for name, each in properties.items()
        if name in value and isinstance(each, dict)
    )


def _first(found: Iterable[str | None]) -> str | None:
    return next((each for each in found if each is not None), None)
