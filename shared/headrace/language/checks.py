# Their parameters are whatever an author gives, so the tables' lambdas stay untyped.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
"""Jinja's tests (`is …`) on our values."""

from collections.abc import Callable, Mapping
from inspect import signature

from headrace.language.values import (
    MISSING,
    contains,
    equal,
    greater,
    greater_or_equal,
    is_empty,
    kind_of,
    less,
    less_or_equal,
)


def _of_kind(*kinds: str) -> Callable[[object], bool]:
    return lambda value: kind_of(value) in kinds


def _divisible(value: object, by: object) -> bool:
    return type(value) is int and type(by) is int and by != 0 and value % by == 0


TESTS: Mapping[str, Callable[..., bool]] = {
    "defined": lambda value: value is not MISSING,
    "undefined": lambda value: value is MISSING,
    "none": lambda value: value is None,
    "empty": is_empty,
    "number": _of_kind("number"),
    "integer": lambda value: type(value) is int,
    "float": lambda value: type(value) is float,
    "string": _of_kind("text"),
    "boolean": _of_kind("boolean"),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "mapping": _of_kind("object"),
    "sequence": _of_kind("array", "text"),
    "iterable": _of_kind("array", "text", "object"),
    "time": _of_kind("time"),
    "odd": lambda value: type(value) is int and value % 2 == 1,
    "even": lambda value: type(value) is int and value % 2 == 0,
    "divisibleby": _divisible,
    "sameas": lambda value, other: kind_of(value) == kind_of(other) and equal(value, other),
    "eq": equal,
    "equalto": equal,
    "==": equal,
    "ne": lambda value, other: not equal(value, other),
    "!=": lambda value, other: not equal(value, other),
    "lt": less,
    "lessthan": less,
    "<": less,
    "le": less_or_equal,
    "<=": less_or_equal,
    "gt": greater,
    "greaterthan": greater,
    ">": greater,
    "ge": greater_or_equal,
    ">=": greater_or_equal,
    "in": lambda value, container: contains(container, value),
    "upper": lambda value: isinstance(value, str) and value.isupper(),
    "lower": lambda value: isinstance(value, str) and value.islower(),
}

ONLY_LOOK = frozenset(name for name, test in TESTS.items() if len(signature(test).parameters) == 1) - {"lower", "upper"}
"""Tests that take no longer for a larger value."""
