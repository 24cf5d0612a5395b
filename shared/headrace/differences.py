"""How two JSON values differ, path by path: what a reviewer of a version looks at."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, cast

import orjson


class Difference(NamedTuple):
    """A part that is `added`, `removed` or `changed`. Its path is written as in mistakes: `steps.0.with.url`."""

    path: str
    what: Literal["added", "removed", "changed"]
    before: object = None
    after: object = None

    def facts(self) -> dict[str, object]:
        """As JSON shows it: of what was added there is no before, and null is a value."""
        sides = {"added": ("after",), "removed": ("before",), "changed": ("before", "after")}[self.what]
        return {"path": self.path, "what": self.what, **{side: getattr(self, side) for side in sides}}


def differences(before: object, after: object, path: str = "") -> Iterator[Difference]:
    """The smallest parts in which they differ, in the order of the first and then of the second.

    Steps, and whatever else in a list has an `id` or a `name` that no other there has, are compared with those of the
    same one: a step that is put between others is one difference. Their paths name them by it: `steps[pay].with.url`.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _named(cast("dict[str, object]", before), cast("dict[str, object]", after), path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _listed(cast("list[object]", before), cast("list[object]", after), path)
    elif _encoded(cast(object, before)) != _encoded(after):
        yield Difference(path, "changed", before, after)


def _named(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[Difference]:
    for name, value in before.items():
        inner = f"{path}.{name}" if path else name
        if name in after:
            yield from differences(value, after[name], inner)
        else:
            yield Difference(inner, "removed", before=value)
    for name, value in after.items():
        if name not in before:
            yield Difference(f"{path}.{name}" if path else name, "added", after=value)


def _listed(before: Sequence[object], after: Sequence[object], path: str) -> Iterator[Difference]:
    names = _names(before), _names(after)
    if names[0] is None or names[1] is None:
        first = {str(at): value for at, value in enumerate(before)}
        yield from _named(first, {str(at): value for at, value in enumerate(after)}, path)
        return
    first, second = dict(zip(names[0], before, strict=True)), dict(zip(names[1], after, strict=True))
    for name, value in first.items():
        inner = f"{path}[{name}]"
        if name in second:
            yield from differences(value, second[name], inner)
        else:
            yield Difference(inner, "removed", before=value)
    for name, value in second.items():
        if name not in first:
            yield Difference(f"{path}[{name}]", "added", after=value)
    if [each for each in first if each in second] != [each for each in second if each in first]:
        yield Difference(path, "changed", list(first), list(second))


def _names(items: Sequence[object]) -> list[str] | None:
    """The names of the items, if each has one of its own."""
    found: list[str] = []
    for each in items:
        if not isinstance(each, dict):
            return None
        item = cast("dict[str, object]", each)
        name = item.get("id", item.get("name"))
        if not isinstance(name, str):
            return None
        found.append(name)
    return found if found and len(set(found)) == len(found) else None


def _encoded(value: object) -> bytes:
    """To Python `true`, 1 and 1.0 are equal, to a template they are not."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
