"""The fields that an automation is started with, made what the document says they are."""

from collections.abc import Callable, Mapping

from headrace.contracts.automation import Field
from headrace.contracts.automation.fields import is_needed
from headrace.language import coerce


def given(fields: Mapping[str, Field], values: Mapping[str, object]) -> dict[str, object]:
    """Each of `fields` with its value: given, or its default, or null. Raises ValueError naming all that is wrong."""
    wrong = [f"field {name!r} is not known" for name in values if name not in fields]
    found: dict[str, object] = {}
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            if is_needed(field):
                wrong.append(f"field {name!r} is missing")
            found[name] = field.default
            continue
        try:
            found[name] = _CLEAN[field.type](value)
        except ValueError as error:
            wrong.append(f"field {name!r}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def _text(value: object) -> object:
    if isinstance(value, str):
        return value
    raise ValueError("expected text")


def _array(value: object) -> object:
    found = coerce.to_json(value)
    if isinstance(found, list):
        return found
    raise ValueError("expected an array")


def _object(value: object) -> object:
    found = coerce.to_json(value)
    if isinstance(found, dict):
        return found
    raise ValueError("expected an object")


_CLEAN: Mapping[str, Callable[[object], object]] = {
    "text": _text,
    "number": coerce.to_number,
    "boolean": coerce.to_bool,
    # As text: a job is JSON, and templates read a time from ISO text.
    "time": lambda value: coerce.to_datetime(value).isoformat(),
    "array": _array,
    "object": _object,
    "any": lambda value: value,
}
