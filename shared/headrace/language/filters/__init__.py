"""The filters of templates: Jinja's and Headrace's own, on plain data, each with its limits.

Of Jinja's there are neither `attr`, which reads attributes of Python objects, nor those that write Python (`pprint`) or
guess at HTML (`urlize`, `xmlattr`).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from headrace.language import limits
from headrace.language.checks import TESTS
from headrace.language.errors import Misuse, Unfit
from headrace.language.filters.arguments import Filter, Path, items_of, part_of, steps_of
from headrace.language.filters.collections import COLLECTIONS
from headrace.language.filters.encoding import ENCODING
from headrace.language.filters.numbers import NUMBERS
from headrace.language.filters.texts import TEXTS
from headrace.language.filters.times import TIMES
from headrace.language.scope import Scope
from headrace.language.signatures import NOTHING, Function, Named, Signature, misused, names_of, nth
from headrace.language.values import MISSING


def apply_filter(scope: Scope, name: str, value: object, given: Sequence[object], named: Named = NOTHING) -> object:
    """`value | name(…)` with a name that is known; raises Misuse, TemplateError."""
    values = (value, *given)
    for each in (*values, *named.values()) if named else values:
        if type(each) is str:
            scope.go_through(each)
    result = _SIGNATURES[name].call(scope, values, named)
    if type(result) is str and len(result) > limits.FREE:
        limits.bounded(result)
        scope.go_through(result)
    return result


def apply_test(scope: Scope, name: str, value: object, given: Sequence[object], named: Named = NOTHING) -> bool:
    """`value is name(…)` with a name that is known; raises TemplateError. All tests take all values."""
    scope.go_through(value)
    for each in given:
        scope.go_through(each)
    return TESTS[name](value, *given, **named)


def _check_named(what: str, known: Mapping[str, Function], name: str, before: int, given: Sequence[object]) -> None:
    """A name that the data gave may be none, or not fit what stands beside it."""
    if name not in known:
        # What the data say is not repeated: it may be a secret.
        raise Misuse(f"`{what}` is the name of a {what}, and there is none of this name")
    mistake = _mistake(known[name], before, len(given))
    if mistake is not None:
        raise Misuse(f"{what} {name}: {mistake}")


@lru_cache(maxsize=256)  # all names with few arguments
def _mistake(function: Function, before: int, given: int) -> str | None:
    return misused(function, before, given, ())


def _of_named(error: Unfit, function: Function, given: int) -> Unfit:
    """The error of a filter that was named: its arguments are ours that have no name."""
    if not error.argument:
        return error
    place = names_of(function, 2, given).index(error.argument)
    return Unfit(error.expected, error.found, nth(place + 1))


def _map(
    scope: Scope, value: object, filter: str = "", *given: object, attribute: Path = None, default: object = None
) -> list[object]:
    items = items_of(scope, value)
    if attribute is None:
        _check_named("filter", FILTERS, filter, 2, given)
        try:
            return [apply_filter(scope, filter, item, given) for item in items]
        except Unfit as error:
            raise _of_named(error, FILTERS[filter], len(given)) from None
    steps = steps_of(attribute)
    return [default if (found := part_of(item, steps)) is MISSING else found for item in items]


def _select(keep: bool) -> Filter:
    def apply(scope: Scope, value: object, test: str | None = None, *given: object) -> list[object]:
        return _kept(scope, [(item, item) for item in items_of(scope, value)], test, given, keep)

    return apply


def _select_by(keep: bool) -> Filter:
    def apply(scope: Scope, value: object, attribute: Path, test: str | None = None, *given: object) -> list[object]:
        steps = steps_of(attribute)
        return _kept(scope, [(item, part_of(item, steps)) for item in items_of(scope, value)], test, given, keep)

    return apply


def _kept(
    scope: Scope, items: Sequence[tuple[object, object]], test: str | None, given: Sequence[object], keep: bool
) -> list[object]:
    """Of items with the part of each that is tested, those that pass, or fail if it is not `keep`."""
    if test is None:
        return [item for item, part in items if scope.is_true(part) is keep]
    _check_named("test", TESTS, test, 1, given)
    return [item for item, part in items if apply_test(scope, test, part, given) is keep]


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

_SIGNATURES = {name: Signature(function) for name, function in FILTERS.items()}

NAMES_A_FILTER: Mapping[str, int] = {"map": 0}
"""Filters that take another's name, and as which argument."""

NAMES_A_TEST: Mapping[str, int] = {"reject": 0, "rejectattr": 1, "select": 0, "selectattr": 1}
"""Filters that take a test's name, and as which argument."""
