"""Conditions: a template's truth, or a filter object; both compile to one callable."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import cast

from headrace.language import limits
from headrace.language.errors import LanguageError, TemplateError, all_made
from headrace.language.regex import compiled, regex_match
from headrace.language.scope import Scope
from headrace.language.templates import Template, Value, compile_template, compile_value
from headrace.language.values import (
    KINDS,
    MISSING,
    contains,
    equal,
    greater,
    greater_or_equal,
    is_empty,
    kind_of,
    less,
    less_or_equal,
    look_up,
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
    return Condition(_Comparisons(roots).group(source, path, 0))


def _of_template(template: Template, path: str) -> Condition:
    if template.constant and template.source.strip() not in ("true", "false"):
        raise LanguageError(path, "a condition is an expression in {{ }}, true, false, or a filter object")
    if template.has_literals:
        raise LanguageError(path, "text outside of {{ }} makes it always true; put the whole condition inside")
    if template.joins:
        raise LanguageError(
            path, "several {{ }} join to a text, which is nearly always true; write one, with `and` or `or`"
        )
    render = template.render
    return Condition(lambda scope: scope.is_true(render(scope)))


_Holds = Callable[[Scope], bool]

MOST_COMPARISONS = 1_000
"""Of one filter object: an author's YAML may name a part again and again without its text growing."""


class _Comparisons:
    """Compiles filter objects, and counts their comparisons."""

    def __init__(self, roots: frozenset[str]) -> None:
        self._roots = roots
        self._count = 0

    def group(self, source: Mapping[str, object], path: str, depth: int) -> _Holds:
        """`{all|any|none: […]}`."""
        names = set(source) & {"all", "any", "none"}
        if len(source) != 1 or len(names) != 1:
            raise LanguageError(path, "a filter object has one of all, any, none")
        if depth > limits.DEPTH:
            raise LanguageError(
                path[: limits.FREE] + "…", f"filter objects are nested deeper than {limits.DEPTH} levels"
            )
        name = names.pop()
        parts = source[name]
        if not isinstance(parts, list | tuple):
            raise LanguageError(path, f"`{name}` is a list of comparisons and filter objects")
        found = enumerate(cast(Sequence[object], parts))
        tests = all_made(partial(self._part, part, f"{path}.{name}.{index}", depth) for index, part in found)
        if name == "all":
            return lambda scope: all(test(scope) for test in tests)
        if name == "any":
            return lambda scope: any(test(scope) for test in tests)
        return lambda scope: not any(test(scope) for test in tests)

    def _part(self, part: object, path: str, depth: int) -> _Holds:
        self._count += 1
        if self._count == MOST_COMPARISONS + 1:
            raise LanguageError(path, f"more than {MOST_COMPARISONS} comparisons")
        if self._count > MOST_COMPARISONS:
            return lambda scope: False  # told once is enough
        if not isinstance(part, Mapping):
            raise LanguageError(path, "expected {field, op, value} or a filter object")
        found = cast(Mapping[str, object], part)
        return self._comparison(found, path) if "field" in found else self.group(found, path, depth + 1)

    def _comparison(self, found: Mapping[str, object], path: str) -> _Holds:
        field, op = found["field"], found.get("op")
        unknown = set(found) - {"field", "op", "value"}
        if not isinstance(field, str) or not field or unknown:
            raise LanguageError(path, "a comparison has `field` (a dotted path), `op` and `value`")
        if not isinstance(op, str) or op not in OPERATORS:
            raise LanguageError(path, f"unknown op {op!r}; known are {', '.join(sorted(OPERATORS))}")
        steps = field.split(".")
        if steps[0] not in self._roots:
            raise LanguageError(path, f"unknown root {steps[0]!r} in field")
        if "value" not in found and op not in WITHOUT_VALUE:
            raise LanguageError(path, f"`{op}` needs a `value`")
        value = compile_value(found.get("value"), roots=self._roots, path=f"{path}.value")
        if value.constant:
            _check_value(op, found.get("value"), f"{path}.value")
        if op.startswith("changed"):
            return _change(steps, OPERATORS[op], value, path)
        return _compared(steps, OPERATORS[op], value)


