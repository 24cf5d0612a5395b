"""Values as functions of templates want them: made so, or refused in words of the author's."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from math import isfinite
from types import NoneType
from typing import cast, get_args

from headrace.language.errors import Misuse, Unfit
from headrace.language.scope import Scope
from headrace.language.values import Number, to_number, to_time

TOO_LARGE = "the number is too large, or none"
HALF_A_CHARACTER = "the text holds half a character (a lone surrogate)"


def number_of(value: object, argument: str = "") -> Number:
    """A number, or numeric text; raises Unfit."""
    found = to_number(value)
    if found is None:
        raise Unfit("a number, or text that is one", value, argument)
    return found


def float_of(value: object) -> float:
    """A number that Python computes with, or numeric text; raises Misuse."""
    number = number_of(value)
    try:
        return float(number)
    except (ArithmeticError, ValueError):
        raise Misuse(TOO_LARGE) from None


def finite(value: object) -> object:
    """`value`, unless it is a number that is infinite or none: JSON has no such numbers; raises Misuse.

    Asked of each result that is computed and not of what is in it, so that no value is walked through.
    """
    kind = type(value)
    if kind is float:
        if not isfinite(cast(float, value)):
            raise Misuse(TOO_LARGE)
    elif kind is Decimal and not cast(Decimal, value).is_finite():
        raise Misuse(TOO_LARGE)
    return value


def is_finite(number: Number) -> bool:
    """Whether a number is one, and a decimal no larger than a float: whole, a larger one has any number of digits."""
    if isinstance(number, Decimal):
        return number.is_finite() and isfinite(float(number))
    return isinstance(number, int) or isfinite(number)


def whole_of(value: object, argument: str = "") -> int:
    """A whole number, or the text of one; raises Unfit."""
    found = to_number(value)
    if isinstance(found, int):
        return found
    if found is not None and is_finite(found) and float(found).is_integer():
        return int(found)
    raise Unfit("a whole number, such as `| int` gives", value, argument)


def written_of(value: object) -> str:
    """A text; raises Unfit."""
    if not isinstance(value, str):
        raise Unfit("text, such as `| string` gives", value)
    return value


def bytes_of(text: str) -> bytes:
    """The text in UTF-8; raises Misuse for half a character, which JSON can write and UTF-8 cannot."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Misuse(HALF_A_CHARACTER) from None


def time_of(value: object) -> datetime:
    """A time, or ISO 8601 text of one; raises Unfit."""
    time = to_time(value)
    if time is None:
        raise Unfit("a time such as 2013-01-31T10:00:00Z", value)
    return time


def _path_of(value: object) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit("a dotted path such as 'address.city'", value)
    return value


Make = Callable[[Scope, object], object]
"""Makes an argument of a value; raises Misuse."""

_MAKERS: Mapping[frozenset[object], Callable[[object], object]] = {
    frozenset((int,)): whole_of,
    frozenset((float,)): float_of,
    frozenset((int, float, Decimal)): number_of,
    frozenset((str,)): written_of,
    frozenset((str, int)): _path_of,
    frozenset((datetime,)): time_of,
}


def maker(annotation: object) -> Make | None:
    """What makes an argument of this type of a value, null where it may be; None if it takes the value as it is.

    A `bool` is a switch: on for what counts as true. Raises KeyError for a type that no author could give.
    """
    if annotation is bool:
        return Scope.is_true
    if annotation is object:
        return None
    types = get_args(annotation) or (annotation,)
    make = _MAKERS[frozenset(types) - {NoneType}]
    if NoneType in types:
        return lambda scope, value: None if value is None else make(value)
    return lambda scope, value: make(value)
