"""What is called in expressions: filters, tests, functions, and the methods of texts and times."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from jinja2 import nodes

from headrace.language.checks import ONLY_LOOK, TESTS
from headrace.language.compiling import Compiling, Evaluate, shown
from headrace.language.errors import Misuse, TemplateError
from headrace.language.filters import FILTERS, NAMES_A_FILTER, NAMES_A_TEST, apply_filter, apply_test
from headrace.language.methods import METHODS, call_method
from headrace.language.operations import FUNCTIONS, call_function
from headrace.language.scope import Scope
from headrace.language.signatures import NOTHING, VALUE, Function, Named, misused, names_of, told


class _Arguments(NamedTuple):
    """What stands between the parentheses; `paths` are those of arguments by place."""

    by_place: Sequence[Evaluate]
    by_name: Mapping[str, Evaluate]
    paths: Sequence[str]
    paths_by_name: Mapping[str, str]

    def values(self, scope: Scope) -> Sequence[object]:
        return [argument(scope) for argument in self.by_place] if self.by_place else ()

    def named_values(self, scope: Scope) -> Named:
        return {name: argument(scope) for name, argument in self.by_name.items()} if self.by_name else NOTHING

    def paths_of(self, function: Function, before: int) -> dict[str, str]:
        """By parameter of `function`, which is given `before` values that are not among these."""
        names = names_of(function, before, len(self.paths))
        return {**dict(zip(names, self.paths, strict=False)), **self.paths_by_name}


def _arguments(compiler: Compiling, node: nodes.Filter | nodes.Test | nodes.Call) -> _Arguments:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise compiler.error(node, "* and ** are not supported in arguments")
    named = {pair.key: pair.value for pair in cast(list[nodes.Keyword], node.kwargs)}
    return _Arguments(
        [compiler.expression(each) for each in node.args],
        {name: compiler.expression(each) for name, each in named.items()},
        [shown(each) for each in node.args],
        {name: shown(each) for name, each in named.items()},
    )


def filter_call(compiler: Compiling, node: nodes.Filter) -> Evaluate:
    """`value | name(…)`; raises LanguageError."""
    name = node.name
    function = FILTERS.get(name)
    if function is None:
        raise compiler.unknown(node, "filter", name, sorted(FILTERS))
    if node.node is None:
        raise compiler.error(node, "filter blocks are not supported", name)
    value, given = compiler.expression(node.node), _arguments(compiler, node)
    _check(compiler, node, f"filter {name}", misused(function, _OF_FILTER, len(given.by_place), list(given.by_name)))
    _check_named(compiler, node)
    paths = {VALUE: shown(node.node), **given.paths_of(function, _OF_FILTER)}

    def apply(scope: Scope) -> object:
        found = value(scope)
        try:
            return apply_filter(scope, name, found, given.values(scope), given.named_values(scope))
        except Misuse as error:
            raise TemplateError(f"filter {name}: {told(error, found, paths)}") from None

    return apply


_OF_FILTER, _OF_TEST, _OF_METHOD, _OF_FUNCTION = 2, 1, 2, 1
"""Parameters that are no arguments: the scope, and what it is applied to."""


def test_call(compiler: Compiling, node: nodes.Test) -> Evaluate:
    """`value is name(…)`; raises LanguageError."""
    name = node.name
    test = TESTS.get(name)
    if test is None:
        raise compiler.unknown(node, "test", name, sorted(TESTS))
    value, given = compiler.expression(node.node), _arguments(compiler, node)
    _check(compiler, node, f"test {name}", misused(test, _OF_TEST, len(given.by_place), list(given.by_name)))
    if name in ONLY_LOOK:
        return lambda scope: test(value(scope))
    return lambda scope: apply_test(scope, name, value(scope), given.values(scope), given.named_values(scope))


def call(compiler: Compiling, node: nodes.Call) -> Evaluate:
    """`uuid()`, `random()`, `range(…)`, and the methods of texts and times that are listed; raises LanguageError."""
    given = _arguments(compiler, node)
    if given.by_name or not isinstance(node.node, nodes.Name | nodes.Getattr):
        message = "only functions and methods of texts and times can be called, without named arguments"
        raise compiler.error(node, message)
    if isinstance(node.node, nodes.Name):
        return _function_call(compiler, node, node.node.name, given)
    target, method = compiler.expression(node.node.node), node.node.attr
    if method in ("items", "keys", "values", "get", "join"):
        raise compiler.error(node, f"{method}: data has no methods; there are filters, such as `| items`", method)
    function = METHODS.get(method)
    if function is None:
        raise compiler.unknown(node, "method", method, sorted(METHODS))
    _check(compiler, node, f"{method}()", misused(function, _OF_METHOD, len(given.by_place), ()))
    paths = {VALUE: shown(node.node.node), **given.paths_of(function, _OF_METHOD)}

    def call_of(scope: Scope) -> object:
        found = target(scope)
        try:
            return call_method(scope, method, found, given.values(scope))
        except Misuse as error:
            raise TemplateError(f"{method}(): {told(error, found, paths)}") from None

    return call_of


def _function_call(compiler: Compiling, node: nodes.Call, name: str, given: _Arguments) -> Evaluate:
    function = FUNCTIONS.get(name)
    if function is None and name in FILTERS:
        raise compiler.error(node, f"{name} is a filter, and no function: write `value | {name}`", name)
    if function is None:
        raise compiler.unknown(node, "function", name, sorted(FUNCTIONS))
    _check(compiler, node, f"{name}()", misused(function, _OF_FUNCTION, len(given.by_place), ()))
    paths = given.paths_of(function, _OF_FUNCTION)

    def call_of(scope: Scope) -> object:
        try:
            return call_function(scope, name, given.values(scope))
        except Misuse as error:
            raise TemplateError(f"{name}(): {told(error, None, paths)}") from None

    return call_of


def _check(compiler: Compiling, node: nodes.Expr, what: str, mistake: str | None) -> None:
    if mistake is not None:
        raise compiler.error(node, f"{what}: {mistake}")


def _check_named(compiler: Compiling, node: nodes.Filter) -> None:
    """The filter or test that is named as an argument, if it is named in the template itself."""
    for what, takes, known, before in (
        ("filter", NAMES_A_FILTER, FILTERS, _OF_FILTER),
        ("test", NAMES_A_TEST, TESTS, _OF_TEST),
    ):
        place = takes.get(node.name, len(node.args))
        named = node.args[place] if place < len(node.args) else None
        if isinstance(named, nodes.Const):
            function = known.get(named.value)
            if function is None:
                raise compiler.unknown(node, what, str(named.value), sorted(known))
            mistake = misused(function, before, len(node.args) - place - 1, ())
            _check(compiler, node, f"{what} {named.value}", mistake)
