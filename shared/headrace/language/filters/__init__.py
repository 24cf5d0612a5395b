"""The filters of templates: Jinja's and Headrace's own, on plain data, each with its limits.

Of Jinja's there are neither `attr`, which reads attributes of Python objects, nor those that write Python (`pprint`) or
guess at HTML (`urlize`, `xmlattr`).
"""

import re
from collections.abc import Mapping, Sequence
from inspect import signature

from headrace.language import limits
from headrace.language.checks import TESTS
from headrace.language.errors import TemplateError
from headrace.language.filters.arguments import Filter, items_of, part_of, steps_of
from headrace.language.filters.collections import COLLECTIONS
from headrace.language.filters.encoding import ENCODING
from headrace.language.filters.numbers import NUMBERS
from headrace.language.filters.texts import TEXTS
from headrace.language.filters.times import TIMES
from headrace.language.scope import Scope
from headrace.language.values import MISSING

MISUSE = (TypeError, ValueError, ArithmeticError, KeyError, IndexError, AttributeError)
"""What filters, tests and methods raise on values or arguments that they do not take."""

Named = Mapping[str, object]
NOTHING: Named = {}


def apply_filter(scope: Scope, name: str, value: object, given: Sequence[object], named: Named = NOTHING) -> object:
    """`value | name(…)`; raises TemplateError."""
    found = FILTERS.get(name)
    if found is None:
        raise TemplateError(f"unknown filter {name[: limits.FREE]!r}")
    if type(value) is str:
        scope.go_through(value)
    for each in given:
        if type(each) is str:
            scope.go_through(each)
    try:
        result = found(scope, value, *given, **named)
    except MISUSE as error:
        raise TemplateError(f"filter {name}: {plainly(error)}") from None
    if type(result) is str and len(result) > limits.FREE:
        limits.bounded(result)
        scope.go_through(result)
    return result


def apply_test(scope: Scope, name: str, value: object, given: Sequence[object], named: Named = NOTHING) -> bool:
    """`value is name(…)`; raises TemplateError."""
    found = TESTS.get(name)
    if found is None:
        raise TemplateError(f"unknown test {name[: limits.FREE]!r}")
    scope.go_through(value)
    for each in given:
        scope.go_through(each)
    try:
        return found(value, *given, **named)
    except MISUSE as error:
        raise TemplateError(f"test {name}: {plainly(error)}") from None


def plainly(error: Exception) -> str:
    """What a filter, test or method raised, in words that do not speak of its Python."""
    if isinstance(error, ArithmeticError) and not isinstance(error, ZeroDivisionError):
        return "the number is too large, or none"
    return _NAME.sub("", str(error))[:200]


_NAME = re.compile(r"^[\w.<>]+\(\) ")


def misused(function: Filter, before: int, given: int, named: Sequence[str]) -> str | None:
    """What is wrong with the number and names of arguments, after `before` that we give ourselves; None if nothing."""
    try:
        signature(function).bind(*[None] * (before + given), **dict.fromkeys(named))
    except TypeError as error:
        return str(error)
    return None


def _map(
    scope: Scope, value: object, filter: str = "", *given: object, attribute: str | int | None = None,
    default: object = None,
) -> list[object]:  # fmt: skip
    items = items_of(scope, value)
    if attribute is None:
        return [apply_filter(scope, filter, item, given) for item in items]
    steps = steps_of(attribute)
    return [default if (found := part_of(item, steps)) is MISSING else found for item in items]


def _select(keep: bool) -> Filter:
    def apply(scope: Scope, value: object, test: str | None = None, *given: object) -> list[object]:
        return [item for item in items_of(scope, value) if _passes(scope, item, test, given) is keep]

    return apply


def _select_by(keep: bool) -> Filter:
    def apply(
        scope: Scope, value: object, attribute: str | int, test: str | None = None, *given: object
    ) -> list[object]:
        items, steps = items_of(scope, value), steps_of(attribute)
        return [item for item in items if _passes(scope, part_of(item, steps), test, given) is keep]

    return apply


def _passes(scope: Scope, value: object, test: str | None, given: Sequence[object]) -> bool:
    return scope.is_true(value) if test is None else apply_test(scope, test, value, given)


FILTERS: Mapping[str, Filter] = {
    **COLLECTIONS,
    **ENCODING,
    **NUMBERS,
    **TEXTS,
    **TIMES,
    "map": _map,
    "reject": _select(False),
    "rejectattr": _select_by(False),
    "select": _select(True),
    "selectattr": _select_by(True),
}

NAMES_A_FILTER: Mapping[str, int] = {"map": 0}
"""Filters that take another's name, and as which argument."""

NAMES_A_TEST: Mapping[str, int] = {"reject": 0, "rejectattr": 1, "select": 0, "selectattr": 1}
"""Filters that take a test's name, and as which argument."""
