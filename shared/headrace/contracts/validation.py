"""pydantic's complaints, said in our words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

_TEXT, _WHOLE, _NUMBER, _BOOLEAN = (
    "expected text",
    "expected a whole number",
    "expected a number",
    "expected true or false",
)
_LIST, _OBJECT = "expected a list", "expected an object: names with values"
_TIME = "expected a time with its offset, such as 2013-01-31T10:00:00Z"

_WORDS = {
    "missing": "must be given",
    "extra_forbidden": "unknown name",
    "string_type": _TEXT,
    "string_sub_type": _TEXT,
    "string_unicode": _TEXT,
    "invalid_key": "a name is text",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "at most {max_length} characters are accepted",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "iterable_type": _LIST,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "too_short": "expected at least {min_length} items",
    "too_long": "it has {actual_length} items; {max_length} are accepted",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "union_tag_invalid": "expected one of {expected_tags}",
    "union_tag_not_found": "it needs a {discriminator}",
    "none_required": "expected nothing",
    "bytes_type": "expected bytes",
    "recursion_loop": "it holds itself",
}
"""By pydantic's type of error; names in braces are of its context."""


def said(mistake: ErrorDetails) -> str:
    """What is wrong and what was expected, without the value."""
    type = mistake["type"]
    context = {name: _number(value) for name, value in mistake.get("ctx", {}).items()}
    if type in ("value_error", "assertion_error"):
        return str(context["error"])  # our own validators' words
    if type.startswith(("datetime_", "timezone_")):
        return _TIME
    if type in ("literal_error", "enum"):
        expected = str(context["expected"]).replace("True", "true").replace("False", "false")
        return f"expected one of {expected}" if " or " in expected else f"expected {expected}"
    if type in ("too_short", "string_too_short") and context["min_length"] == 1:
        return "it must not be empty"
    if type in _WORDS:
        return _WORDS[type].format(**context)
    # What a validator of ours named itself, or a kind that only other packages' steps use.
    return mistake["msg"]


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Said:
    """In `Annotated`: what is said of a value that does not fit, in place of pydantic's complaints about its parts."""

    words: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """pydantic's hook."""
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="said", custom_error_message=self.words
        )


def explain(error: ValidationError, what: str, value: object = None) -> tuple[str, str]:
    """(type, message) of the first mistakes: `not_json` or `bad_shape`, with the path of each; never the values.

    Paths are those of `value`, what was validated, where it is given.
    """
    mistakes = error.errors(include_url=False, include_input=False)
    if mistakes[0]["type"] == "json_invalid":
        return "not_json", f"{what}: not JSON ({mistakes[0]['msg']})"
    told = [f"{dotted(_path(mistake, value))}: {said(mistake)}" for mistake in mistakes[:5]]
    if len(mistakes) > len(told):
        told.append(f"and {len(mistakes) - len(told)} more")
    return "bad_shape", f"{what}: {'; '.join(told)}"


def _path(mistake: ErrorDetails, value: object) -> Sequence[int | str]:
    return mistake["loc"] if value is None else written(mistake, mistake["loc"], value)


def written(mistake: ErrorDetails, location: Sequence[int | str], value: object) -> list[int | str]:
    """The part of pydantic's `location` of a mistake in `value` that leads into it, and a name that is missing there.

    pydantic also puts in which member of a union it tried, and where a name rather than its value is wrong.
    """
    path: list[int | str] = []
    for number, part in enumerate(location):
        if isinstance(value, Mapping) and part in value:
            value = cast("Mapping[int | str, object]", value)[part]
        elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(cast("Sequence[object]", value)):
            value = cast("Sequence[object]", value)[part]
        elif mistake["type"] != "missing" or number < len(location) - 1:
            continue
        path.append(part)
    return path


def dotted(location: Sequence[int | str]) -> str:
    """`("steps", 0, "with")` as `steps.0.with`; the whole document is named so."""
    return ".".join(map(str, location)) or "(whole)"
