"""What a template may use up; each keeps one author's mistake or malice from costing others a worker."""

from collections.abc import Iterable, Mapping
from typing import cast

from headrace.language.errors import limit

ITERATIONS = 100_000
"""Loop turns of one rendering."""

ITEMS = 1_000_000
"""Items of all the arrays that one rendering makes: some 60 MB."""

WORK = 10_000_000
"""Units of work of one rendering: a unit is about what it takes to evaluate one part of an expression, 100 ns. Without
it 100,000 turns of a large body, or of a filter on a large text, would take minutes."""

UNIT = 8
"""Characters that a filter or comparison reads or writes in one unit of work."""

FREE = 64
"""Characters of a text that cost nothing: shorter ones are not worth their counting."""

TEXT = 1 << 20
"""Characters of any text that is built, and of the JSON of any value: language.md's 1 MB."""

INPUTS = 8 << 20
"""Characters of what several templates give together, as the inputs of one step: no record could hold more. Each may
give the same large value, and a step after it both: else twenty steps would make a million copies of one text."""

SOURCE = 64 << 10
"""Characters of a template's source."""

DEPTH = 60
"""Nesting of expressions and blocks: each level costs Python stack frames, of which there are 1,000."""

BRACKETS = 30
"""Nesting of brackets: for each the parser needs 13 stack frames, whoever calls it."""

VALUES = 100_000
"""Values in the inputs of a step: an author's YAML may name a part again and again without its text growing."""

INTEGER_BITS = 4_096
"""Of any integer that is computed; a power of two more digits takes seconds to print."""

PRINTABLE = 1 << 63
"""A number below it is named in an error; a larger one may have more digits than Python prints."""


def bounded(text: str) -> str:
    """`text`, unless it has grown past the limit."""
    if len(text) > TEXT:
        raise limit(f"a text of {len(text)} characters was built; {TEXT} are allowed")
    return text


def bounded_together(value: object) -> None:
    """Refuses what several templates gave together, where it is too large."""
    if size_of(value, INPUTS, 2) > INPUTS:
        raise limit(f"the values together have more than {INPUTS} characters, which are allowed")


def bounded_product(length: int, times: int) -> None:
    """Refuses a repetition before it is made."""
    if length * times > TEXT:
        asked = f"{length} × {times}" if abs(times) < PRINTABLE else "something very large"
        raise limit(f"a repetition of {asked} was asked for; {TEXT} are allowed")


def bounded_bits(bits: int) -> None:
    """Refuses an integer before it is computed."""
    if bits > INTEGER_BITS:
        asked = str(bits) if bits < PRINTABLE else "very many"
        raise limit(f"an integer of {asked} bits was asked for; {INTEGER_BITS} are allowed")


def bounded_work(units: int) -> None:
    """Refuses a single piece of work before it is done."""
    if units > WORK:
        raise limit(f"this would take more than {WORK} units of work")


def joined(parts: list[str], separator: str = "") -> str:
    """The parts as one text, measured before it is made."""
    length = sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0)
    if length > TEXT:
        raise limit(f"a text of {length} characters was asked for; {TEXT} are allowed")
    return separator.join(parts)


_SCALARS = frozenset((int, float, bool, type(None)))


def size_of(value: object, most: int, per_value: int) -> int:
    """The characters of all texts in `value`, and `per_value` for each value in it; beyond `most` it stops counting.

    A part that is in many places counts in each: an array of arrays of one text is as large as it would be written.
    """
    size, left = 0, [value]
    while left:
        each = left.pop()
        size += per_value
        if type(each) in _SCALARS:
            continue
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, Mapping):
            found = cast(Mapping[object, object], each)
            size += sum(len(name) for name in found if isinstance(name, str))
            size = _entered(left, found.values(), len(found), size, most, per_value)
        elif isinstance(each, list | tuple):
            items = cast(list[object], each)
            size = _entered(left, items, len(items), size, most, per_value)
        if size > most:
            return size
    return size


def _entered(left: list[object], items: Iterable[object], count: int, size: int, most: int, per_value: int) -> int:
    # Not even listed where their number alone is too large.
    if size + count * per_value > most:
        return most + 1
    left.extend(items)
    return size
