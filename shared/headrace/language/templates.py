"""Templates: a text with expressions and statements, or one expression whose value keeps its type."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from jinja2 import Environment, TemplateSyntaxError, nodes

from headrace.language import limits
from headrace.language.errors import LanguageError, TemplateError
from headrace.language.expressions import Compiler, Evaluate
from headrace.language.scope import Scope
from headrace.language.values import MISSING, kind_of, to_text

_PARSER = Environment(keep_trailing_newline=True, autoescape=False)

Write = Callable[[Scope, list[str]], None]


class Template:
    """A compiled template; immutable. `constant` says that it renders to its own source."""

    __slots__ = ("_evaluate", "constant", "source")

    def __init__(self, source: str, evaluate: Evaluate | None) -> None:
        self.source = source
        self.constant = evaluate is None
        self._evaluate = evaluate

    def render(self, scope: Scope) -> object:
        """The expression's value, or the text; raises TemplateError."""
        if self._evaluate is None:
            return self.source
        scope.begin()
        try:
            value = self._evaluate(scope)
        except RecursionError:
            raise TemplateError("nested too deeply", "template_limit") from None
        except OverflowError as error:
            raise TemplateError(str(error)) from None
        return None if value is MISSING else value


class Value:
    """A compiled input: every string in it is a template, names are as they are."""

    __slots__ = ("_render", "constant")

    def __init__(self, render: Callable[[Scope], object], constant: bool) -> None:
        self._render = render
        self.constant = constant

    def render(self, scope: Scope) -> object:
        """The value with its templates rendered; raises TemplateError."""
        return self._render(scope)


def compile_template(source: str, *, roots: frozenset[str], path: str) -> Template:
    """Compiles; raises LanguageError for a syntax error, an unknown root, filter, test or function, or a limit."""
    if "{" not in source or not any(mark in source for mark in ("{{", "{%", "{#")):
        return Template(source, None)
    if len(source) > limits.SOURCE:
        raise LanguageError(path, f"a template has at most {limits.SOURCE} characters")
    stripped = source.strip()
    body = _parse(stripped if stripped.startswith("{{") and stripped.endswith("}}") else source, path).body
    compiler = Compiler(roots, path, source.lstrip() if body and stripped.startswith("{{") else source)
    try:
        if len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1:
            only = body[0].nodes[0]
            if not isinstance(only, nodes.TemplateData):
                return Template(source, compiler.expression(only))
        return Template(source, _text(_block(compiler, body)))
    except RecursionError:
        raise LanguageError(path, "nested too deeply") from None


def compile_value(value: object, *, roots: frozenset[str], path: str) -> Value:
    """Compiles every string in `value`; raises LanguageError with the path of the one that is wrong."""
    if isinstance(value, str):
        template = compile_template(value, roots=roots, path=path)
        return Value(template.render, template.constant)
    if isinstance(value, dict):
        items = cast(dict[str, object], value).items()
        fields = [(name, compile_value(each, roots=roots, path=f"{path}.{name}")) for name, each in items]
        if any(not field.constant for _, field in fields):
            renders = [(name, field.render) for name, field in fields]
            return Value(lambda scope: {name: render(scope) for name, render in renders}, False)
    elif isinstance(value, list | tuple):
        sequence = enumerate(cast(Sequence[object], value))
        items = [compile_value(each, roots=roots, path=f"{path}.{index}") for index, each in sequence]
        if any(not item.constant for item in items):
            return Value(lambda scope: [item.render(scope) for item in items], False)
    constant: object = cast(object, value)
    return Value(lambda scope: constant, True)


def syntax(source: str, path: str) -> nodes.Template:
    """The syntax tree of a template; raises LanguageError where it cannot be parsed."""
    return _parse(source, path)


def _parse(source: str, path: str) -> nodes.Template:
    try:
        return _PARSER.parse(source)
    except TemplateSyntaxError as error:
        line = source.splitlines()[error.lineno - 1] if error.lineno <= source.count("\n") + 1 else ""
        column = max(max(line.rfind("{{"), line.rfind("{%")), 0) + 1
        raise LanguageError(path, error.message or "syntax error", error.lineno, column) from None
    except RecursionError:
        raise LanguageError(path, "nested too deeply") from None
    except (OverflowError, ValueError) as error:
        raise LanguageError(path, f"cannot be read: {type(error).__name__}") from None


