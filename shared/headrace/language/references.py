"""What a template or condition refers to, found in its syntax tree without evaluating it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from jinja2 import nodes

from headrace.language.conditions import Source, compile_condition
from headrace.language.errors import LanguageError, TemplateError
from headrace.language.scope import RUN_ROOTS, Scope
from headrace.language.templates import syntax

Reference = tuple[str, ...]
"""A path into the run's data, its root first: `("steps", "page", "status")`; it ends where it is not constant."""

_PURE_FUNCTIONS = frozenset(("range",))
"""Functions that give the same in every run."""


def references(source: str) -> Sequence[Reference]:
    """The paths that a template names, in the order they stand; none for text without templates.

    A name that the template itself sets anywhere is no reference. Raises LanguageError where it cannot be parsed.
    """
    if "{" not in source:
        return ()
    tree = syntax(source, "")
    local = _set_in(tree)
    return [each for each in _found(tree) if each[0] not in local]


def names_set(source: str) -> frozenset[str]:
    """The names that a template itself sets, of which `references` says nothing. Raises LanguageError."""
    return _set_in(syntax(source, "")) if "{" in source else frozenset()


def _set_in(tree: nodes.Template) -> frozenset[str]:
    return frozenset(name.name for name in tree.find_all(nodes.Name) if name.ctx != "load")


def constant_truth(source: Source) -> bool | None:
    """Whether a condition holds, if it is the same in every run; else None. Raises LanguageError."""
    if not _is_free(source):
        return None
    try:
        return compile_condition(source, roots=RUN_ROOTS, path="").holds(_NOWHERE)
    except TemplateError:
        return None


_NOWHERE = Scope({}, "", datetime.fromtimestamp(0, UTC))


def _is_free(source: object) -> bool:
    if isinstance(source, str):
        try:
            tree = syntax(source, "")
        except LanguageError:
            return False
        local = _set_in(tree)
        return all(name.name in local or name.name in _PURE_FUNCTIONS for name in tree.find_all(nodes.Name))
    if isinstance(source, Mapping):
        found = cast(Mapping[str, object], source)
        return "field" not in found and all(map(_is_free, found.values()))
    if isinstance(source, list | tuple):
        return all(map(_is_free, cast(Sequence[object], source)))
    return True


def _found(node: nodes.Node) -> Iterator[Reference]:
    if isinstance(node, nodes.For):
        # In its body, and nowhere else of it, `loop` is Jinja's.
        outside = (node.iter, *([] if node.test is None else [node.test]), *node.else_)
        yield from (each for part in outside for each in _found(part))
        yield from (each for part in node.body for each in _found(part) if each[0] != "loop")
        return
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        # A method's name is no part of the data.
        yield from _found(node.node.node)
        for child in (*node.args, *node.kwargs):
            yield from _found(child)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        for child in (*node.args, *node.kwargs):
            yield from _found(child)
    elif isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
        yield from _path(node)
    else:
        for child in node.iter_child_nodes():
            yield from _found(child)


def _path(node: nodes.Expr) -> Iterator[Reference]:
    parts: list[str] = []
    others: list[nodes.Node] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            parts.append(node.attr)
        elif isinstance(node.arg, nodes.Const):
            parts.append(str(node.arg.value))
        else:
            # What follows a computed name is somewhere, but not at a path.
            parts.clear()
            others.append(node.arg)
        node = node.node
    if isinstance(node, nodes.Name):
        if node.ctx == "load":
            yield (node.name, *reversed(parts))
    else:
        yield from _found(node)
    for other in others:
        yield from _found(other)
