"""Expressions: Jinja parses them, and each node becomes a Python closure over the scope.

Nothing of Jinja's runtime takes part, so what is not written here cannot happen: no attribute of a Python object, no
call but of the functions and methods listed, no operation without its limit.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.checks import ONLY_LOOK, TESTS
from headrace.language.errors import LanguageError, TemplateError
from headrace.language.filters import (
    FILTERS,
    MISUSE,
    NAMES_A_FILTER,
    NAMES_A_TEST,
    apply_filter,
    apply_test,
    misused,
    plainly,
)
from headrace.language.operations import ARITHMETIC, FUNCTIONS, TEXT_METHODS, TIME_METHODS, call_method
from headrace.language.scope import Scope
from headrace.language.values import (
    MISSING,
    contains,
    equal,
    greater,
    greater_or_equal,
    less,
    less_or_equal,
    look_up,
    to_text,
)

Evaluate = Callable[[Scope], object]

_MESSAGE = 300
"""Characters of a message: a name in it may be as long as a template."""


class Compiler:
    """Compiles the expressions of one template. `roots` are the names it may use, `path` its place in the document."""

    def __init__(self, roots: frozenset[str], path: str, source: str) -> None:
        self._roots = roots
        self._path = path
        self._lines = source.splitlines()
        self._depth = 0
        self.parts = 0
        """How many parts were compiled so far: what one evaluation of them takes, in units of work."""
        self.local_names: list[set[str]] = []

    def expression(self, node: nodes.Expr) -> Evaluate:
        """The closure of an expression; raises LanguageError."""
        compile_node = _COMPILERS.get(type(node))
        if compile_node is None:
            raise self.error(node, f"{type(node).__name__.lower()} is not supported")
        with self.nested(node):
            return compile_node(self, node)

    @contextmanager
    def nested(self, node: nodes.Node) -> Generator[None]:
        """Within it is a part of an expression, or a block; raises LanguageError beyond the limit."""
        self.parts += 1
        self._depth += 1
        if self._depth > limits.DEPTH:
            raise self.error(node, f"nested deeper than {limits.DEPTH} levels")
        try:
            yield
        finally:
            self._depth -= 1

    def error(self, node: nodes.Node, message: str, word: str = "") -> LanguageError:
        """A LanguageError at the node, at `word` of its line where that is known."""
        # Jinja's parser gives some statements no line.
        number = cast(int | None, node.lineno) or 1
        line = self._lines[number - 1] if number <= len(self._lines) else ""
        found = line.find(word) if word else max(line.find("{{"), line.find("{%"))
        return LanguageError(self._path, message[:_MESSAGE], number, max(found, 0) + 1)

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
        if name.startswith("_"):
            message = f"{name}: no attribute begins with an underscore; a column of that name is [{name!r}]"
            raise self.error(node, message, name)
        return lambda scope: look_up(target(scope), name)

    def getitem(self, node: nodes.Getitem) -> Evaluate:
        """`target[key]` or a slice."""
        target = self.expression(node.node)
        if isinstance(node.arg, nodes.Slice):
            start, stop, step = (
                self.expression(part) if part else _nothing for part in (node.arg.start, node.arg.stop, node.arg.step)
            )
            return lambda scope: _slice(scope, target(scope), start(scope), stop(scope), step(scope))
        key = self.expression(node.arg)
        return lambda scope: look_up(target(scope), key(scope))

    def const(self, node: nodes.Const) -> Evaluate:
        """A literal."""
        value = node.value
        return lambda scope: value

    def sequence(self, node: nodes.List | nodes.Tuple) -> Evaluate:
        """An array."""
        items = [self.expression(item) for item in node.items]
        return lambda scope: [_there(item(scope)) for item in items]

    def dict(self, node: nodes.Dict) -> Evaluate:
        """An object; its names are text."""
        pairs = [(self.expression(pair.key), self.expression(pair.value)) for pair in node.items]
        return lambda scope: {to_text(key(scope)): _there(value(scope)) for key, value in pairs}

    def truth(self, node: nodes.Expr) -> Callable[[Scope], bool]:
        """The closure that says whether an expression's value counts as true; raises LanguageError."""
        value = self.expression(node)
        if isinstance(node, nodes.Compare | nodes.Not | nodes.Test):
            return cast(Callable[[Scope], bool], value)
        return lambda scope: scope.is_true(value(scope))

    def logic(self, node: nodes.And | nodes.Or) -> Evaluate:
        """`and`, `or`: the deciding value."""
        left, right = self.expression(node.left), self.expression(node.right)
        right_decides = isinstance(node, nodes.And)

        def decide(scope: Scope) -> object:
            found = left(scope)
            return right(scope) if scope.is_true(found) is right_decides else found

        return decide

    def negation(self, node: nodes.Not) -> Evaluate:
        """`not`."""
        truth = self.truth(node.node)
        return lambda scope: not truth(scope)

    def comparison(self, node: nodes.Compare) -> Evaluate:
        """Comparisons, typed; a chain is their conjunction."""
        first = self.expression(node.expr)
        rest = [(_COMPARISONS[operand.op], self.expression(operand.expr)) for operand in node.ops]
        if len(rest) == 1:
            compare, second = rest[0]

            def compare_two(scope: Scope) -> object:
                left, right = first(scope), second(scope)
                if type(left) in _SIZED or type(right) in _SIZED:
                    scope.go_through(left)
                    scope.go_through(right)
                return compare(left, right)

            return compare_two

        def chain(scope: Scope) -> object:
            left = first(scope)
            for compare, right_of in rest:
                right = right_of(scope)
                scope.go_through(left)
                scope.go_through(right)
                if not compare(left, right):
                    return False
                left = right
            return True

        return chain

    def arithmetic(self, node: nodes.BinExpr) -> Evaluate:
        """`+ - * / // % **` with their limits."""
        left, right = self.expression(node.left), self.expression(node.right)
        compute = ARITHMETIC[type(node)]
        return lambda scope: compute(scope, left(scope), right(scope))

    def sign(self, node: nodes.UnaryExpr) -> Evaluate:
        """`-x`, `+x`."""
        value = self.expression(node.node)
        compute = ARITHMETIC[nodes.Sub if isinstance(node, nodes.Neg) else nodes.Add]
        return lambda scope: compute(scope, 0, value(scope))

    def concatenation(self, node: nodes.Concat) -> Evaluate:
        """`a ~ b`: text."""
        parts = [self.expression(part) for part in node.nodes]

        def concatenate(scope: Scope) -> str:
            text = limits.joined([to_text(part(scope)) for part in parts])
            scope.go_through(text)
            return text

        return concatenate

    def choice(self, node: nodes.CondExpr) -> Evaluate:
        """`a if condition else b`."""
        condition, then = self.truth(node.test), self.expression(node.expr1)
        otherwise = self.expression(node.expr2) if node.expr2 else _missing
        return lambda scope: then(scope) if condition(scope) else otherwise(scope)

    def filter(self, node: nodes.Filter) -> Evaluate:
        """`value | name(…)`."""
        name = node.name
        if name not in FILTERS:
            raise self.unknown(node, "filter", name, sorted(FILTERS))
        if node.node is None:
            raise self.error(node, "filter blocks are not supported", name)
        value = self.expression(node.node)
        arguments, named = self._arguments(node)
        self._check_arguments(
            node, f"filter {name}", misused(FILTERS[name], 2, len(arguments), [key for key, _ in named])
        )
        self._check_name(node, NAMES_A_FILTER, "filter", FILTERS)
        self._check_name(node, NAMES_A_TEST, "test", TESTS)

        if not arguments and not named:
            return lambda scope: apply_filter(scope, name, value(scope), ())

        def apply(scope: Scope) -> object:
            found = value(scope)
            given = [argument(scope) for argument in arguments]
            return apply_filter(scope, name, found, given, {key: each(scope) for key, each in named})

        return apply

    def test(self, node: nodes.Test) -> Evaluate:
        """`value is name(…)`."""
        name = node.name
        found = TESTS.get(name)
        if found is None:
            raise self.unknown(node, "test", name, sorted(TESTS))
        value = self.expression(node.node)
        arguments, named = self._arguments(node)
        self._check_arguments(node, f"test {name}", misused(found, 1, len(arguments), [key for key, _ in named]))
        if name in ONLY_LOOK:
            return lambda scope: found(value(scope))

        def apply(scope: Scope) -> object:
            given = [argument(scope) for argument in arguments]
            return apply_test(scope, name, value(scope), given, {key: each(scope) for key, each in named})

        return apply

    def _check_arguments(self, node: nodes.Expr, what: str, mistake: str | None) -> None:
        if mistake is not None:
            raise self.error(node, f"{what}: {mistake}")

    def _check_name(
        self, node: nodes.Filter, takes_name: Mapping[str, int], what: str, known: Mapping[str, object]
    ) -> None:
        """A filter or test that is named as an argument is there."""
        place = takes_name.get(node.name, len(node.args))
        named = node.args[place] if place < len(node.args) else None
        if isinstance(named, nodes.Const) and named.value not in known:
            raise self.unknown(node, what, str(named.value), sorted(known))

    def call(self, node: nodes.Call) -> Evaluate:
        """`uuid()`, `random()`, `range(…)`, and the methods of texts and times that are listed."""
        arguments, named = self._arguments(node)
        if named or not isinstance(node.node, nodes.Name | nodes.Getattr):
            raise self.error(
                node, "only functions and methods of texts and times can be called, without named arguments"
            )
        if isinstance(node.node, nodes.Name):
            return self._call_function(node, node.node.name, arguments)
        target, method = self.expression(node.node.node), node.node.attr
        if method in ("items", "keys", "values", "get", "join"):
            raise self.error(node, f"{method}: data has no methods; there are filters, such as `| items`", method)
        if method not in TEXT_METHODS and method not in TIME_METHODS:
            raise self.unknown(node, "method", method, sorted((*TEXT_METHODS, *TIME_METHODS)))
        return lambda scope: call_method(scope, target(scope), method, [argument(scope) for argument in arguments])

    def _call_function(self, node: nodes.Call, name: str, arguments: list[Evaluate]) -> Evaluate:
        function = FUNCTIONS.get(name)
        if function is None:
            raise self.unknown(node, "function", name, sorted(FUNCTIONS))
        self._check_arguments(node, f"{name}()", misused(function, 1, len(arguments), ()))

        def call_function(scope: Scope) -> object:
            try:
                return function(scope, *(argument(scope) for argument in arguments))
            except MISUSE as error:
                raise TemplateError(f"{name}(): {plainly(error)}") from None

        return call_function

    def _arguments(self, node: nodes.Filter | nodes.Test | nodes.Call) -> "_Arguments":
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.error(node, "* and ** are not supported in arguments")
        named = [(pair.key, self.expression(pair.value)) for pair in cast(list[nodes.Keyword], node.kwargs)]
        return [self.expression(argument) for argument in node.args], named


_Arguments = tuple[list[Evaluate], list[tuple[str, Evaluate]]]


def _there(value: object) -> object:
    """A path that leads nowhere is empty, also as a part of an array or object."""
    return None if value is MISSING else value


def _nothing(scope: Scope) -> object:
    return None


def _missing(scope: Scope) -> object:
    return MISSING


def _slice(scope: Scope, value: object, start: object, stop: object, step: object) -> object:
    if not isinstance(value, list | tuple | str):
        return MISSING
    parts = (start, stop, step)
    if any(part is not None and type(part) is not int for part in parts) or step == 0:
        raise TemplateError("a slice takes whole numbers, and a step other than 0")
    found = cast("list[object] | str", value)[cast("slice[int, int, int]", slice(*parts))]
    if isinstance(found, str):
        scope.go_through(found)
    else:
        scope.make(len(found))
    return found


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
_SIZED = frozenset((str, list, tuple, dict))
"""Types whose comparison may be work."""


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
        **dict.fromkeys(ARITHMETIC, Compiler.arithmetic),
    },
)
