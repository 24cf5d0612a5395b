"""Values to a database and back: what a driver would misread, and the types that only a driver knows."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import BigInteger, DateTime, bindparam
from sqlalchemy.sql.elements import BindParameter

from headrace.engine.errors import StepError
from headrace.engine.plain import dumps

MAX_LIST = 1_000
"""Items of a list that becomes `IN (…)`: databases limit their parameters, SQLite to 32,766, PostgreSQL to 32,767."""

_INT64 = 1 << 63


def bound(name: str, value: object, dialect: str) -> BindParameter[Any]:
    """The bind `name` with `value` as the database `dialect` can take it; raises StepError `bad_value`.

    A list stands for `IN :name`; an object is its JSON text.
    """
    if isinstance(value, list | tuple):
        items = [_one(name, item, dialect) for item in cast(Iterable[object], value)]
        if len(items) > MAX_LIST:
            raise _refused(name, f"{len(items)} items; {MAX_LIST} are accepted")
        return bindparam(name, items, expanding=True)
    plain = _one(name, value, dialect)
    if isinstance(plain, datetime) and plain.tzinfo is not None:
        return bindparam(name, plain, DateTime(timezone=True))
    if isinstance(plain, int) and not isinstance(plain, bool):
        return bindparam(name, plain, BigInteger()) if plain.bit_length() > 31 else bindparam(name, plain)
    return bindparam(name, plain)


def _one(name: str, value: object, dialect: str) -> object:
    if isinstance(value, datetime) and value.tzinfo is not None and dialect != "postgresql":
        # These databases keep no zone: MySQL takes the time in UTC, SQLite the text that says it all.
        value = value.astimezone(UTC)
        return value.isoformat() if dialect == "sqlite" else value.replace(tzinfo=None)
    if isinstance(value, Decimal) and dialect == "sqlite":
        return str(value)
    if isinstance(value, str):
        if "\0" in value or (not value.isascii() and value != value.encode(errors="replace").decode()):
            raise _refused(name, "a text with NUL or half a surrogate pair")
        return value
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise _refused(name, "the number does not fit into 64 bits")
    if isinstance(value, float | Decimal) and dialect == "mysql" and not math.isfinite(value):
        raise _refused(name, "MySQL knows no number that is infinite or none")
    if isinstance(value, clock_time) and dialect == "sqlite":
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | bytes | Decimal | date | clock_time):
        return value
    return dumps(value).decode()


def _refused(name: str, why: str) -> StepError:
    return StepError("bad_value", f"inputs: parameters.{name}: {why}")


def plain(value: object) -> object:
    """A column's value as templates know values: numbers, decimals, times and bytes as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float | str | bytes | Decimal | date | clock_time):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in cast(Mapping[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(Iterable[object], value)]
    if isinstance(value, memoryview | bytearray):
        return bytes(cast("bytearray", value))
    return str(value)
