"""What a document may hold so that Kafka, MongoDB and a template see the same values as its author."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import cast

from headrace.contracts.automation.mistakes import Mistake

LEAST, MOST = -(1 << 63), (1 << 63) - 1
"""MongoDB's whole numbers."""

MAX_DEPTH = 100
"""Levels of a document, as MongoDB documents its own limit; a branch takes four, so that 24 may be in each other."""


def too_deep(document: object) -> Mistake | None:
    """The mistake of a part that is nested deeper than any may be."""
    level: dict[int, tuple[str, object]] = {id(document): ("", document)}
    for _ in range(MAX_DEPTH):
        # Each object once: YAML's aliases may put one into many places, or into itself.
        level = {
            id(item): (f"{path}.{name}" if path else str(name), item)
            for path, holder in level.values()
            for name, item in _items(holder)
        }
        if not level:
            return None
    path, _ = next(iter(level.values()))
    return Mistake(path, f"nested deeper than {MAX_DEPTH} levels, the document's included")


def unkeepable(document: object) -> Iterator[Mistake]:
    """Every value and name that cannot be kept as it is, with its path.

    What stands in several places, as YAML's aliases make it, is told once.
    """
    seen: set[int] = set()
    left: list[tuple[str, object]] = [("", document)]
    while left:
        path, value = left.pop()
        if isinstance(value, Mapping | list | tuple):
            if id(cast(object, value)) in seen:
                continue
            seen.add(id(cast(object, value)))
            items = _items(cast(object, value))
            left += [(f"{path}.{name}" if path else str(name), item) for name, item in items]
            if isinstance(value, Mapping):
                yield from (
                    Mistake(path, told) for name in cast("Mapping[object, object]", value) if (told := _name(name))
                )
        elif told := _scalar(value):
            yield Mistake(path, told)


def _items(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, Mapping):
        return cast("Mapping[object, object]", value).items()
    return enumerate(cast("Iterable[object]", value)) if isinstance(value, list | tuple) else ()


def _name(name: object) -> str:
    if not isinstance(name, str):
        return f"a name is text; quote {name!r}"
    if "\0" in name:
        return f"the name {name!r} holds the character U+0000, which no stored name can"
    return _text(name)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        within = LEAST <= value <= MOST
        return "" if within else "a whole number beyond 64 bits cannot be kept exactly; quote it to have it as text"
    if isinstance(value, float):
        return "" if isfinite(value) else "a number too large to be kept, or none; quote it to have it as text"
    return f"Python's {type(value).__name__} cannot be kept; expected text, a number, true, false, a list or an object"


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    return ""
