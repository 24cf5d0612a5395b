"""What filters are made with: their values as arrays, texts, numbers and times, each counted as it is taken."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from headrace.language import limits
from headrace.language.errors import Misuse, Unfit
from headrace.language.scope import Scope
from headrace.language.signatures import Function
from headrace.language.values import MISSING, kind_of, look_up, to_json, to_text, to_time

Filter = Function
"""Takes the scope (for its budget), the value and its arguments, each made what its annotation says (see `kinds`);
raises Misuse."""

Path = str | int | None
"""A dotted path into an item; None: the item itself."""

Steps = Sequence[str]


def items_of(scope: Scope, value: object) -> list[object]:
    """The items of an array, the names of an object, the characters of a text; nothing for what is empty."""
    if value is None or value is MISSING:
        return []
    if isinstance(value, list | tuple | str | Mapping):
        scope.make(len(cast("list[object]", value)))
        return list(cast(Iterable[object], value))
    raise Unfit("an array", value)


def text_of(scope: Scope, value: object) -> str:
    """Anything as text."""
    if isinstance(value, str):
        return value
    text = to_text(value)
    # For a digit and a comma what is written was gone through, measured and copied.
    scope.work(len(text) // 2)
    return text


def json_of(scope: Scope, value: object, indent: bool = False) -> str:
    """The JSON of anything."""
    text = to_json(value, indent)
    scope.work(len(text) // 2)
    return text


def steps_of(path: Path) -> Steps | None:
    """The steps of a dotted path into an item; None where there is none."""
    if path is None:
        return None
    steps = str(path).split(".", limits.DEPTH) if isinstance(path, str) or abs(path) < limits.PRINTABLE else []
    if not 0 < len(steps) <= limits.DEPTH:
        raise Misuse(f"a path into an item has at most {limits.DEPTH} steps")
    return steps


def part_of(item: object, steps: Steps | None) -> object:
    """What the path leads to: data only; the item itself where there is no path."""
    for step in steps or ():
        item = look_up(item, step)
    return item


def sort_key(scope: Scope, value: object, case_sensitive: bool = False) -> tuple[str, object]:
    """Sorts values of one kind among themselves, numbers before texts, what is empty last."""
    kind = kind_of(value)
    if isinstance(value, str):
        scope.go_through(value)
        return kind, value if case_sensitive else value.lower()
    if kind in ("number", "boolean"):
        return kind, value
    if kind == "time":
        return kind, to_time(value)
    return ("~", json_of(scope, value))
