"""The JSON Schema of automation documents, for editors: what may stand where, with the docstrings as descriptions."""

from collections.abc import Callable, Mapping
from typing import cast

from headrace.contracts.automation import Automation
from headrace.engine.steps import STEPS
from headrace.engine.steps.base import AwaitingStep, PureStep

Schema = dict[str, object]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{|\{%"}
"""Any input may be a template, whatever it renders to."""

_BOUNDS = ("pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength")
"""Said of rendered inputs; what an author writes may be a template, or text that is cleaned to fit."""

_SCALARS = ("string", "number", "integer", "boolean")


def automation_schema(table: Mapping[str, PureStep | AwaitingStep] = STEPS) -> Schema:
    """The schema of a document, with the inputs of each step of `table` under its `use`.

    Inputs are described as they may be written: looser than what they must be once they are rendered, which
    `headrace lint` and `apply` check as far as it is known.
    """
    schema = cast(Schema, Automation.model_json_schema(by_alias=True))
    definitions = cast("dict[str, Schema]", schema["$defs"])
    use_step = definitions["UseStep"]
    properties = cast("dict[str, Schema]", use_step["properties"])
    # An enumeration alone would refuse steps of packages that are not installed where the schema was made.
    properties["use"] = {
        "description": "The step of the table.",
        "anyOf": [{"enum": sorted(table)}, {"type": "string"}],
    }
    use_step["allOf"] = [_inputs_of(step, definitions) for _, step in sorted(table.items())]
    return {"$schema": _DIALECT, "$id": "headrace/automation", **schema}


def _inputs_of(step: PureStep | AwaitingStep, definitions: dict[str, Schema]) -> Schema:
    inputs = cast(Schema, step.inputs.model_json_schema(by_alias=True))
    prefix = f"{step.use}."
    for name, definition in cast("dict[str, Schema]", inputs.pop("$defs", {})).items():
        definitions[prefix + name] = _written(definition, prefix)
    written = _written(inputs, prefix)
    written["description"] = _described(step)
    then: Schema = {"properties": {"with": written}}
    if inputs.get("required"):
        then["required"] = ["with"]
    return {"if": {"properties": {"use": {"const": step.use}}, "required": ["use"]}, "then": then}


def _described(step: PureStep | AwaitingStep) -> str:
    outputs = "; ".join(f"`{name}`: {meaning}" for name, meaning in step.outputs.items())
    about = (type(step).__doc__ or "").strip()
    return f"{about}\n\nOutputs: {outputs}" if outputs else about


def _written(schema: Schema, prefix: str) -> Schema:
    """A schema of rendered inputs as one of what an author writes."""
    loose = {name: value for name, value in schema.items() if name not in _BOUNDS}
    if isinstance(loose.get("$ref"), str):
        loose["$ref"] = str(loose["$ref"]).replace("#/$defs/", f"#/$defs/{prefix}")
    if loose.get("type") in _SCALARS and "const" not in loose and "enum" not in loose:
        loose["type"] = [*_SCALARS, "null"]
    for name in ("properties", "patternProperties"):
        if name in loose:
            loose[name] = _each(loose[name], lambda value: _or_template(_written(value, prefix)))
    for name in ("items", "additionalProperties"):
        if isinstance(loose.get(name), dict):
            loose[name] = _or_template(_written(cast(Schema, loose[name]), prefix))
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if name in loose:
            loose[name] = [_written(each, prefix) for each in cast("list[Schema]", loose[name])]
    mapping = cast("dict[str, object] | None", loose.get("discriminator"))
    if mapping is not None:
        # For generators of code only, and its references would be wrong here.
        del loose["discriminator"]
    return loose


def _each(properties: object, change: Callable[[Schema], Schema]) -> Schema:
    return {name: change(value) for name, value in cast("dict[str, Schema]", properties).items()}


def _or_template(schema: Schema) -> Schema:
    said = {name: schema[name] for name in ("title", "description", "default") if name in schema}
    rest = {name: value for name, value in schema.items() if name not in said}
    types = rest.get("type")
    if not rest or (isinstance(types, list) and "string" in cast("list[object]", types)):
        return schema
    return {**said, "anyOf": [rest, _instead(rest)]}


def _instead(schema: Schema) -> Schema:
    """What else may be written: one item for an array, JSON text for an object, a template for anything."""
    inside = [schema, *cast("list[Schema]", schema.get("anyOf", []))]
    types = [each.get("type") for each in inside]
    if "array" in types:
        return {"type": list(_SCALARS)}
    return {"type": "string"} if "object" in types else _TEMPLATE
