"""The typed inputs of an automation that people, or other automations, start."""

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator

from headrace.contracts.automation.values import Part

FieldType = Literal["text", "number", "boolean", "time", "array", "object", "any"]


class Field(Part):
    """One input. Without a `default` it must be given unless `required` is false; then it is null."""

    type: FieldType = "any"
    required: bool = True
    default: object = None
    description: str = ""


def _short(value: object) -> object:
    if isinstance(value, str):
        return {"type": value}
    if isinstance(value, Mapping | Field):
        return cast(object, value)
    raise ValueError("expected a type such as text, or an object with `type`, `required`, `default`, `description`")


Fields = Mapping[str, Annotated[Field, BeforeValidator(_short, json_schema_input_type=FieldType | Field)]]
"""By name; `name: text` is short for `name: {type: text}`."""


def is_needed(field: Field) -> bool:
    """Whether a caller must give it."""
    return field.required and field.default is None
