# Their parameters are whatever an author gives, so the tables' lambdas stay untyped.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
"""The filters of templates: Jinja's useful ones and Headrace's own, on plain data, each with its limits.

A filter takes the scope (for its budget), the value and its arguments. What it raises for values it does not take
becomes the step's error.
"""

import base64
import binascii
import hashlib
import hmac
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import cast
from urllib.parse import quote, unquote

import orjson

from headrace.language import limits
from headrace.language.regex import regex_match, regex_replace
from headrace.language.scope import Scope
from headrace.language.values import MISSING, kind_of, look_up, to_json, to_number, to_text, to_time

Filter = Callable[..., object]


def _items(scope: Scope, value: object) -> list[object]:
    """The items of an array, the names of an object, the characters of a text; nothing for what is empty."""
    if value is None or value is MISSING:
        return []
    if isinstance(value, list | tuple | dict | str):
        found = list(cast(Iterable[object], value))
        scope.turn(len(found))
        return found
    raise ValueError(f"expected an array, found {kind_of(value)}")


def _number(value: object) -> int | float:
    found = to_number(value)
    if found is None:
        raise ValueError(f"expected a number, found {kind_of(value)}")
    return found


def _text(value: object) -> str:
    return to_text(value)


def _path(item: object, path: str) -> object:
    for name in path.split("."):
        item = look_up(item, int(name) if name.isdecimal() else name)
    return item


def _sort_key(value: object) -> tuple[str, object]:
    """Sorts values of one kind among themselves, numbers before texts, what is empty last."""
    kind = kind_of(value)
    if kind in ("number", "text", "boolean"):
        return kind, value.lower() if isinstance(value, str) else value
    if kind == "time":
        return kind, to_time(value)
    return ("~", to_json(value))


def _default(scope: Scope, value: object, other: object = "", boolean: bool = False) -> object:
    return other if value is MISSING or value is None or (boolean and not value) else value


def _length(scope: Scope, value: object) -> int:
    if isinstance(value, str | list | tuple | dict):
        return len(cast("str | list[object]", value))
    if value is None or value is MISSING:
        return 0
    raise ValueError(f"{kind_of(value)} has no length")


def _join(scope: Scope, value: object, separator: object = "", attribute: str | None = None) -> str:
    items = _items(scope, value)
    parts = [_text(_path(item, attribute) if attribute else item) for item in items]
    limits.bounded_product(len(_text(separator)), len(parts))
    return limits.bounded(_text(separator).join(parts))


def _replace(scope: Scope, value: object, old: object, new: object, count: int = -1) -> str:
    text, found, other = _text(value), _text(old), _text(new)
    limits.bounded_product(len(other), text.count(found) + 1)
    return limits.bounded(text.replace(found, other, count))


def _truncate(scope: Scope, value: object, length: int = 255, end: str = "…") -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _center(scope: Scope, value: object, width: int = 80) -> str:
    limits.bounded_product(1, width)
    return _text(value).center(width)


def _indent(scope: Scope, value: object, width: int = 4, first: bool = False) -> str:
    text = _text(value)
    limits.bounded_product(width, text.count("\n") + 1)
    pad = " " * width
    return limits.bounded((pad if first else "") + text.replace("\n", "\n" + pad))


def _round(scope: Scope, value: object, precision: int = 0, method: str = "common") -> int | float:
    number = _number(value)
    if not -_PRECISION <= precision <= _PRECISION:
        raise ValueError(f"precision lies between -{_PRECISION} and {_PRECISION}")
    if method == "common":
        return float(Decimal(str(number)).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_UP))
    compute = {"ceil": math.ceil, "floor": math.floor}.get(method)
    if compute is None:
        raise ValueError("method is common, ceil or floor")
    return compute(number * 10**precision) / 10**precision


_PRECISION = 15
"""Decimal digits that a float carries."""


