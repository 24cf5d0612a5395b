"""Filter objects over rows: the fields are columns, and the values are data. They mean what they mean in conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from headrace.language.conditions import OPERATORS, items
from headrace.language.errors import LanguageError
from headrace.language.regex import check_pattern
from headrace.language.values import look_up

ROW_OPERATORS = tuple(sorted(name for name in OPERATORS if not name.startswith("changed")))
"""A stored row has no earlier state: what compares with one is left out."""

MAX_PARTS = 200
"""Comparisons and groups of one filter: each row that is looked at costs as many tests."""

MAX_DEPTH = 20
"""Groups within groups; MongoDB takes a hundred levels, and each of ours costs it several."""

MAX_VALUES = 1_000
"""Values of a list to compare with, for the same reason as MAX_PARTS."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One column, or a path into it, compared with a value by one of ROW_OPERATORS."""

    path: tuple[str, ...]
    op: str
    value: object

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether it is true of `row`; raises TemplateError where a pattern does not fit."""
        found: object = row
        for step in self.path:
            found = look_up(found, step)
        return OPERATORS[self.op](found, self.value)


@dataclass(frozen=True, slots=True)
class Group:
    """All, any or none of its parts."""

    how: Literal["all", "any", "none"]
    parts: "tuple[RowFilter, ...]"

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether it is true of `row`; raises TemplateError."""
        if self.how == "all":
            return all(part.holds(row) for part in self.parts)
        found = any(part.holds(row) for part in self.parts)
        return found if self.how == "any" else not found


RowFilter: TypeAlias = Comparison | Group


def parse_row_filter(source: object, path: str) -> RowFilter:
    """The filter that `source` describes; raises LanguageError with the path of the mistake.

    Unlike a condition's, its values are what they are: text with braces in it is text, never a template.
    """
    return _Parser().group(source, path, 0)


class _Parser:
    def __init__(self) -> None:
        self._parts = 0

    def group(self, source: object, path: str, depth: int) -> RowFilter:
        found = _object(source, path)
        names = [name for name in ("all", "any", "none") if name in found]
        if len(found) != 1 or len(names) != 1:
            raise LanguageError(path, "a filter object has one of all, any, none")
        name = cast(Literal["all", "any", "none"], names[0])
        parts = found[name]
        if not isinstance(parts, list | tuple):
            raise LanguageError(path, f"`{name}` is a list of comparisons and filter objects")
        if depth == MAX_DEPTH:
            raise LanguageError(path, f"filter objects within filter objects; {MAX_DEPTH} levels are accepted")
        listed = enumerate(cast(Sequence[object], parts))
        return Group(name, tuple([self._part(part, f"{path}.{name}.{i}", depth + 1) for i, part in listed]))

    def _part(self, source: object, path: str, depth: int) -> RowFilter:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise LanguageError(path, f"more than {MAX_PARTS} comparisons and filter objects")
        found = _object(source, path)
        return _comparison(found, path) if "field" in found else self.group(found, path, depth)


def _object(source: object, path: str) -> Mapping[str, object]:
    if not isinstance(source, Mapping):
        raise LanguageError(path, "expected {field, op, value} or a filter object")
    return cast(Mapping[str, object], source)


def _comparison(found: Mapping[str, object], path: str) -> Comparison:
    field, op, value = found["field"], found.get("op"), found.get("value")
    if not isinstance(field, str) or set(found) - {"field", "op", "value"}:
        raise LanguageError(path, "a comparison has `field` (a column, or a dotted path into it), `op` and `value`")
    steps = tuple(field.split("."))
    check_column(steps[0], f"{path}.field")
    if not isinstance(op, str) or op not in ROW_OPERATORS:
        why = "a stored row has no earlier state" if isinstance(op, str) and op in OPERATORS else "unknown op"
        raise LanguageError(f"{path}.op", f"{why}: a row can be filtered by {', '.join(ROW_OPERATORS)}")
    if len(items(value)) > MAX_VALUES:
        raise LanguageError(f"{path}.value", f"more than {MAX_VALUES} values")
    if op == "matches":
        try:
            check_pattern(value)
        except ValueError as error:
            raise LanguageError(f"{path}.value", str(error)) from None
    return Comparison(steps, op, value)


def check_column(name: str, path: str) -> None:
    """Raises LanguageError for what is no column of any row; `_id`, the row's id, is one."""
    reserved = name.startswith(("_", "$")) and name != "_id"
    if not name or reserved or "\0" in name or "." in name:
        raise LanguageError(path, "a column's name is not empty, begins with neither `_` nor `$`, and has no dots")