def _text(write: Write) -> Evaluate:
    def render(scope: Scope) -> str:
        parts: list[str] = []
        write(scope, parts)
        return limits.bounded("".join(parts))

    return render


def _block(compiler: Compiler, body: Sequence[nodes.Node]) -> Write:
    writes = [_statement(compiler, node) for node in body]

    def write(scope: Scope, parts: list[str]) -> None:
        for each in writes:
            each(scope, parts)

    return writes[0] if len(writes) == 1 else write


def _statement(compiler: Compiler, node: nodes.Node) -> Write:
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

    def write(scope: Scope, parts: list[str]) -> None:
        for piece in pieces:
            parts.append(piece if isinstance(piece, str) else to_text(piece(scope)))
        if len(parts) > _PIECES:
            # What a loop writes is joined and measured now and then, so that it cannot grow unseen.
            parts[:] = [limits.bounded("".join(parts))]

    return write


_PIECES = 1_000
"""Pieces of a text that wait to be joined."""


def _if(compiler: Compiler, node: nodes.If) -> Write:
    ways = [
        (compiler.expression(cast(nodes.Expr, each.test)), _block(compiler, each.body)) for each in (node, *node.elif_)
    ]
    otherwise = _block(compiler, node.else_)

    def write(scope: Scope, parts: list[str]) -> None:
        for condition, block in ways:
            if condition(scope):
                return block(scope, parts)
        return otherwise(scope, parts)

    return write


def _set(compiler: Compiler, node: nodes.Assign, name: str) -> Write:
    value = compiler.expression(cast(nodes.Expr, node.node))
    if not compiler.local_names:
        compiler.local_names.append(set())
    compiler.local_names[-1].add(name)

    def write(scope: Scope, parts: list[str]) -> None:
        scope.locals[name] = value(scope)

    return write


def _for(compiler: Compiler, node: nodes.For) -> Write:
    over = compiler.expression(cast(nodes.Expr, node.iter))
    targets = [target.name for target in _targets(compiler, node)]
    compiler.local_names.append({*targets, "loop"})
    keep = compiler.expression(cast(nodes.Expr, node.test)) if node.test else None
    body, otherwise = _block(compiler, node.body), _block(compiler, node.else_)
    compiler.local_names.pop()

    def write(scope: Scope, parts: list[str]) -> None:
        outer = scope.locals
        items = _loop_items(over(scope))
        if keep is not None:
            items = [item for item in items if keep(_inside(scope, outer, targets, item))]
        for index, item in enumerate(items):
            scope.turn()
            _inside(scope, outer, targets, item).locals["loop"] = _loop_facts(index, len(items))
            body(scope, parts)
        scope.locals = outer
        if not items:
            otherwise(scope, parts)

    return write


def _targets(compiler: Compiler, node: nodes.For) -> list[nodes.Name]:
    found = node.target.items if isinstance(node.target, nodes.Tuple) else [node.target]
    if node.recursive or any(not isinstance(target, nodes.Name) for target in found):
        raise compiler.error(node, "a loop names one or more variables, and is not recursive")
    return cast(list[nodes.Name], found)


def _inside(scope: Scope, outer: Mapping[str, object], targets: Sequence[str], item: object) -> Scope:
    if len(targets) == 1:
        scope.locals = {**outer, targets[0]: item}
        return scope
    if not isinstance(item, list | tuple) or len(cast(list[object], item)) != len(targets):
        raise TemplateError(f"the loop names {len(targets)} variables, but its item is {kind_of(cast(object, item))}")
    scope.locals = {**outer, **dict(zip(targets, cast(list[object], item), strict=True))}
    return scope


def _loop_items(value: object) -> list[object]:
    if value is None or value is MISSING:
        return []
    if isinstance(value, list | tuple | dict | str):
        return list(cast(Sequence[object], value))
    raise TemplateError(f"a loop goes over an array, found {kind_of(value)}")


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
