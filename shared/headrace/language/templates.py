"""Templates: a text with expressions and statements, or one expression whose value keeps its type."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from jinja2 import Environment, TemplateSyntaxError, nodes

from headrace.language import limits
from headrace.language.compiling import Evaluate
from headrace.language.errors import LanguageError, TemplateError, all_made
from headrace.language.expressions import Compiler
from headrace.language.scope import GROWING_ROOTS, Scope
from headrace.language.statements import write_text
from headrace.language.values import MISSING, kind_of

_PARSER = Environment(keep_trailing_newline=True, autoescape=False)


class Template:
    """A compiled template; immutable. `constant` says that it renders to its own source, `has_literals` that it always
    gives text, some of which is written outside of `{{ }}` and `{% %}`."""

    __slots__ = ("_evaluate", "constant", "has_literals", "joins", "source")

    def __init__(self, source: str, evaluate: Evaluate | None, has_literals: bool = False, joins: bool = False) -> None:
        self.source = source
        self.constant = evaluate is None
        self.has_literals = has_literals
        self.joins = joins
        """Whether it writes several expressions one after the other."""
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
    try:
        return _compile(source, roots, path)
    except RecursionError:
        # The caller's own stack may be deep already.
        raise LanguageError(path, "nested too deeply") from None


def _compile(source: str, roots: frozenset[str], path: str) -> Template:
    body = _parse(source, path).body
    compiler = Compiler(roots, path, source)
    only = _only_expression(body)
    if only is None:
        return Template(source, write_text(compiler, body), any(map(_writes_literally, body)), _expressions(body) > 1)
    evaluate = compiler.expression(only)
    return Template(source, evaluate if _cannot_grow(only) else _bounded(evaluate))


def _cannot_grow(node: nodes.Node | None) -> bool:
    """Whether it gives data as it came, or a boolean: no value that was made in the template."""
    if isinstance(node, nodes.And | nodes.Or):
        return _cannot_grow(node.left) and _cannot_grow(node.right)
    if isinstance(node, nodes.CondExpr):
        return _cannot_grow(node.expr1) and (node.expr2 is None or _cannot_grow(node.expr2))
    if isinstance(node, nodes.Name) and node.name in GROWING_ROOTS:
        return False
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Name | nodes.Compare | nodes.Not)


def _only_expression(body: Sequence[nodes.Node]) -> nodes.Expr | None:
    """The expression of a template that is nothing else, but for white space around it."""
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return None
    parts = [part for part in body[0].nodes if not (isinstance(part, nodes.TemplateData) and part.data.isspace())]
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData) else None


def _writes_literally(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Output) and any(
        isinstance(part, nodes.TemplateData) and not part.data.isspace() for part in node.nodes
    )


def _expressions(body: Sequence[nodes.Node]) -> int:
    """How many expressions are written, those inside of statements left out."""
    outputs = [part for node in body if isinstance(node, nodes.Output) for part in node.nodes]
    return sum(not isinstance(part, nodes.TemplateData) for part in outputs)


def _bounded(evaluate: Evaluate) -> Evaluate:
    def render(scope: Scope) -> object:
        value = evaluate(scope)
        if kind_of(value) in ("array", "object") and limits.size_of(value, limits.TEXT, 2) > limits.TEXT:
            raise limits.limit(f"the value's JSON has more than {limits.TEXT} characters, which are allowed")
        return value

    return render


def _together(render: Evaluate) -> Evaluate:
    def bounded(scope: Scope) -> object:
        value = render(scope)
        limits.bounded_together(value)
        return value

    return bounded


Guard = Callable[[object, str], object]
"""Takes what a template gave and the template's path; answers what stands there instead, or raises."""


def compile_value(value: object, *, roots: frozenset[str], path: str, guard: Guard | None = None) -> Value:
    """Compiles every string in `value`; raises LanguageError with the path of each that is wrong.

    `guard` sees what each template gives, and nothing of what is constant: it tells data from the author's own words.
    """
    _check_count(value, path)
    return _compile_value(value, roots, path, guard)