def _money(scope: Scope, value: object, currency: str = "", digits: int = 2) -> str:
    if not 0 <= digits <= _PRECISION:
        raise ValueError(f"digits lie between 0 and {_PRECISION}")
    try:
        amount = Decimal(str(_number(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    except InvalidOperation:
        raise ValueError("the amount is too large") from None
    return f"{amount:,} {currency}".strip()


def _number_or(convert: Callable[[int | float], int | float]) -> Filter:
    def apply(scope: Scope, value: object, default: object = 0) -> object:
        number = int(value) if isinstance(value, bool) else to_number(value)
        return default if number is None or not math.isfinite(number) else convert(number)

    return apply


def _sort(scope: Scope, value: object, reverse: bool = False, attribute: str | None = None) -> list[object]:
    def key(item: object) -> tuple[str, object]:
        return _sort_key(_path(item, attribute) if attribute else item)

    return sorted(_items(scope, value), key=cast(Callable[[object], str], key), reverse=reverse)


def _unique(scope: Scope, value: object, attribute: str | None = None) -> list[object]:
    seen: dict[str, object] = {}
    for item in _items(scope, value):
        seen.setdefault(to_json(_path(item, attribute) if attribute else item), item)
    return list(seen.values())


def _pluck(scope: Scope, value: object, attribute: str) -> list[object]:
    return [None if (found := _path(item, attribute)) is MISSING else found for item in _items(scope, value)]


def _group_by(scope: Scope, value: object, attribute: str) -> dict[str, list[object]]:
    groups: dict[str, list[object]] = {}
    for item in _items(scope, value):
        groups.setdefault(_text(_path(item, attribute)), []).append(item)
    return groups


def _sum(scope: Scope, value: object, attribute: str | None = None) -> int | float:
    items = _items(scope, value)
    found = [_path(item, attribute) if attribute else item for item in items]
    return sum(_number(each) for each in found if each is not None and each is not MISSING)


def _extreme(choose: Callable[..., object]) -> Filter:
    def apply(scope: Scope, value: object, attribute: str | None = None) -> object:
        items = _items(scope, value)
        return choose(items, key=lambda item: _sort_key(_path(item, attribute) if attribute else item), default=MISSING)

    return apply


def _chunk(scope: Scope, value: object, size: int) -> list[list[object]]:
    if size < 1:
        raise ValueError("size is at least 1")
    items = _items(scope, value)
    return [items[start : start + size] for start in range(0, len(items), size)]


def _at(index: int) -> Filter:
    def apply(scope: Scope, value: object) -> object:
        items = _items(scope, value)
        return items[index] if items else MISSING

    return apply


def _reverse(scope: Scope, value: object) -> object:
    return value[::-1] if isinstance(value, str) else _items(scope, value)[::-1]


def _pairs(scope: Scope, value: object) -> list[object]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {kind_of(value)}")
    scope.turn(len(cast(dict[str, object], value)))
    return [list(pair) for pair in cast(dict[str, object], value).items()]


def _select(keep: bool) -> Filter:
    def apply(scope: Scope, value: object, attribute: str, equals: object = True) -> list[object]:
        found = [(item, _path(item, attribute)) for item in _items(scope, value)]
        return [item for item, part in found if (bool(part) if equals is True else part == equals) is keep]

    return apply


def _date(scope: Scope, value: object, format: str = "%Y-%m-%d") -> str:
    time = to_time(value)
    if time is None:
        raise ValueError("expected a time")
    if len(format) > _FORMAT_LENGTH:
        raise ValueError(f"a format has at most {_FORMAT_LENGTH} characters")
    return time.strftime(format)


_FORMAT_LENGTH = 100
"""Of a date format; each of its directives can grow to a dozen characters."""


def _to_datetime(scope: Scope, value: object) -> object:
    time = to_time(value)
    if time is None:
        raise ValueError("expected a time such as 2013-01-31T10:00:00Z")
    return time


def _add_time(scope: Scope, value: object, **parts: float) -> object:
    time = to_time(value)
    if time is None:
        raise ValueError("expected a time")
    return time + timedelta(**parts)


def _diff_time(scope: Scope, value: object, other: object, unit: str = "seconds") -> float:
    left, right = to_time(value), to_time(other)
    if left is None or right is None:
        raise ValueError("expected two times")
    if unit not in _UNITS:
        raise ValueError(f"unit is one of {', '.join(_UNITS)}")
    return (left - right).total_seconds() / _UNITS[unit]


_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}


def _from_json(scope: Scope, value: object) -> object:
    try:
        return orjson.loads(_text(value))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _hash(name: str) -> Filter:
    return lambda scope, value: hashlib.new(name, _text(value).encode(), usedforsecurity=False).hexdigest()


def _hmac(scope: Scope, value: object, key: object) -> str:
    return hmac.new(_text(key).encode(), _text(value).encode(), "sha256").hexdigest()


def _base64_decode(scope: Scope, value: object) -> str:
    try:
        return base64.b64decode(_text(value), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("not base64 of a text") from None


def _slugify(scope: Scope, value: object) -> str:
    plain = unicodedata.normalize("NFKD", _text(value)).encode("ascii", "ignore").decode().lower()
    words = "".join(character if character.isalnum() else " " for character in plain).split()
    return "-".join(words)


def _on_text(convert: Callable[[str], object]) -> Filter:
    return lambda scope, value: convert(_text(value))


FILTERS: Mapping[str, Filter] = {
    "abs": lambda scope, value: abs(_number(value)),
    "add_time": _add_time,
    "base64_decode": _base64_decode,
    "base64_encode": _on_text(lambda text: base64.b64encode(text.encode()).decode()),
    "capitalize": _on_text(str.capitalize),
    "center": _center,
    "chunk": _chunk,
    "batch": _chunk,
    "count": _length,
    "d": _default,
    "date": _date,
    "default": _default,
    "dictsort": lambda scope, value: sorted(_pairs(scope, value), key=lambda pair: str(cast(list[object], pair)[0])),
    "diff_time": _diff_time,
    "first": _at(0),
    "float": _number_or(float),
    "from_json": _from_json,
    "group_by": _group_by,
    "hmac_sha256": _hmac,
    "indent": _indent,
    "int": _number_or(int),
    "items": _pairs,
    "join": _join,
    "last": _at(-1),
    "length": _length,
    "list": _items,
    "lower": _on_text(str.lower),
    "max": _extreme(max),
    "md5": _hash("md5"),
    "min": _extreme(min),
    "money": _money,
    "number": lambda scope, value: _number(value),
    "pluck": _pluck,
    "regex_match": lambda scope, value, pattern: regex_match(_text(value), pattern),
    "regex_replace": lambda scope, value, pattern, new: regex_replace(_text(value), pattern, new),
    "rejectattr": _select(False),
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "selectattr": _select(True),
    "sha256": _hash("sha256"),
    "slugify": _slugify,
    "sort": _sort,
    "sort_by": lambda scope, value, attribute, reverse=False: _sort(scope, value, reverse, attribute),
    "string": _on_text(str),
    "sum": _sum,
    "sum_by": _sum,
    "title": _on_text(str.title),
    "to_datetime": _to_datetime,
    "to_json": lambda scope, value: to_json(value),
    "tojson": lambda scope, value: to_json(value),
    "trim": _on_text(str.strip),
    "truncate": _truncate,
    "unique": _unique,
    "upper": _on_text(str.upper),
    "url_decode": _on_text(unquote),
    "url_encode": _on_text(lambda text: quote(text, safe="")),
    "urlencode": _on_text(lambda text: quote(text, safe="")),
    "wordcount": _on_text(lambda text: len(text.split())),
}
