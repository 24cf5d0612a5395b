"""Statements: what is between the expressions of a text, each compiled to a closure that writes its part of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.compiling import Evaluate, shown
from headrace.language.errors import Misuse, TemplateError, Unfit
from headrace.language.expressions import Compiler
from headrace.language.scope import Scope
from headrace.language.signatures import VALUE, is_what, told
from headrace.language.values import MISSING, to_text


class Parts:
    """The pieces of a text that is being written; raises TemplateError as soon as there is too much of it."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0

    def add(self, pieces: list[str]) -> None:
        """Appends pieces."""
        self._size += sum(map(len, pieces))
        if self._size > limits.TEXT:
            raise limits.limit(f"a text of more than {limits.TEXT} characters was written")
        self._pieces += pieces

    def joined(self) -> str:
        """All pieces as one text."""
        return "".join(self._pieces)


Write = Callable[[Scope, Parts], None]


def write_text(compiler: Compiler, body: Sequence[nodes.Node]) -> Evaluate:
    """The closure that renders a whole text; raises LanguageError."""
    write = _block(compiler, body)

    def render(scope: Scope) -> str:
        parts = Parts()
        write(scope, parts)
        return parts.joined()

    return render


def _block(compiler: Compiler, body: Sequence[nodes.Node]) -> Write:
    writes = [_statement(compiler, node) for node in body]

    def write(scope: Scope, parts: Parts) -> None:
        for each in writes:
            each(scope, parts)

    return writes[0] if len(writes) == 1 else write


def _statement(compiler: Compiler, node: nodes.Node) -> Write:
    with compiler.nested(node):
        return _statement_of(compiler, node)


def _statement_of(compiler: Compiler, node: nodes.Node) -> Write:
    match node:
        case nodes.Output():
            return _output(compiler, node)
        case nodes.If():
            return _if(compiler, node)
        case nodes.For():
            return _for(compiler, node)
        case nodes.Assign() if isinstance(node.target, nodes.Name):
            return _set(compiler, node, node.target.name)
        case _:
            raise compiler.error(node, f"the statement {type(node).__name__.lower()} is not supported")


def _output(compiler: Compiler, node: nodes.Output) -> Write:
    pieces: list[str | Evaluate] = [
        part.data if isinstance(part, nodes.TemplateData) else compiler.expression(part) for part in node.nodes
    ]

    def write(scope: Scope, parts: Parts) -> None:
        parts.add([piece if isinstance(piece, str) else to_text(piece(scope)) for piece in pieces])

    return write


def _if(compiler: Compiler, node: nodes.If) -> Write:
    ways = [(compiler.truth(cast(nodes.Expr, each.test)), _block(compiler, each.body)) for each in (node, *node.elif_)]
    otherwise = _block(compiler, node.else_)

    def write(scope: Scope, parts: Parts) -> None:
        for condition, block in ways:
            if condition(scope):
                return block(scope, parts)
        return otherwise(scope, parts)

    return write


def _set(compiler: Compiler, node: nodes.Assign, name: str) -> Write:
    _check_free(compiler, node, name)
    value = compiler.expression(cast(nodes.Expr, node.node))
    if not compiler.local_names:
        compiler.local_names.append(set())
    compiler.local_names[-1].add(name)

    def write(scope: Scope, parts: Parts) -> None:
        scope.locals[name] = value(scope)

    return write


def _for(compiler: Compiler, node: nodes.For) -> Write:
    over = compiler.expression(cast(nodes.Expr, node.iter))
    path = shown(cast(nodes.Expr, node.iter))
    targets = [target.name for target in _targets(compiler, node)]
    before = compiler.parts
    compiler.local_names.append(set(targets))
    keep = compiler.truth(cast(nodes.Expr, node.test)) if node.test else None
    compiler.local_names[-1].add("loop")
    body = _block(compiler, node.body)
    compiler.local_names.pop()
    cost = compiler.parts - before
    otherwise = _block(compiler, node.else_)

    def write(scope: Scope, parts: Parts) -> None:
        outer = scope.locals
        found = over(scope)
        try:
            items = _loop_items(scope, found)
        except Misuse as error:
            raise TemplateError(f"for: {told(error, found, {VALUE: path})}") from None
        # Each turn copies the variables, and evaluates the body at most once.
        scope.work(len(items) * (cost + len(outer)))
        if keep is not None:
            items = [item for item in items if keep(_inside(scope, outer, targets, item))]
        for index, item in enumerate(items):
            _inside(scope, outer, targets, item).locals["loop"] = _loop_facts(index, len(items))
            body(scope, parts)
        scope.locals = outer
        if not items:
            otherwise(scope, parts)

    return write


def _check_free(compiler: Compiler, node: nodes.Node, name: str) -> None:
    if name in _TAKEN:
        raise compiler.error(node, f"{name!r} is taken; choose another name for the variable", name)


_TAKEN = ("loop", "item", "item_index")
"""`item` and `item_index` always mean the automation's; `loop` is Jinja's inside `{% for %}`, else the automation's."""


def _targets(compiler: Compiler, node: nodes.For) -> list[nodes.Name]:
    found = node.target.items if isinstance(node.target, nodes.Tuple) else [node.target]
    if node.recursive or any(not isinstance(target, nodes.Name) for target in found):
        raise compiler.error(node, "a loop names one or more variables, and is not recursive")
    names = cast(list[nodes.Name], found)
    for target in names:
        _check_free(compiler, node, target.name)
    return names


def _inside(scope: Scope, outer: Mapping[str, object], targets: Sequence[str], item: object) -> Scope:
    if len(targets) == 1:
        scope.locals = {**outer, targets[0]: item}
        return scope
    if not isinstance(item, list | tuple) or len(cast(list[object], item)) != len(targets):
        count, told = len(targets), is_what(cast(object, item))
        raise TemplateError(f"for: its {count} variables take an array of {count} from each item, but one {told}")
    scope.locals = {**outer, **dict(zip(targets, cast(list[object], item), strict=True))}
    return scope


def _loop_items(scope: Scope, value: object) -> list[object]:
    if value is None or value is MISSING:
        return []
    if isinstance(value, list | tuple | str | Mapping):
        scope.turn(len(cast(Sequence[object], value)))
        return list(cast(Sequence[object], value))
    raise Unfit("an array", value)


def _loop_facts(index: int, count: int) -> Mapping[str, object]:
    return {
        "index": index + 1,
        "index0": index,
        "revindex": count - index,
        "revindex0": count - index - 1,
        "first": index == 0,
        "last": index == count - 1,
        "length": count,
    }
