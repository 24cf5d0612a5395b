"""Expressions: Jinja parses them, and each node becomes a Python closure over the scope.

Nothing of Jinja's runtime takes part, so what is not written here cannot happen: no attribute of a Python object, no
call but of the functions and methods listed, no operation without its limit.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.checks import TESTS
from headrace.language.errors import LanguageError, TemplateError
from headrace.language.filters import FILTERS
from headrace.language.scope import Scope
from headrace.language.values import (
    MISSING,
    contains,
    equal,
    greater,
    greater_or_equal,
    kind_of,
    less,
    less_or_equal,
    look_up,
    to_text,
)

Evaluate = Callable[[Scope], object]


class Compiler:
    """Compiles the expressions of one template. `roots` are the names it may use, `path` its place in the document."""

    def __init__(self, roots: frozenset[str], path: str, source: str) -> None:
        self._roots = roots
        self._path = path
        self._lines = source.splitlines()
        self._depth = 0
        self.local_names: list[set[str]] = []

    def expression(self, node: nodes.Expr) -> Evaluate:
        """The closure of an expression; raises LanguageError."""
        compile_node = _COMPILERS.get(type(node))
        if compile_node is None:
            raise self.error(node, f"{type(node).__name__.lower()} is not supported")
        self._depth += 1
        if self._depth > limits.DEPTH:
            raise self.error(node, f"nested deeper than {limits.DEPTH} levels")
        try:
            return compile_node(self, node)
        finally:
            self._depth -= 1

    def error(self, node: nodes.Node, message: str, word: str = "") -> LanguageError:
        """A LanguageError at the node, at `word` of its line where that is known."""
        line = self._lines[node.lineno - 1] if 0 < node.lineno <= len(self._lines) else ""
        found = line.find(word) if word else max(line.find("{{"), line.find("{%"))
        return LanguageError(self._path, message, node.lineno, max(found, 0) + 1)

    def unknown(self, node: nodes.Node, what: str, name: str, known: Sequence[str] | frozenset[str]) -> LanguageError:
        """A LanguageError for a name that is not known, with a suggestion."""
        close = get_close_matches(name, known, n=1)
        return self.error(node, f"unknown {what} {name!r}" + (f" (did you mean {close[0]!r}?)" if close else ""), name)

    def name(self, node: nodes.Name) -> Evaluate:
        """A local variable, a root or a constant of the language."""
        name = node.name
        if any(name in names for names in self.local_names):
            return lambda scope: scope.locals.get(name, MISSING)
        if name not in self._roots:
            raise self.unknown(node, "root", name, self._roots)
        if name == "now":
            return lambda scope: scope.now
        return lambda scope: scope.roots.get(name, MISSING)

    def getattr(self, node: nodes.Getattr) -> Evaluate:
        """`target.name`: a part of data."""
        target, name = self.expression(node.node), node.attr
        if name.startswith("__"):
            raise self.error(node, f"{name}: no attribute begins with underscores", name)
        return lambda scope: look_up(target(scope), name)

    def getitem(self, node: nodes.Getitem) -> Evaluate:
        """`target[key]` or a slice."""
        target = self.expression(node.node)
        if isinstance(node.arg, nodes.Slice):
            start, stop, step = (
                self.expression(part) if part else _nothing for part in (node.arg.start, node.arg.stop, node.arg.step)
            )
            return lambda scope: _slice(target(scope), start(scope), stop(scope), step(scope))
        key = self.expression(node.arg)
        return lambda scope: look_up(target(scope), key(scope))

    def const(self, node: nodes.Const) -> Evaluate:
        """A literal."""
        value = node.value
        return lambda scope: value

    def sequence(self, node: nodes.List | nodes.Tuple) -> Evaluate:
        """An array."""
        items = [self.expression(item) for item in node.items]
        return lambda scope: [item(scope) for item in items]

    def dict(self, node: nodes.Dict) -> Evaluate:
        """An object; its names are text."""
        pairs = [(self.expression(pair.key), self.expression(pair.value)) for pair in node.items]
        return lambda scope: {to_text(key(scope)): value(scope) for key, value in pairs}

    def logic(self, node: nodes.And | nodes.Or) -> Evaluate:
        """`and`, `or`: as in Python, the deciding value."""
        left, right = self.expression(node.left), self.expression(node.right)
        if isinstance(node, nodes.And):
            return lambda scope: left(scope) and right(scope)
        return lambda scope: left(scope) or right(scope)

    def negation(self, node: nodes.Not) -> Evaluate:
        """`not`."""
        value = self.expression(node.node)
        return lambda scope: not value(scope)

    def comparison(self, node: nodes.Compare) -> Evaluate:
        """Comparisons, typed; a chain is their conjunction."""
        first = self.expression(node.expr)
        rest = [(_COMPARISONS[operand.op], self.expression(operand.expr)) for operand in node.ops]
        if len(rest) == 1:
            compare, second = rest[0]
            return lambda scope: compare(first(scope), second(scope))

        def chain(scope: Scope) -> object:
            left = first(scope)
            for compare, right_of in rest:
                right = right_of(scope)
                if not compare(left, right):
                    return False
                left = right
            return True

        return chain

    def arithmetic(self, node: nodes.BinExpr) -> Evaluate:
        """`+ - * / // % **` with their limits."""
        left, right = self.expression(node.left), self.expression(node.right)
        compute, symbol = _ARITHMETIC[type(node)], node.operator
        return lambda scope: compute(left(scope), right(scope), symbol)

    def sign(self, node: nodes.UnaryExpr) -> Evaluate:
        """`-x`, `+x`."""
        value = self.expression(node.node)
        zero = 0
        compute, symbol = _ARITHMETIC[nodes.Sub if isinstance(node, nodes.Neg) else nodes.Add], node.operator
        return lambda scope: compute(zero, value(scope), symbol)

    def concatenation(self, node: nodes.Concat) -> Evaluate:
        """`a ~ b`: text."""
        parts = [self.expression(part) for part in node.nodes]
        return lambda scope: limits.bounded("".join([to_text(part(scope)) for part in parts]))

    def choice(self, node: nodes.CondExpr) -> Evaluate:
        """`a if condition else b`."""
        condition, then = self.expression(node.test), self.expression(node.expr1)
        otherwise = self.expression(node.expr2) if node.expr2 else _missing
        return lambda scope: then(scope) if condition(scope) else otherwise(scope)

    def filter(self, node: nodes.Filter) -> Evaluate:
        """`value | name(…)`."""
        found = FILTERS.get(node.name)
        if found is None:
            raise self.unknown(node, "filter", node.name, sorted(FILTERS))
        if node.node is None:
            raise self.error(node, "filter blocks are not supported", node.name)
        value, name = self.expression(node.node), node.name
        arguments, named = self._arguments(node)

        def apply(scope: Scope) -> object:
            given = [argument(scope) for argument in arguments]
            try:
                return found(scope, value(scope), *given, **{key: each(scope) for key, each in named})
            except _MISUSE as error:
                raise TemplateError(f"filter {name}: {_plainly(error)}") from None

        return apply

    def test(self, node: nodes.Test) -> Evaluate:
        """`value is name(…)`."""
        found = TESTS.get(node.name)
        if found is None:
            raise self.unknown(node, "test", node.name, sorted(TESTS))
        value, name = self.expression(node.node), node.name
        arguments, named = self._arguments(node)
        if not arguments and not named:
            return lambda scope: found(value(scope))

        def apply(scope: Scope) -> object:
            given = [argument(scope) for argument in arguments]
            try:
                return found(value(scope), *given, **{key: each(scope) for key, each in named})
            except _MISUSE as error:
                raise TemplateError(f"test {name}: {_plainly(error)}") from None

        return apply

    def call(self, node: nodes.Call) -> Evaluate:
        """`uuid()`, `random()`, `range(…)`, and the methods of texts and times that are listed."""
        arguments, named = self._arguments(node)
        if isinstance(node.node, nodes.Name):
            name = node.node.name
            if name not in _FUNCTIONS:
                raise self.unknown(node, "function", name, sorted(_FUNCTIONS))
            function = _FUNCTIONS[name]

            def call_function(scope: Scope) -> object:
                try:
                    return function(scope, *(argument(scope) for argument in arguments))
                except _MISUSE as error:
                    raise TemplateError(f"{name}(): {_plainly(error)}") from None

            return call_function
        if not isinstance(node.node, nodes.Getattr) or named:
            raise self.error(node, "only functions and methods of texts can be called")
        target, method = self.expression(node.node.node), node.node.attr
        if method not in _TEXT_METHODS and method not in _TIME_METHODS:
            raise self.unknown(node, "method", method, sorted((*_TEXT_METHODS, *_TIME_METHODS)))
        return lambda scope: _call_method(target(scope), method, [argument(scope) for argument in arguments])

    def _arguments(self, node: nodes.Filter | nodes.Test | nodes.Call) -> "_Arguments":
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.error(node, "* and ** are not supported in arguments")
        named = [(pair.key, self.expression(pair.value)) for pair in cast(list[nodes.Keyword], node.kwargs)]
        return [self.expression(argument) for argument in node.args], named


_Arguments = tuple[list[Evaluate], list[tuple[str, Evaluate]]]
_MISUSE = (TypeError, ValueError, ArithmeticError, KeyError, IndexError, AttributeError)
"""What filters raise on values or arguments they do not take."""


def _plainly(error: Exception) -> str:
    return str(error).replace("<lambda>() ", "").replace("headrace.language.", "")[:200]


def _nothing(scope: Scope) -> object:
    return None


def _missing(scope: Scope) -> object:
    return MISSING


def _slice(value: object, start: object, stop: object, step: object) -> object:
    if not isinstance(value, list | tuple | str):
        return MISSING
    parts = (start, stop, step)
    if any(part is not None and type(part) is not int for part in parts) or step == 0:
        raise TemplateError("a slice takes whole numbers, and a step other than 0")
    return cast("list[object] | str", value)[cast("slice[int, int, int]", slice(*parts))]


def _number(value: object, symbol: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TemplateError(f"{symbol}: expected a number, found {kind_of(value)}")
    return value


def _add(left: object, right: object, symbol: str) -> object:
    if isinstance(left, str) and isinstance(right, str):
        return limits.bounded(left + right)
    if isinstance(left, list) and isinstance(right, list):
        joined = cast(list[object], left) + cast(list[object], right)
        limits.bounded_product(len(joined), 1)
        return joined
    return _number(cast(object, left), symbol) + _number(right, symbol)


def _multiply(left: object, right: object, symbol: str) -> object:
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, str | list) and type(times) is int:
            sequence = cast("list[object] | str", repeated)
            limits.bounded_product(max(len(sequence), 1), max(times, 0))
            return sequence * times
    one, other = _number(left, symbol), _number(right, symbol)
    if isinstance(one, int) and isinstance(other, int):
        limits.bounded_bits(one.bit_length() + other.bit_length())
    return one * other


def _power(left: object, right: object, symbol: str) -> object:
    base, exponent = _number(left, symbol), _number(right, symbol)
    if isinstance(base, int) and isinstance(exponent, int):
        limits.bounded_bits(base.bit_length() * abs(exponent))
    result = _computed(lambda a, b: a**b, base, exponent, symbol)
    if isinstance(result, complex):
        raise TemplateError("**: a root of a negative number")
    return result


def _plain(compute: Callable[[int | float, int | float], object]) -> Callable[[object, object, str], object]:
    return lambda left, right, symbol: _computed(compute, _number(left, symbol), _number(right, symbol), symbol)


def _computed(
    compute: Callable[[int | float, int | float], object], a: int | float, b: int | float, symbol: str
) -> object:
    try:
        return compute(a, b)
    except (ZeroDivisionError, OverflowError) as error:
        raise TemplateError(f"{symbol}: {error}") from None


_ARITHMETIC: Mapping[type[nodes.Node], Callable[[object, object, str], object]] = {
    nodes.Add: _add,
    nodes.Sub: _plain(lambda a, b: a - b),
    nodes.Mul: _multiply,
    nodes.Div: _plain(lambda a, b: a / b),
    nodes.FloorDiv: _plain(lambda a, b: a // b),
    nodes.Mod: _plain(lambda a, b: a % b),
    nodes.Pow: _power,
}
_COMPARISONS: Mapping[str, Callable[[object, object], bool]] = {
    "eq": equal,
    "ne": lambda left, right: not equal(left, right),
    "lt": less,
    "lteq": less_or_equal,
    "gt": greater,
    "gteq": greater_or_equal,
    "in": lambda item, container: contains(container, item),
    "notin": lambda item, container: not contains(container, item),
}


def _range(scope: Scope, *arguments: object) -> list[int]:
    if not arguments or any(type(argument) is not int for argument in arguments):
        raise ValueError("expected whole numbers")
    numbers = range(*cast(tuple[int, int, int], arguments))
    scope.turn(len(numbers))
    return list(numbers)


_FUNCTIONS: Mapping[str, Callable[..., object]] = {
    "range": _range,
    "uuid": Scope.uuid,
    "random": Scope.random,
}
_TEXT_METHODS = (
    "upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "split", "startswith", "endswith",
    "isdigit", "isalpha", "find", "count",
)  # fmt: skip
_TIME_METHODS = ("isoformat", "weekday", "isoweekday", "timestamp")


def _call_method(target: object, method: str, arguments: list[object]) -> object:
    text, time = isinstance(target, str) and method in _TEXT_METHODS, isinstance(target, datetime)
    if not text and not (time and method in _TIME_METHODS):
        raise TemplateError(f"{kind_of(target)} has no method {method}()")
    try:
        return getattr(target, method)(*arguments)
    except _MISUSE as error:
        raise TemplateError(f"{method}(): {error}") from None


_COMPILERS: Mapping[type[nodes.Expr], Callable[[Compiler, nodes.Expr], Evaluate]] = cast(
    Mapping[type[nodes.Expr], Callable[[Compiler, nodes.Expr], Evaluate]],
    {
        nodes.Name: Compiler.name,
        nodes.Getattr: Compiler.getattr,
        nodes.Getitem: Compiler.getitem,
        nodes.Const: Compiler.const,
        nodes.List: Compiler.sequence,
        nodes.Tuple: Compiler.sequence,
        nodes.Dict: Compiler.dict,
        nodes.And: Compiler.logic,
        nodes.Or: Compiler.logic,
        nodes.Not: Compiler.negation,
        nodes.Compare: Compiler.comparison,
        nodes.Neg: Compiler.sign,
        nodes.Pos: Compiler.sign,
        nodes.Concat: Compiler.concatenation,
        nodes.CondExpr: Compiler.choice,
        nodes.Filter: Compiler.filter,
        nodes.Test: Compiler.test,
        nodes.Call: Compiler.call,
        **dict.fromkeys(_ARITHMETIC, Compiler.arithmetic),
    },
)
