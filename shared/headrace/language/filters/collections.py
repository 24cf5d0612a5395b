"""Filters on arrays and objects."""

from collections.abc import Callable, Mapping
from typing import cast

from headrace.language import limits
from headrace.language.errors import Misuse, Unfit
from headrace.language.filters.arguments import (
    Filter,
    Path,
    Steps,
    items_of,
    json_of,
    part_of,
    sort_key,
    steps_of,
    text_of,
)
from headrace.language.kinds import TOO_LARGE, float_of, number_of
from headrace.language.scope import Scope
from headrace.language.values import MISSING, Number, equal


def _default(scope: Scope, value: object, default_value: object = "", boolean: bool = False) -> object:
    is_replaced = value is MISSING or value is None or (boolean and not scope.is_true(value))
    return default_value if is_replaced else value


def _length(scope: Scope, value: object) -> int:
    if isinstance(value, str | list | tuple | Mapping):
        return len(cast("list[object]", value))
    if value is None or value is MISSING:
        return 0
    raise Unfit("a text, an array or an object", value)


def _join(scope: Scope, value: object, d: object = "", attribute: Path = None) -> str:
    steps = steps_of(attribute)
    parts = [text_of(scope, part_of(item, steps)) for item in items_of(scope, value)]
    return limits.joined(parts, text_of(scope, d))


def _sorted(
    scope: Scope, value: object, steps: Steps | None, reverse: bool = False, case_sensitive: bool = False
) -> list[object]:
    def key(item: object) -> tuple[str, object]:
        return sort_key(scope, part_of(item, steps), case_sensitive)

    return sorted(items_of(scope, value), key=cast(Callable[[object], str], key), reverse=reverse)


def _sort(
    scope: Scope, value: object, reverse: bool = False, case_sensitive: bool = False, attribute: Path = None
) -> list[object]:
    if isinstance(attribute, str) and "," in attribute:
        raise Misuse("`attribute` is one path; for several sort once for each, by the last one first")
    return _sorted(scope, value, steps_of(attribute), reverse, case_sensitive)


def _sort_by(scope: Scope, value: object, attribute: Path, reverse: bool = False) -> list[object]:
    return _sorted(scope, value, steps_of(attribute), reverse)


def _dictsort(
    scope: Scope, value: object, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> list[object]:
    if by not in ("key", "value"):
        raise Misuse("`by` is key or value")
    return _sorted(scope, _pairs(scope, value), ["0" if by == "key" else "1"], reverse, case_sensitive)


def _unique(scope: Scope, value: object, attribute: Path = None) -> list[object]:
    seen, steps = dict[str, object](), steps_of(attribute)
    for item in items_of(scope, value):
        part = part_of(item, steps)
        seen.setdefault(json_of(scope, part), item)
    return list(seen.values())


def _pluck(scope: Scope, value: object, attribute: Path) -> list[object]:
    steps = steps_of(attribute)
    return [None if (found := part_of(item, steps)) is MISSING else found for item in items_of(scope, value)]


def _group_by(scope: Scope, value: object, attribute: Path) -> dict[str, list[object]]:
    groups, steps = dict[str, list[object]](), steps_of(attribute)
    for item in items_of(scope, value):
        groups.setdefault(text_of(scope, part_of(item, steps)), []).append(item)
    return groups


def _groupby(scope: Scope, value: object, attribute: Path, default: object = None) -> list[object]:
    """Jinja's: pairs of what the items have in common and these, in order."""
    steps, groups = steps_of(attribute), list[list[object]]()
    for item in _sorted(scope, value, steps):
        part = part_of(item, steps)
        part = default if part is MISSING else part
        if groups and equal(groups[-1][0], part):
            cast(list[object], groups[-1][1]).append(item)
        else:
            groups.append([part, [item]])
    return cast(list[object], groups)


def _sum(scope: Scope, value: object, attribute: Path = None, start: Number = 0) -> Number:
    total, steps = start, steps_of(attribute)
    for item in items_of(scope, value):
        part = part_of(item, steps)
        if part is not None and part is not MISSING:
            total = added(total, number_of(part))
    return total


def added(one: Number, other: Number) -> Number:
    """The sum; with a float it is one, also of a decimal."""
    try:
        return float_of(one) + float_of(other) if isinstance(one, float) or isinstance(other, float) else one + other
    except ArithmeticError:
        raise Misuse(TOO_LARGE) from None


def _extreme(choose: Callable[..., object]) -> Filter:
    def apply(scope: Scope, value: object, case_sensitive: bool = False, attribute: Path = None) -> object:
        steps = steps_of(attribute)

        def key(item: object) -> tuple[str, object]:
            return sort_key(scope, part_of(item, steps), case_sensitive)

        return choose(items_of(scope, value), key=key, default=MISSING)

    return apply


def _batch(scope: Scope, value: object, linecount: int, fill_with: object = None) -> list[object]:
    if linecount < 1:
        raise Misuse("the size is at least 1")
    items = items_of(scope, value)
    found = [items[start : start + linecount] for start in range(0, len(items), linecount)]
    if found and fill_with is not None:
        missing = linecount - len(found[-1])
        scope.make(missing)
        found[-1].extend([fill_with] * missing)
    return cast(list[object], found)


def _chunk(scope: Scope, value: object, size: int) -> list[object]:
    return _batch(scope, value, size)


def _slice(scope: Scope, value: object, slices: int, fill_with: object = None) -> list[object]:
    """Jinja's: so many columns, the first ones longer by one."""
    if slices < 1:
        raise Misuse("there is at least 1 slice")
    scope.make(slices)
    items = items_of(scope, value)
    size, longer = divmod(len(items), slices)
    found, position = list[list[object]](), 0
    for number in range(slices):
        end = position + size + (number < longer)
        filling = [fill_with] if fill_with is not None and longer and number >= longer else []
        found.append([*items[position:end], *filling])
        position = end
    return cast(list[object], found)


def _at(index: int) -> Filter:
    def apply(scope: Scope, value: object) -> object:
        # An array is not copied for the sake of one of its items.
        items = cast(list[object], value) if type(value) is list else items_of(scope, value)
        return items[index] if items else MISSING

    return apply


def _random(scope: Scope, value: object) -> object:
    items = items_of(scope, value)
    return items[int(scope.random() * len(items))] if items else MISSING


def _reverse(scope: Scope, value: object) -> object:
    return value[::-1] if isinstance(value, str) else items_of(scope, value)[::-1]


def _list(scope: Scope, value: object) -> list[object]:
    return items_of(scope, value)


def _pairs(scope: Scope, value: object) -> list[object]:
    if value is None or value is MISSING:
        return []
    if not isinstance(value, Mapping):
        raise Unfit("an object", value)
    found = cast(Mapping[object, object], value)
    scope.make(len(found))
    return [list(pair) for pair in found.items()]


COLLECTIONS: Mapping[str, Filter] = {
    "batch": _batch,
    "chunk": _chunk,
    "count": _length,
    "d": _default,
    "default": _default,
    "dictsort": _dictsort,
    "first": _at(0),
    "group_by": _group_by,
    "groupby": _groupby,
    "items": _pairs,
    "join": _join,
    "last": _at(-1),
    "length": _length,
    "list": _list,
    "max": _extreme(max),
    "min": _extreme(min),
    "pluck": _pluck,
    "random": _random,
    "reverse": _reverse,
    "slice": _slice,
    "sort": _sort,
    "sort_by": _sort_by,
    "sum": _sum,
    "sum_by": _sum,
    "unique": _unique,
}
