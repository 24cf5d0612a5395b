"""Expressions: Jinja parses them, and each node becomes a Python closure over the scope.

Nothing of Jinja's runtime takes part, so what is not written here cannot happen: no attribute of a Python object, no
call but of the functions and methods listed, no operation without its limit.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.calls import call, filter_call, test_call
from headrace.language.compiling import Compiling, Evaluate, shown
from headrace.language.errors import Misuse, TemplateError, Unfit
from headrace.language.kinds import whole_of
from headrace.language.operations import ARITHMETIC, Operation
from headrace.language.scope import GROWING_ROOTS, Scope
from headrace.language.signatures import VALUE, told
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


class Compiler(Compiling):
    """Compiles the expressions of one template."""

    def expression(self, node: nodes.Expr) -> Evaluate:
        """The closure of an expression; raises LanguageError."""
        compile_node = _COMPILERS.get(type(node))
        if compile_node is None:
            raise self.error(node, f"{type(node).__name__.lower()} is not supported")
        with self.nested(node):
            return compile_node(self, node)

    def name(self, node: nodes.Name) -> Evaluate:
        """A local variable, a root or a constant of the language."""
        name = node.name
        if any(name in names for names in self.local_names):
            return lambda scope: scope.locals.get(name, MISSING)
        if name not in self.roots:
            raise self.unknown(node, "root", name, self.roots)
        if name == "now":
            return lambda scope: scope.now
        if name in GROWING_ROOTS:
            return lambda scope: cast("dict[str, object]", scope.roots.get(name, _NO_STEPS)).copy()
        return lambda scope: scope.roots.get(name, MISSING)

    def _holder(self, node: nodes.Expr) -> Evaluate:
        """What a part is looked up in: of a root itself, without a copy of it."""
        if isinstance(node, nodes.Name) and node.name in GROWING_ROOTS and (path := self._path_to(node)) is not None:
            return _follow(*path)
        return self.expression(node)

    def getattr(self, node: nodes.Getattr) -> Evaluate:
        """`target.name`: a part of data."""
        target, name = self._holder(node.node), node.attr
        if name.startswith("_"):
            message = f"{name}: no attribute begins with an underscore; a column of that name is [{name!r}]"
            raise self.error(node, message, name)
        path = self._path_to(node)
        return (lambda scope: look_up(target(scope), name)) if path is None else _follow(*path)

    def _path_to(self, node: nodes.Expr) -> tuple[str, tuple[str, ...]] | None:
        """The root and the names that lead to the node, where they are all there is."""
        names: list[str] = []
        at: nodes.Node = node
        while isinstance(at, nodes.Getattr):
            names.append(at.attr)
            at = at.node
        if not isinstance(at, nodes.Name) or at.name == "now" or any(at.name in local for local in self.local_names):
            return None
        return at.name, tuple(reversed(names))

    def getitem(self, node: nodes.Getitem) -> Evaluate:
        """`target[key]` or a slice."""
        target = self._holder(node.node)
        if isinstance(node.arg, nodes.Slice):
            return self._slice(node.arg, target)
        key = self.expression(node.arg)
        return lambda scope: look_up(target(scope), key(scope))

    def _slice(self, node: nodes.Slice, target: Evaluate) -> Evaluate:
        parts = {"start": node.start, "stop": node.stop, "step": node.step}
        given = {name: self.expression(part) for name, part in parts.items() if part is not None}
        paths = {name: shown(part) for name, part in parts.items() if part is not None}

        def evaluate(scope: Scope) -> object:
            found = target(scope)
            try:
                return _sliced(scope, found, {name: part(scope) for name, part in given.items()})
            except Misuse as error:
                raise TemplateError(f"slice: {told(error, found, paths)}") from None

        return evaluate

    def const(self, node: nodes.Const) -> Evaluate:
        """A literal."""
        value = node.value
        if isinstance(value, float) and not isfinite(value):
            raise self.error(node, "this number is too large: the largest is about 1.8e308")
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
        paths = (shown(node.left), shown(node.right))
        return _computed(node.operator, ARITHMETIC[type(node)], left, right, paths)

    def sign(self, node: nodes.UnaryExpr) -> Evaluate:
        """`-x`, `+x`."""
        compute = ARITHMETIC[nodes.Sub if isinstance(node, nodes.Neg) else nodes.Add]
        return _computed(node.operator, compute, _zero, self.expression(node.node), ("", shown(node.node)))

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


def _follow(root: str, names: tuple[str, ...]) -> Evaluate:
    """What a path leads to, in one call: most of what templates ask for."""

    def follow(scope: Scope) -> object:
        value = scope.roots.get(root, MISSING)
        for name in names:
            # look_up's first case, without a call.
            value = cast("dict[str, object]", value).get(name, MISSING) if type(value) is dict else look_up(value, name)
        return value

    return follow


def _there(value: object) -> object:
    """A path that leads nowhere is empty, also as a part of an array or object."""
    return None if value is MISSING else value


def _missing(scope: Scope) -> object:
    return MISSING


def _zero(scope: Scope) -> object:
    return 0


def _computed(symbol: str, compute: Operation, left: Evaluate, right: Evaluate, paths: tuple[str, str]) -> Evaluate:
    """The operation on both, with errors that name it and what it was given by which path."""

    def computed(scope: Scope) -> object:
        one, other = left(scope), right(scope)
        try:
            return compute(scope, one, other)
        except Unfit as error:
            # Of the two the left one is looked at first.
            path = paths[0] if error.found is one else paths[1]
            raise TemplateError(f"{symbol}: {told(error, error.found, {VALUE: path})}") from None
        except Misuse as error:
            raise TemplateError(f"{symbol}: {error}") from None

    return computed


def _sliced(scope: Scope, value: object, given: Mapping[str, object]) -> object:
    if not isinstance(value, list | tuple | str):
        return MISSING
    whole = {name: None if each is None else whole_of(each, name) for name, each in given.items()}
    if whole.get("step") == 0:
        raise Misuse("its step is not 0")
    parts = slice(whole.get("start"), whole.get("stop"), whole.get("step"))
    found = cast("list[object] | str", value)[parts]
    if isinstance(found, str):
        scope.go_through(found)
    else:
        scope.make(len(found))
    return found


_NO_STEPS: Mapping[str, object] = {}

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
        nodes.Filter: filter_call,
        nodes.Test: test_call,
        nodes.Call: call,
        **dict.fromkeys(ARITHMETIC, Compiler.arithmetic),
    },
)
