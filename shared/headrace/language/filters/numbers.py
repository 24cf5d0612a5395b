"""Filters on numbers and money."""

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from headrace.language.errors import Misuse
from headrace.language.filters.arguments import Filter
from headrace.language.kinds import TOO_LARGE, is_finite
from headrace.language.scope import Scope
from headrace.language.values import Number, to_number

PRECISION = 15
"""Decimal digits that a float carries."""

_TEXT_DIGITS = 64
"""Of a number's text in another base; Python's conversion slows down with the square of the length."""


def _round(scope: Scope, value: Number, precision: int = 0, method: str = "common") -> float:
    if not -PRECISION <= precision <= PRECISION:
        raise Misuse(f"`precision` lies between -{PRECISION} and {PRECISION}")
    if method == "common":
        return float(_rounded(value, precision))
    compute = {"ceil": math.ceil, "floor": math.floor}.get(method)
    if compute is None:
        raise Misuse("`method` is common, ceil or floor")
    return compute(_scaled(value, precision)) / 10.0**precision


def _scaled(number: Number, precision: int) -> float:
    try:
        scaled = float(number) * 10.0**precision
    except (ArithmeticError, ValueError):
        raise Misuse(TOO_LARGE) from None
    if not math.isfinite(scaled):
        raise Misuse(TOO_LARGE)
    return scaled


def _rounded(number: Number, digits: int) -> Decimal:
    try:
        return Decimal(str(number)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    except (ArithmeticError, ValueError):
        raise Misuse(TOO_LARGE) from None


def _money(scope: Scope, value: Number, currency: str = "", digits: int = 2) -> str:
    if not 0 <= digits <= PRECISION:
        raise Misuse(f"`digits` lie between 0 and {PRECISION}")
    return f"{_rounded(value, digits):,} {currency}".strip()


def _int(scope: Scope, value: object, default: object = 0, base: int = 10) -> object:
    if isinstance(value, str) and base != 10:
        if not 2 <= base <= 36 or len(value) > _TEXT_DIGITS:
            raise Misuse(f"`base` lies between 2 and 36, and the text has at most {_TEXT_DIGITS} digits")
        try:
            return int(value, base)
        except ValueError:
            return default
    number = _finite(value)
    return default if number is None else int(number)


def _float(scope: Scope, value: object, default: object = 0.0) -> object:
    number = _finite(value)
    try:
        return default if number is None else float(number)
    except OverflowError:
        return default


def _finite(value: object) -> Number | None:
    number = int(value) if isinstance(value, bool) else to_number(value)
    return number if number is not None and is_finite(number) else None


def _filesizeformat(scope: Scope, value: float, binary: bool = False) -> str:
    size, base = value, 1024 if binary else 1000
    if abs(size) < base:
        return f"{size:.0f} {'Byte' if size == 1 else 'Bytes'}"
    for number, prefix in enumerate("KMGTPEZY", 2):
        if abs(size) < base**number or prefix == "Y":
            return f"{size / base ** (number - 1):.1f} {prefix}{'iB' if binary else 'B'}".replace("KB", "kB")
    raise AssertionError("the last prefix takes all")


def _abs(scope: Scope, value: Number) -> Number:
    # A decimal that is no number has no sign to be computed without.
    return value.copy_abs() if isinstance(value, Decimal) else abs(value)


def _number(scope: Scope, value: Number) -> Number:
    return value


NUMBERS: Mapping[str, Filter] = {
    "abs": _abs,
    "filesizeformat": _filesizeformat,
    "float": _float,
    "int": _int,
    "money": _money,
    "number": _number,
    "round": _round,
}
