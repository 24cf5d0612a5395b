"""Pages of the docs on the steps of the table, made of the steps themselves. No I/O."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import cast

from pydantic import BaseModel

from headrace.engine.steps.base import AwaitingStep, Effect, PureStep

Step = PureStep | AwaitingStep
Schema = Mapping[str, object]

EFFECTS: Mapping[Effect, str] = {
    "none": "none: it changes nothing outside of the run.",
    "once": "once: its effect and the run's progress are kept together, or neither is.",
    "at_least_once": "at least once: if the worker dies during the call, it is made again under the same key "
    "(`on_unknown: fail` gives it up instead).",
    "at_most_once": "at most once: if the worker dies during the call, it is not made again and the step fails "
    "(`on_unknown: resend` makes it again).",
}
_SHORT: Mapping[Effect, str] = {
    "none": "none", "once": "once", "at_least_once": "at least once", "at_most_once": "at most once",
}  # fmt: skip

MARKER = "<!-- Written by `headrace docs steps"
"""How each page begins: by it a later run knows which files are its own."""

REGENERATE = f"{MARKER} --out docs/steps` from the step's models. -->"


_HEAD = """# Steps

Each is the `use` of a step; its page has its inputs, outputs and errors. The examples stand where the trigger is a new
row of the table `flights`: `trigger.row` is a flight."""


def pages(steps: Mapping[str, Step]) -> dict[str, str]:
    """File names and contents: one page a step, and README.md with the table."""
    found = {f"{use}.md": page(step) for use, step in steps.items()}
    rows = [[f"[`{use}`]({use}.md)", _first_sentence(steps[use]), _SHORT[steps[use].effect]] for use in sorted(steps)]
    return {**found, "README.md": _joined([REGENERATE, _HEAD, _table(["use", "does", "effect"], rows)])}


def page(step: Step) -> str:
    """The page of one step."""
    parts = [REGENERATE, f"# `{step.use}`", _about(step), f"**Effect**: {EFFECTS[step.effect]}", _retry(step)]
    if step.example:
        parts += ["## Example", f"```yaml\n{step.example.strip()}\n```"]
    parts += ["## Inputs", *_inputs(step.inputs)]
    outputs = [("success", "true, or false where the step failed"), *step.outputs.items()]
    parts += ["## Outputs", _table(["output", ""], [[f"`{name}`", about] for name, about in outputs])]
    if step.errors:
        errors = [[f"`{type}`", about] for type, about in step.errors.items()]
        parts += ["## Errors", _table(["type", "when"], errors)]
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(step: Step) -> str:
    return cleandoc(step.__doc__ or "")


def _first_sentence(step: Step) -> str:
    return " ".join(_about(step).split("\n\n")[0].split())


def _retry(step: Step) -> str:
    if not isinstance(step, AwaitingStep):
        return ""
    retry = step.retry
    if retry is None or retry.attempts == 1:
        return f"**Retry**: none, unless the step says `retry`.{_which(step)}"
    return (
        f"**Retry**: {retry.attempts} attempts where the failure may pass, {retry.backoff:g} s and then "
        f"{retry.factor:g} times as long between them, at most {retry.max:g} s; `retry` of the step overrides it."
        f"{_which(step)}"
    )


def _which(step: Step) -> str:
    if step.effect == "at_most_once":
        return " A call that is made at most once is tried again only where it is certain that nothing was done."
    return ""


def _inputs(model: type[BaseModel]) -> Iterator[str]:
    """The table of the model's fields, and one for each model inside it."""
    schema = cast(Schema, model.model_json_schema(by_alias=True))
    yield from _model(model.__name__, schema, title="")
    definitions = cast(Mapping[str, Schema], schema.get("$defs", {}))
    for name, definition in definitions.items():
        yield from _model(name, definition, title=f"### {name}")


def _model(name: str, schema: Schema, title: str) -> Iterator[str]:
    properties = cast(Mapping[str, Schema], schema.get("properties", {}))
    if not properties:
        if title:
            yield from (title, _text(schema.get("description")) or _type(schema))
        return
    if title:
        yield title
    yield _text(schema.get("description"))
    required = cast(Sequence[str], schema.get("required", ()))
    rows = [[f"`{field}`", _type(of), _default(field in required, of), _notes(of)] for field, of in properties.items()]
    yield _table(["input", "type", "default", ""], rows)


def _text(value: object) -> str:
    return cleandoc(value) if isinstance(value, str) else ""


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            options = [_type(option) for option in cast(Sequence[Schema], schema[choice])]
            return " or ".join(dict.fromkeys(option for option in options if option != "null"))
    if len(cast(Sequence[Schema], schema.get("allOf", ()))) == 1:
        return _type(cast(Sequence[Schema], schema["allOf"])[0])
    if "enum" in schema:
        return ", ".join(_code(option) for option in cast(Sequence[object], schema["enum"]))
    if "const" in schema:
        return _code(schema["const"])
    return _named(schema)


def _named(schema: Schema) -> str:
    match schema.get("type"):
        case "array":
            items = cast(Schema, schema.get("items", {}))
            return f"array of {_type(items)}" if items else "array"
        case "object":
            values = schema.get("additionalProperties")
            return f"object of {_type(cast(Schema, values))}" if isinstance(values, Mapping) and values else "object"
        case "string":
            return {"date-time": "time", "uuid": "UUID"}.get(str(schema.get("format")), "text")
        case "integer":
            return "whole number"
        case None:
            return "anything"
        case other:
            return str(other)


def _default(required: bool, schema: Schema) -> str:
    if required:
        return "required"
    # A default that is made anew for each, an empty object or array, is in no schema.
    found = schema.get("default")
    return "" if found is None else _code(found)


_LIMITS = {
    "minLength": "length at least {}",
    "maxLength": "length at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "pattern": "matches `{}`",
}


def _notes(schema: Schema) -> str:
    notes = [_text(schema.get("description")), *_limits(schema)]
    for option in cast(Sequence[Schema], schema.get("anyOf", ())):
        notes += _limits(option)
    return "; ".join(note for note in notes if note)


def _limits(schema: Schema) -> list[str]:
    return [words.format(schema[name]) for name, words in _LIMITS.items() if name in schema]


def _code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
