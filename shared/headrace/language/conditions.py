"""Conditions: a template's truth, or a filter object; both compile to one callable."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from headrace.language.errors import LanguageError, TemplateError
from headrace.language.regex import regex_match
from headrace.language.scope import Scope
from headrace.language.templates import Template, Value, compile_template, compile_value
from headrace.language.values import (
    MISSING,
    contains,
    equal,
    greater,
    greater_or_equal,
    kind_of,
    less,
    less_or_equal,
    look_up,
    truthy,
)

Source = str | bool | Mapping[str, object]


class Condition:
    """A compiled condition; immutable."""

    __slots__ = ("holds",)

    def __init__(self, holds: Callable[[Scope], bool]) -> None:
        self.holds = holds
        """Whether it is true in a scope; raises TemplateError."""


def compile_condition(source: Source, *, roots: frozenset[str], path: str) -> Condition:
    """Compiles an expression or a filter object; raises LanguageError with the path of the mistake."""
    if isinstance(source, bool):
        return Condition(lambda scope: source)
    if isinstance(source, str):
        return _of_template(compile_template(source, roots=roots, path=path), path)
    return Condition(_group(source, roots, path))


def _of_template(template: Template, path: str) -> Condition:
    if template.constant and template.source.strip() not in ("true", "false"):
        raise LanguageError(path, "a condition is an expression in {{ }}, true, false, or a filter object")
    render = template.render
    return Condition(lambda scope: truthy(render(scope)))


_Holds = Callable[[Scope], bool]


def _group(source: Mapping[str, object], roots: frozenset[str], path: str) -> _Holds:
    names = set(source) & {"all", "any", "none"}
    if len(source) != 1 or len(names) != 1:
        raise LanguageError(path, "a filter object has one of all, any, none")
    name = names.pop()
    parts = source[name]
    if not isinstance(parts, list | tuple):
        raise LanguageError(path, f"`{name}` is a list of comparisons and filter objects")
    tests = [_part(part, roots, f"{path}.{name}.{index}") for index, part in enumerate(cast(Sequence[object], parts))]
    if name == "all":
        return lambda scope: all(test(scope) for test in tests)
    if name == "any":
        return lambda scope: any(test(scope) for test in tests)
    return lambda scope: not any(test(scope) for test in tests)


def _part(part: object, roots: frozenset[str], path: str) -> _Holds:
    if not isinstance(part, Mapping):
        raise LanguageError(path, "expected {field, op, value} or a filter object")
    found = cast(Mapping[str, object], part)
    if "field" not in found:
        return _group(found, roots, path)
    field, op = found["field"], found.get("op")
    unknown = set(found) - {"field", "op", "value"}
    if not isinstance(field, str) or not field or unknown:
        raise LanguageError(path, "a comparison has `field` (a dotted path), `op` and `value`")
    if op not in OPERATORS:
        raise LanguageError(path, f"unknown op {op!r}; known are {', '.join(sorted(OPERATORS))}")
    steps = field.split(".")
    if steps[0] not in roots:
        raise LanguageError(path, f"unknown root {steps[0]!r} in field")
    value = compile_value(found.get("value"), roots=roots, path=f"{path}.value")
    return _comparison(steps, str(op), value)


def _comparison(steps: Sequence[str], op: str, value: Value) -> _Holds:
    compare, changes = OPERATORS[op], op.startswith("changed")

    def holds(scope: Scope) -> bool:
        found = _follow(scope.roots, steps)
        wanted = value.render(scope)
        if changes:
            return compare((_before(scope.roots, steps), found), wanted)
        return compare(found, wanted)

    return holds


def _follow(value: object, steps: Sequence[str]) -> object:
    for step in steps:
        value = look_up(value, step)
    return value


def _before(roots: Mapping[str, object], steps: Sequence[str]) -> object:
    """The value the same path had before the change: in `old_row` instead of `row`."""
    if "row" not in steps:
        return MISSING
    return _follow(roots, ["old_row" if step == "row" else step for step in steps])


def items(value: object) -> Sequence[object]:
    """The items of an array; none of anything else."""
    return cast(Sequence[object], value) if isinstance(value, list | tuple) else ()


def _matches(value: object, pattern: object) -> bool:
    try:
        return isinstance(value, str) and regex_match(value, pattern)
    except ValueError as error:
        raise TemplateError(f"matches: {error}") from None


def _empty(value: object, _: object) -> bool:
    return kind_of(value) == "nothing" or value in ("", [], {})


def _between(value: object, ends: object) -> bool:
    pair = items(ends)
    return len(pair) == 2 and greater_or_equal(value, pair[0]) and less_or_equal(value, pair[1])


def _pair(change: object) -> tuple[object, object]:
    return cast(tuple[object, object], change)


def _changed(change: object, _: object) -> bool:
    before, after = _pair(change)
    return not equal(before, after)


OPERATORS: Mapping[str, Callable[[object, object], bool]] = {
    "eq": equal,
    "ne": lambda value, wanted: not equal(value, wanted),
    "gt": greater,
    "gte": greater_or_equal,
    "lt": less,
    "lte": less_or_equal,
    "between": _between,
    "in": lambda value, wanted: any(equal(value, item) for item in items(wanted)),
    "not_in": lambda value, wanted: not any(equal(value, item) for item in items(wanted)),
    "contains": contains,
    "contains_any": lambda value, wanted: any(contains(value, item) for item in items(wanted)),
    "contains_all": lambda value, wanted: all(contains(value, item) for item in items(wanted)),
    "starts_with": lambda value, wanted: (
        isinstance(value, str) and isinstance(wanted, str) and value.startswith(wanted)
    ),
    "ends_with": lambda value, wanted: isinstance(value, str) and isinstance(wanted, str) and value.endswith(wanted),
    "matches": _matches,
    "empty": _empty,
    "not_empty": lambda value, wanted: not _empty(value, wanted),
    "exists": lambda value, wanted: value is not MISSING,
    "changed": _changed,
    "changed_to": lambda change, wanted: _changed(change, None) and equal(_pair(change)[1], wanted),
    "changed_from": lambda change, wanted: _changed(change, None) and equal(_pair(change)[0], wanted),
    "is_type": lambda value, wanted: kind_of(value) == wanted,
}
"""The comparisons by name: (the field's value, the wanted value) to whether it holds."""
