"""What compilers of templates share: the place in the document, names, nesting, and errors that name them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import cast

from jinja2 import nodes

from headrace.language import limits
from headrace.language.errors import LanguageError
from headrace.language.scope import Scope

Evaluate = Callable[[Scope], object]

_MESSAGE = 300
"""Characters of a message: a name in it may be as long as a template."""


class Compiling(ABC):
    """One template that is compiled. `roots` are the names it may use, `path` its place in the document."""

    def __init__(self, roots: frozenset[str], path: str, source: str) -> None:
        self.roots = roots
        self._path = path
        self._lines = source.splitlines()
        self._depth = 0
        self.parts = 0
        """How many parts were compiled so far: what one evaluation of them takes, in units of work."""
        self.local_names: list[set[str]] = []

    @abstractmethod
    def expression(self, node: nodes.Expr) -> Evaluate:
        """The closure of an expression; raises LanguageError."""

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


_SHOWN = 100
"""Characters of a path in an error, and parts of it: it may be as long as a template."""


def shown(node: nodes.Expr) -> str:
    """The path that an expression is, as its author reads it; empty for what is none."""
    parts: list[str] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        parts.append(f".{node.attr}" if isinstance(node, nodes.Getattr) else f"[{_key(node.arg)}]")
        node = node.node
    if not isinstance(node, nodes.Name):
        return ""
    path = "".join((node.name, *reversed(parts)))
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def _key(node: nodes.Expr) -> str:
    value: object = node.value if isinstance(node, nodes.Const) else None
    if isinstance(value, str):
        return repr(value[:_SHOWN])
    return str(value) if type(value) is int and abs(value) < limits.PRINTABLE else "…"
