"""Values of templates as JSON, whatever they are.

orjson takes nearly all of them as they are; the rest (huge integers, keys that are no text, halves of surrogate pairs,
sets, depth) is made plain in a second pass that few records ever need.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import cast
from uuid import UUID

import orjson

MAX_DEPTH = 64
"""Levels of nesting that are kept. MongoDB refuses documents deeper than 100, and a record wraps values in a few."""

MAX_NODES = 200_000
"""Values that the second pass visits before it gives up: about what 1 MB of JSON can hold."""

INT64_MAX = (1 << 63) - 1


BOUNDED_NUMBERS = orjson.OPT_UTC_Z | orjson.OPT_STRICT_INTEGER
"""Refuses integers beyond 53 bits: those that MongoDB cannot hold are among them, and few values have any."""


def dumps(value: object) -> bytes:
    """JSON of any value; times in RFC 3339 with `Z`, a whole number beyond 64 bits as the text of its digits. Never
    fails."""
    try:
        return orjson.dumps(value, default=plain_leaf, option=BOUNDED_NUMBERS)
    except (orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(plainly(value), option=orjson.OPT_UTC_Z)


def plainly(value: object) -> object:
    """A copy made of null, booleans, 64-bit integers, floats, text, times, lists and text-keyed dicts only."""
    return _Plain().copy(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._nodes = 0

    def copy(self, value: object, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            return "(too many values)"
        if value is None or isinstance(value, bool | float | datetime | date | clock_time | UUID):
            return value
        if isinstance(value, str):
            return _clean(value)
        if isinstance(value, int):
            return int(value) if -INT64_MAX - 1 <= value <= INT64_MAX else _digits(value)
        if depth >= MAX_DEPTH:
            return f"(nested deeper than {MAX_DEPTH})"
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[object, object], value), depth)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.copy(item, depth + 1) for item in cast(Iterable[object], value)]
        return plain_leaf(value)

    def _mapping(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        copied: dict[str, object] = {}
        for key, item in value.items():
            if self._nodes > MAX_NODES:
                break
            # MongoDB refuses NUL in names, and the record with them.
            copied[_clean(_key_text(key)).replace("\0", "\u2400")] = self.copy(item, depth + 1)
        return copied


def _key_text(key: object) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return _digits(key)
    return dumps(key).decode().strip('"')


def _digits(value: int) -> str:
    # Python itself refuses to print more than 4,300 digits.
    return str(value) if value.bit_length() < 10_000 else f"(integer of {value.bit_length()} bits)"


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def plain_leaf(value: object) -> object:
    """What orjson asks for when it meets a type it does not know."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(cast(Mapping[object, object], value))
    if isinstance(value, set | frozenset | tuple):
        return list(cast(Iterable[object], value))
    if isinstance(value, str):
        return str(value)
    return f"({type(value).__name__})"