def _check_count(value: object, path: str) -> None:
    """Of the values, not of the characters in them."""
    left, count = [value], 0
    while left and count <= limits.VALUES:
        each = left.pop()
        count += 1
        if isinstance(each, dict):
            left.extend(cast(dict[str, object], each).values())
        elif isinstance(each, list | tuple):
            left.extend(cast(Sequence[object], each))
    if left:
        raise LanguageError(path, f"more than {limits.VALUES} values, those that are named again and again included")


def _compile_value(value: object, roots: frozenset[str], path: str, guard: Guard | None) -> Value:
    if isinstance(value, str):
        template = compile_template(value, roots=roots, path=path)
        render = template.render
        if guard is not None and not template.constant:
            return Value(lambda scope: guard(render(scope), path), False)
        return Value(render, template.constant)
    if isinstance(value, dict):
        named = cast(dict[str, object], value)
        fields = all_made(partial(_compile_value, each, roots, f"{path}.{name}", guard) for name, each in named.items())
        if any(not field.constant for field in fields):
            renders = [(name, field.render) for name, field in zip(named, fields, strict=True)]
            return Value(_together(lambda scope: {name: render(scope) for name, render in renders}), False)
    elif isinstance(value, list | tuple):
        sequence = enumerate(cast(Sequence[object], value))
        items = all_made(partial(_compile_value, each, roots, f"{path}.{index}", guard) for index, each in sequence)
        if any(not item.constant for item in items):
            return Value(_together(lambda scope: [item.render(scope) for item in items]), False)
    constant: object = cast(object, value)
    return Value(lambda scope: constant, True)


def syntax(source: str, path: str) -> nodes.Template:
    """The syntax tree of a template; raises LanguageError where it cannot be parsed."""
    return _parse(source, path)


def _parse(source: str, path: str) -> nodes.Template:
    try:
        _check_brackets(source, path)
        return _PARSER.parse(source)
    except LanguageError:
        raise
    except TemplateSyntaxError as error:
        line = source.splitlines()[error.lineno - 1] if error.lineno <= source.count("\n") + 1 else ""
        column = max(max(line.rfind("{{"), line.rfind("{%")), 0) + 1
        raise LanguageError(path, _syntax_mistake(error.message or ""), error.lineno, column) from None
    except RecursionError:
        raise LanguageError(path, "nested too deeply") from None
    except (OverflowError, ValueError):
        raise LanguageError(path, "cannot be read: a number in it is too long") from None


_SYNTAX = (
    (r"innermost block that needs to be closed is '(\w+)'", "`{{% {0} %}}` is opened and not closed"),
    (r"unknown tag '(end\w+|else|elif)'", "`{{% {0} %}}` belongs to nothing that is open here"),
    (r"unknown tag '(\w+)'", "unknown statement `{0}`"),
    (r"^Expected an expression, got '(.*)'", "an expression is missing before `{0}`"),
    (r"^expected token '(}}|%})', got '(.*)'", "expected an operator or `{0}`, found `{1}`"),
    (r"^expected token '(.*)', got '(.*)'", "expected `{0}`, found `{1}`"),
    (r"(?i)^unexpected '?end of template", "the template ends too early; is a `}}}}` missing?"),
    (r"^unexpected char (?:'(.)'|\"(.)\")", "`{0}{1}` has no meaning here; a quote may be opened and not closed"),
    (r"^unexpected '(.)', expected '(.)'", "expected `{1}`, found `{0}`"),
    (r"^unexpected '(.*)'", "`{0}` cannot stand here"),
    (r"^Missing end of comment", "`{{#` is opened and not closed"),
    (r"^Missing end of raw", "`{{% raw %}}` is opened and not closed"),
)  # fmt: skip
"""Jinja's complaints, and ours."""


def _syntax_mistake(message: str) -> str:
    message = message.replace("end of print statement", "}}").replace("end of statement block", "%}")
    for pattern, ours in _SYNTAX:
        found = re.search(pattern, message)
        if found is not None:
            return ours.format(*(each or "" for each in found.groups()))
    return f"no template: {message}"


def _check_brackets(source: str, path: str) -> None:
    depth = 0
    for line, token, value in _PARSER.lex(source):
        if token != "operator":
            continue
        depth += (value in _OPENING) - (value in _CLOSING)
        if depth > limits.BRACKETS:
            raise LanguageError(path, f"brackets are nested deeper than {limits.BRACKETS}", line)


_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
