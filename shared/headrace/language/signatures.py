"""Functions of templates by what they take: how they are called, and what is told of a call that does not fit."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature

from headrace.language.errors import Misuse, Unfit
from headrace.language.kinds import Make, finite, maker
from headrace.language.scope import Scope
from headrace.language.values import MISSING, kind_of

Function = Callable[..., object]
Named = Mapping[str, object]
NOTHING: Named = {}

VALUE = "value"
"""The parameter that is what a filter or method is applied to: an author writes it before the name, not after it."""

_FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What Python raises on values that a function was not made for. No such values are known; if there are some, they are
an error of one automation, and no bug that takes a record along, which is every automation's."""


class Signature:
    """A function that takes the scope and then values, which its annotations describe; immutable."""

    __slots__ = ("_function", "_made_by_name", "_made_by_place")

    def __init__(self, function: Function) -> None:
        _, *parameters = signature(function).parameters.values()
        makers = [(each.name, maker(each.annotation)) for each in parameters]
        made = {name: make for name, make in makers if make is not None}
        self._function = function
        self._made_by_name = made
        self._made_by_place = [(n, name, made[name]) for n, name in enumerate(_placed(parameters)) if name in made]

    def call(self, scope: Scope, values: Sequence[object], named: Named = NOTHING) -> object:
        """The function's result; raises Misuse for a value that it does not take, and TemplateError for a limit.

        `misused` has checked how many values and which names there are.
        """
        if self._made_by_place:
            values = list(values)
            for place, name, make in self._made_by_place:
                if place < len(values):
                    values[place] = _made(scope, name, make, values[place])
        if named:
            made = self._made_by_name
            named = {
                name: _made(scope, name, made[name], each) if name in made else each for name, each in named.items()
            }
        try:
            return finite(self._function(scope, *values, **named))
        except Misuse:
            raise
        except _FAULTS:
            raise Misuse(f"not possible with {', '.join(map(kind_of, (*values, *named.values())))}") from None


def _made(scope: Scope, name: str, make: Make, value: object) -> object:
    try:
        return make(scope, value)
    except Unfit as error:
        raise Unfit(error.expected, value, "" if name == VALUE else name) from None


def misused(function: Function, before: int, given: int, named: Sequence[str]) -> str | None:
    """What is wrong with the number and names of arguments, after `before` that we give ourselves; None if nothing."""
    parameters = list(signature(function).parameters.values())[before:]
    places, has_rest = _placed(parameters), any(each.kind is each.VAR_POSITIONAL for each in parameters)
    known = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
    takes = f"it takes {', '.join(f'`{name}`' for name in known)}" if known else "it takes none"
    for name in named:
        if name not in known:
            return f"there is no argument `{name}`; {takes}"
        if name in places[:given]:
            return f"the argument `{name}` is given twice"
    if given > len(places) and not has_rest:
        by_name = ", each by its name" if known and not places else ""
        return f"too many arguments; {takes}{by_name}"
    needed = [each.name for each in parameters if each.default is Parameter.empty and each.name in places[given:]]
    lacking = next((name for name in needed if name not in named), None)
    return None if lacking is None else f"the argument `{lacking}` is missing; {takes}"


def names_of(function: Function, before: int, given: int) -> Sequence[str]:
    """The names of so many arguments by place, after `before` values that we give ourselves."""
    places = _placed(list(signature(function).parameters.values())[before:])
    return [*places, *map(nth, range(1, given - len(places) + 1))]


def nth(number: int) -> str:
    """The name of an argument of those that have none, counted from 1."""
    return f"argument {number}"


def _placed(parameters: Sequence[Parameter]) -> list[str]:
    return [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]


def told(error: Misuse, value: object, paths: Mapping[str, str]) -> str:
    """The error with what it is about: the value, something in it or an argument, by the path that an author gave.

    `paths` has them by parameter, as far as there are some.
    """
    if not isinstance(error, Unfit):
        return str(error)
    path = paths.get(error.argument or VALUE, "")
    if error.argument:
        subject = f"`{error.argument}` (here `{path}`)" if path else f"`{error.argument}`"
    else:
        subject = f"`{path}`" if path else "the value"
        if error.found is not value:
            return f"{error}; something in {subject} {is_what(error.found)}"
    remedy = ": `| default(…)` gives a value in its place" if kind_of(error.found) == "nothing" else ""
    return f"{error}; {subject} {is_what(error.found)}{remedy}"


def is_what(value: object) -> str:
    """`is text`, `is an array`, `is missing`: never the value."""
    if value is MISSING:
        return "is missing"
    return _STATES[kind_of(value)]


_STATES = {
    "array": "is an array",
    "boolean": "is a boolean",
    "nothing": "is null",
    "number": "is a number",
    "object": "is an object",
    "text": "is text",
    "time": "is a time",
}
