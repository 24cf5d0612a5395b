"""The fields that an automation is started with, made what the document says they are."""

from collections.abc import Callable, Iterator, Mapping

from headrace.contracts.automation import Field
from headrace.contracts.automation.fields import is_needed
from headrace.language import LanguageError, coerce


def given(fields: Mapping[str, Field], values: Mapping[str, object]) -> dict[str, object]:
    """Each of `fields` with its value: given, or its default, or null. Raises ValueError naming all that is wrong."""
    wrong = [f"field {name!r} is not known" for name in values if name not in fields]
    found: dict[str, object] = {}
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            if is_needed(field):
                wrong.append(f"field {name!r} is missing")
            value = field.default
        if value is None:
            found[name] = None
            continue
        try:
            found[name] = _CLEAN[field.type](value)
        except ValueError as error:
            wrong.append(f"field {name!r}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def wrong_defaults(fields: Mapping[str, Field]) -> Iterator[LanguageError]:
    """Defaults that are not of their field's type: no start without the field could be."""
    for name, field in fields.items():
        if field.default is not None and (why := misfit(field, field.default)) is not None:
            yield LanguageError(f"fields.{name}.default", f"{why}, as the field's type is {field.type}")


def misfit(field: Field, value: object) -> str | None:
    """What `field` expects, if `value` is not that; None where it fits."""
    try:
        _CLEAN[field.type](value)
    except ValueError as error:
        return str(error)
    return None


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
