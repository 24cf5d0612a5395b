"""Values as bytes and back, unchanged: what a resumed run sees must be what the run first saw.

JSON, in which a time, a decimal, bytes, an integer beyond 64 bits, or a float that is no number is
`{"$headrace": kind, "value": text}`.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import cast

import orjson

from headrace.engine.plain import dumps as plain_dumps
from headrace.engine.plain import plainly

_TAG = "$headrace"
_TAG_BYTES = b'"$headrace"'
_INT64 = 1 << 63


def dumps(value: object) -> bytes:
    """The bytes of `value`. What templates cannot hold (sets, objects of other classes) becomes plain first."""
    tagged = 0

    def tag(leaf: object) -> object:
        nonlocal tagged
        tagged += 1
        return _tagged_leaf(leaf)

    try:
        encoded = orjson.dumps(value, default=tag, option=orjson.OPT_PASSTHROUGH_DATETIME)
        # orjson writes a float that is infinite or no number as null.
        if encoded.count(_TAG_BYTES) == tagged and not (b"null" in encoded and _has_odd_float(value)):
            return encoded
    except (orjson.JSONEncodeError, RecursionError):
        pass
    # Rare: a huge integer, an odd float, a key that is no text, or data that itself says "$headrace".
    try:
        return orjson.dumps(_tagged(value))
    except (orjson.JSONEncodeError, RecursionError):
        return plain_dumps(plainly(value))


def loads(encoded: bytes) -> object:
    """The value whose bytes these are."""
    value: object = orjson.loads(encoded)
    return _untagged(value) if _TAG_BYTES in encoded else value


def _has_odd_float(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_odd_float(item) for item in cast(Mapping[object, object], value).values())
    return isinstance(value, list | tuple) and any(_has_odd_float(item) for item in cast(Iterable[object], value))


def _tagged(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: "float", "value": str(value)}
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return {_TAG: "int", "value": hex(value)}
    if isinstance(value, Mapping):
        items = cast(Mapping[object, object], value)
        if _TAG in items or not all(isinstance(key, str) for key in items):
            return {_TAG: "dict", "value": [[_tagged(key), _tagged(item)] for key, item in items.items()]}
        return {key: _tagged(item) for key, item in items.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in cast(Iterable[object], value)]
    if value is None or isinstance(value, str | int | float):
        return value
    return _tagged_leaf(value)


def _tagged_leaf(value: object) -> object:
    if isinstance(value, datetime):
        return {_TAG: "datetime", "value": value.isoformat()}
    if isinstance(value, date | clock_time):
        return {_TAG: type(value).__name__, "value": value.isoformat()}
    if isinstance(value, Decimal):
        return {_TAG: "decimal", "value": str(value)}
    if isinstance(value, bytes):
        return {_TAG: "bytes", "value": b64encode(value).decode()}
    if isinstance(value, int):
        return {_TAG: "int", "value": hex(value)}
    return plainly(value)


_READERS: Mapping[str, Callable[[str], object]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": clock_time.fromisoformat,
    "decimal": Decimal,
    "float": float,
    "bytes": b64decode,
    "int": lambda text: int(text, 16),
}


def _untagged(value: object) -> object:
    if isinstance(value, list):
        return [_untagged(item) for item in cast(list[object], value)]
    if not isinstance(value, dict):
        return value
    items = cast(dict[str, object], value)
    kind = items.get(_TAG)
    if kind is None:
        return {key: _untagged(item) for key, item in items.items()}
    if kind == "dict":
        pairs = cast(list[list[object]], items["value"])
        return {_untagged(key): _untagged(item) for key, item in pairs}
    return _READERS[str(kind)](str(items["value"]))
