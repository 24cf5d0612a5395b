"""Arithmetic and functions of templates, each with its limits."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.errors import Misuse, Unfit
from headrace.language.kinds import TOO_LARGE, finite, float_of
from headrace.language.scope import Scope
from headrace.language.signatures import Function, Signature
from headrace.language.values import Number, kind_of

Operation = Callable[[Scope, object, object], object]
"""Raises Misuse for values that it does not take; of two such the left one is told."""


def _number(value: object) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unfit(f"a number{_HINTS.get(kind_of(value), '')}", value)
    return value


_HINTS = {
    "time": " (for times there are `add_time` and `diff_time`)",
    "text": " (`| number` makes one of text, `~` joins texts)",
}


def _numbers(left: object, right: object) -> tuple[float, float]:
    """Both as numbers that Python computes with: a decimal beside a float becomes one."""
    one, other = _number(left), _number(right)
    if isinstance(one, Decimal) and isinstance(other, float):
        one = float_of(one)
    elif isinstance(one, float) and isinstance(other, Decimal):
        other = float_of(other)
    return cast("tuple[float, float]", (one, other))


def _computed(compute: Callable[[float, float], object], left: object, right: object) -> object:
    one, other = _numbers(left, right)
    try:
        return finite(compute(one, other))
    except ZeroDivisionError:
        raise Misuse("division by zero") from None
    except ArithmeticError:
        raise Misuse(TOO_LARGE) from None


def _operation(compute: Callable[[float, float], object]) -> Operation:
    return lambda scope, left, right: _computed(compute, left, right)


def _add(scope: Scope, left: object, right: object) -> object:
    if isinstance(left, list) or isinstance(right, list):
        one, other = _array(cast(object, left)), _array(cast(object, right))
        scope.make(len(one) + len(other))
        return one + other
    if isinstance(left, str):
        if not isinstance(right, str):
            raise Unfit("text, as the other is (`~` joins anything as text)", right)
        text = limits.bounded(left + right)
        scope.go_through(text)
        return text
    return _computed(lambda a, b: a + b, left, right)


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Unfit("an array, as the other is", value)
    return cast(list[object], value)


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
        if isinstance(repeated, str | list) and kind_of(times) == "nothing":
            raise Unfit("a number", times)
    one, other = _numbers(left, right)
    if isinstance(one, int) and isinstance(other, int):
        limits.bounded_bits(one.bit_length() + other.bit_length())
    return _computed(lambda a, b: a * b, one, other)


def _power(scope: Scope, left: object, right: object) -> object:
    one, other = _numbers(left, right)
    if isinstance(one, int) and isinstance(other, int):
        limits.bounded_bits(one.bit_length() * abs(other))
    result = _computed(lambda a, b: a**b, one, other)
    if isinstance(result, complex):
        raise Misuse("a root of a negative number")
    return result


ARITHMETIC: Mapping[type[nodes.Node], Operation] = {
    nodes.Add: _add,
    nodes.Sub: _operation(lambda a, b: a - b),
    nodes.Mul: _multiply,
    nodes.Div: _operation(lambda a, b: a / b),
    nodes.FloorDiv: _operation(lambda a, b: a // b),
    nodes.Mod: _operation(lambda a, b: a % b),
    nodes.Pow: _power,
}


def _range(scope: Scope, start: int, stop: int | None = None, step: int = 1) -> list[int]:
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise Misuse("its step is not 0")
    count = max(0, -(-(stop - start) // step))
    scope.make(min(count, limits.ITEMS + 1))
    return list(range(start, stop, step))


FUNCTIONS: Mapping[str, Function] = {
    "range": _range,
    "uuid": Scope.uuid,
    "random": Scope.random,
}
_FUNCTIONS = {name: Signature(function) for name, function in FUNCTIONS.items()}


def call_function(scope: Scope, name: str, given: Sequence[object]) -> object:
    """`name(…)`; raises Misuse, TemplateError."""
    return _FUNCTIONS[name].call(scope, given)
