"""Arithmetic, functions and methods of templates, each with its limits."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.errors import TemplateError
from headrace.language.filters import MISUSE, plainly
from headrace.language.scope import Scope
from headrace.language.values import Number, kind_of, to_time

Operation = Callable[[Scope, object, object], object]


def _number(value: object, symbol: str) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        hint = "; for times there are the filters add_time and diff_time" if kind_of(value) == "time" else ""
        raise TemplateError(f"{symbol}: expected a number, found {kind_of(value)}{hint}")
    return value


def _numbers(left: object, right: object, symbol: str) -> tuple[float, float]:
    """Both as numbers that Python computes with: a decimal beside a float becomes one."""
    one, other = _number(left, symbol), _number(right, symbol)
    if isinstance(one, Decimal) and isinstance(other, float):
        one = _float(one, symbol)
    elif isinstance(one, float) and isinstance(other, Decimal):
        other = _float(other, symbol)
    return cast("tuple[float, float]", (one, other))


def _float(value: Decimal, symbol: str) -> float:
    if value.is_snan():
        raise TemplateError(f"{symbol}: the number is none")
    return float(value)


def _computed(compute: Callable[[float, float], object], left: object, right: object, symbol: str) -> object:
    one, other = _numbers(left, right, symbol)
    try:
        return compute(one, other)
    except ZeroDivisionError:
        raise TemplateError(f"{symbol}: division by zero") from None
    except ArithmeticError:
        raise TemplateError(f"{symbol}: the number is too large, or none") from None


def _operation(compute: Callable[[float, float], object], symbol: str) -> Operation:
    return lambda scope, left, right: _computed(compute, left, right, symbol)


def _add(scope: Scope, left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        text = limits.bounded(left + right)
        scope.go_through(text)
        return text
    if isinstance(left, list) and isinstance(right, list):
        one, other = cast(list[object], left), cast(list[object], right)
        scope.make(len(one) + len(other))
        return one + other
    return _computed(lambda a, b: a + b, cast(object, left), right, "+")


def _multiply(scope: Scope, left: object, right: object) -> object:
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, str | list) and type(times) is int:
            sequence = cast("list[object] | str", repeated)
            limits.bounded_product(max(len(sequence), 1), max(times, 0))
            if isinstance(sequence, list):
                scope.make(len(sequence) * max(times, 0))
            else:
                scope.work(len(sequence) * max(times, 0) // limits.UNIT)
            return sequence * times
    one, other = _numbers(left, right, "*")
    if isinstance(one, int) and isinstance(other, int):
        limits.bounded_bits(one.bit_length() + other.bit_length())
    return _computed(lambda a, b: a * b, one, other, "*")


def _power(scope: Scope, left: object, right: object) -> object:
    one, other = _numbers(left, right, "**")
    if isinstance(one, int) and isinstance(other, int):
        limits.bounded_bits(one.bit_length() * abs(other))
    result = _computed(lambda a, b: a**b, one, other, "**")
    if isinstance(result, complex):
        raise TemplateError("**: a root of a negative number")
    return result


ARITHMETIC: Mapping[type[nodes.Node], Operation] = {
    nodes.Add: _add,
    nodes.Sub: _operation(lambda a, b: a - b, "-"),
    nodes.Mul: _multiply,
    nodes.Div: _operation(lambda a, b: a / b, "/"),
    nodes.FloorDiv: _operation(lambda a, b: a // b, "//"),
    nodes.Mod: _operation(lambda a, b: a % b, "%"),
    nodes.Pow: _power,
}


def _range(scope: Scope, start: object, stop: object = None, step: object = 1) -> list[int]:
    if stop is None:
        start, stop = 0, start
    if type(start) is not int or type(stop) is not int or type(step) is not int or step == 0:
        raise ValueError("expected whole numbers, and a step other than 0")
    count = max(0, -(-(stop - start) // step))
    scope.make(min(count, limits.ITEMS + 1))
    return list(range(start, stop, step))


FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "range": _range,
    "uuid": Scope.uuid,
    "random": Scope.random,
}
TEXT_METHODS = (
    "upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "startswith", "endswith",
    "isdigit", "isalpha", "find", "count",
)  # fmt: skip
TIME_METHODS = ("isoformat", "weekday", "isoweekday", "timestamp")


def call_method(scope: Scope, target: object, method: str, arguments: list[object]) -> object:
    """`target.method(…)`: of texts and times, those that are listed; raises TemplateError."""
    text, time = isinstance(target, str) and method in TEXT_METHODS, isinstance(target, datetime)
    if not text and not (time and method in TIME_METHODS):
        raise TemplateError(f"{kind_of(target)} has no method {method}()")
    scope.go_through(target)
    for argument in arguments:
        scope.go_through(argument)
    try:
        # A time without a zone would be taken for this machine's.
        found = getattr(to_time(target) if time else target, method)(*arguments)
    except MISUSE as error:
        raise TemplateError(f"{method}(): {plainly(error)}") from None
    if isinstance(found, list):
        scope.make(len(cast(list[object], found)))
    return limits.bounded(found) if isinstance(found, str) else cast(object, found)