def _check_value(op: str, value: object, path: str) -> None:
    """A constant that the op can never hold for is a mistake."""
    if op in ("in", "not_in", "contains_any", "contains_all") and kind_of(value) != "array":
        raise LanguageError(path, f"`{op}` takes an array")
    if op == "between" and len(items(value)) != 2:
        raise LanguageError(path, "`between` takes an array of two: the least and the greatest")
    if op == "is_type" and value not in KINDS:
        raise LanguageError(path, f"`is_type` takes one of {', '.join(KINDS)}")
    if op in ("starts_with", "ends_with") and kind_of(value) != "text":
        raise LanguageError(path, f"`{op}` takes text")
    if op == "matches":
        try:
            compiled(value)
        except ValueError as error:
            raise LanguageError(path, f"`matches`: {error}") from None


def _compared(steps: Sequence[str], compare: "Operator", value: Value) -> _Holds:
    return lambda scope: _outcome(compare, _follow(scope.roots, steps), value.render(scope))


def _change(steps: Sequence[str], compare: "Operator", value: Value, path: str) -> _Holds:
    before = _before(steps)
    if before is None:
        raise LanguageError(path, "what changed is a column: `field` begins with row. or trigger.row.")

    def holds(scope: Scope) -> bool:
        change = (_follow(scope.roots, before), _follow(scope.roots, steps))
        return _outcome(compare, change, value.render(scope))

    return holds


def _outcome(compare: "Operator", found: object, wanted: object) -> bool:
    try:
        return compare(found, wanted)
    except RecursionError:
        raise limits.limit("values nested too deeply to be compared") from None


def _before(steps: Sequence[str]) -> Sequence[str] | None:
    """Where the same path led before the change; None if it is no row's."""
    if steps[0] == "row":
        return ["old_row", *steps[1:]]
    return ["trigger", "old_row", *steps[2:]] if steps[:2] == ["trigger", "row"] else None


def _follow(value: object, steps: Sequence[str]) -> object:
    for step in steps:
        value = look_up(value, step)
    return value


def items(value: object) -> Sequence[object]:
    """The items of an array; none of anything else."""
    return cast(Sequence[object], value) if isinstance(value, list | tuple) else ()


def _matches(value: object, pattern: object) -> bool:
    try:
        if isinstance(value, str) and isinstance(pattern, str):
            return regex_match(value, pattern, limits.bounded_work)
    except ValueError as error:
        raise TemplateError(f"matches: {error}") from None
    return False


def _between(value: object, ends: object) -> bool:
    pair = items(ends)
    return len(pair) == 2 and greater_or_equal(value, pair[0]) and less_or_equal(value, pair[1])


def _among(value: object, wanted: object) -> bool:
    return any(equal(value, item) for item in items(wanted))


def _contains(value: object, wanted: object, enough: Callable[[Iterable[bool]], bool]) -> bool:
    sought = items(wanted)
    # Each is looked for in all of it.
    searched = len(value) // limits.UNIT if isinstance(value, str) else len(items(value))
    limits.bounded_work(len(sought) * max(searched, 1))
    return enough(contains(value, item) for item in sought)


def _pair(change: object) -> tuple[object, object]:
    return cast(tuple[object, object], change)


def _changed(change: object, _: object) -> bool:
    before, after = _pair(change)
    return not equal(before, after)


Operator = Callable[[object, object], bool]

OPERATORS: Mapping[str, Operator] = {
    "eq": equal,
    "ne": lambda value, wanted: not equal(value, wanted),
    "gt": greater,
    "gte": greater_or_equal,
    "lt": less,
    "lte": less_or_equal,
    "between": _between,
    "in": _among,
    "not_in": lambda value, wanted: not _among(value, wanted),
    "contains": contains,
    "contains_any": lambda value, wanted: _contains(value, wanted, any),
    "contains_all": lambda value, wanted: _contains(value, wanted, all),
    "starts_with": lambda value, wanted: (
        isinstance(value, str) and isinstance(wanted, str) and value.startswith(wanted)
    ),
    "ends_with": lambda value, wanted: isinstance(value, str) and isinstance(wanted, str) and value.endswith(wanted),
    "matches": _matches,
    "empty": lambda value, wanted: is_empty(value),
    "not_empty": lambda value, wanted: not is_empty(value),
    "exists": lambda value, wanted: value is not MISSING,
    "changed": _changed,
    "changed_to": lambda change, wanted: _changed(change, None) and equal(_pair(change)[1], wanted),
    "changed_from": lambda change, wanted: _changed(change, None) and equal(_pair(change)[0], wanted),
    "is_type": lambda value, wanted: kind_of(value) == wanted,
}
"""The comparisons by name: (the field's value, the wanted value) to whether it holds; of those that begin with
`changed` the first is the pair of the values before and after."""

WITHOUT_VALUE = frozenset(("empty", "not_empty", "exists", "changed"))
"""Comparisons that take no `value`."""
