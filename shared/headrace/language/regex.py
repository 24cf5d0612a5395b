"""Regular expressions in linear time: RE2; the standard library's can take exponential time on hostile input.

Linear in the text, that is: a large pattern multiplies it, and a replacement may search the rest of the text once a
match. Hence each search says beforehand what it may take, to `spend`, which raises where that is too much.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Protocol, cast

from headrace.language import limits
from headrace.language.errors import Misuse
from headrace.language.kinds import HALF_A_CHARACTER, bytes_of

PATTERN_LENGTH = 500
"""Characters of a pattern."""

Spend = Callable[[int], None]
"""Takes units of work."""


class _Match(Protocol):
    def start(self) -> int: ...
    def end(self) -> int: ...
    def group(self, number: int | str) -> str | None: ...


class _Pattern(Protocol):
    @property
    def programsize(self) -> int: ...
    def search(self, text: str) -> _Match | None: ...
    def finditer(self, text: str) -> Iterator[_Match]: ...


class _Options(Protocol):
    log_errors: bool


class _Compile(Protocol):
    def __call__(self, pattern: str, options: _Options) -> _Pattern: ...


_re2 = import_module("re2")
_compile = cast(_Compile, _re2.compile)
_error = cast(type[Exception], _re2.error)
_options = cast(Callable[[], _Options], _re2.Options)()
_options.log_errors = False  # an author's mistake is the author's to read, not standard error's

_SMALL = 40
"""Instructions of a pattern that surely runs at RE2's full speed; a larger one may need more states than fit into its
memory, and then each instruction is tried at each character."""

_NEAR = re.compile(r"[^*+{]*|(?:\\[wWsSdD]|\[(?:\\.|[^\]\\])+\]|[\w ])[*+]", re.DOTALL)
"""Patterns that see no further than what they match, and one step: those that repeat nothing, or only one class.
Others, such as `a.*z|a`, may look through all the rest for each match."""

_MATCH = 60
"""Units of work of a match and what is put in its place."""

_FAST, _SLOW = 32, 32
"""Characters, or characters times instructions, that are searched in one unit of work: measured."""


def regex_match(text: str, pattern: object, spend: Spend) -> bool:
    """Whether `pattern` (RE2 syntax) is found anywhere in `text`; raises Misuse for a bad pattern."""
    found = compiled(pattern)
    spend(_cost(found, len(text)))
    try:
        return found.search(text) is not None
    except UnicodeEncodeError:
        raise Misuse(HALF_A_CHARACTER) from None


def regex_replace(text: str, pattern: object, new: str, spend: Spend) -> str:
    """`text` with every match replaced by `new`, in which `\\\\1` or `\\\\g<name>` stands for a group.

    Raises Misuse for a bad pattern or an unknown group.
    """
    limits.bounded_product(len(new), len(text) + 1)
    found, replacement = compiled(pattern), _replacement(new)
    looks_far = not _NEAR.fullmatch(str(pattern))
    parts: list[str] = []
    done = 0
    spend(_cost(found, len(text)))
    try:
        for match in found.finditer(text):
            parts.append(text[done : match.start()])
            parts.extend(_expanded(match, replacement))
            done = match.end()
            spend(_MATCH + len(replacement) + (_cost(found, len(text) - done) if looks_far else 0))
    except UnicodeEncodeError:
        raise Misuse(HALF_A_CHARACTER) from None
    return limits.joined([*parts, text[done:]])


def check_pattern(pattern: object) -> None:
    """Raises Misuse for a bad pattern."""
    compiled(pattern)


def compiled(pattern: object) -> _Pattern:
    """The pattern, compiled once; raises Misuse that says what is wrong with it."""
    if not isinstance(pattern, str) or len(pattern) > PATTERN_LENGTH:
        raise Misuse(f"a pattern is a text of at most {PATTERN_LENGTH} characters")
    bytes_of(pattern)  # RE2 takes nothing else
    return _checked(pattern)


# As many as RE2's own cache holds; each may take 8 MB.
@lru_cache(maxsize=128)
def _checked(pattern: str) -> _Pattern:
    try:
        return _compile(pattern, _options)
    except _error as error:
        said = cast(object, error.args[0])
        raise Misuse(f"bad pattern: {said.decode() if isinstance(said, bytes) else said}") from None


def _cost(pattern: _Pattern, length: int) -> int:
    size = pattern.programsize
    return length // _FAST if size <= _SMALL else length * size // _SLOW


_GROUP = re.compile(r"\\(?:(\d{1,2})|g<(\w{1,64})>|(\\))")


def _replacement(new: str) -> list[str | int | tuple[str]]:
    """Literal texts, numbers of groups, and names of groups in tuples."""
    parts: list[str | int | tuple[str]] = []
    done = 0
    for found in _GROUP.finditer(new):
        parts.append(new[done : found.start()])
        number, name = found[1], found[2]
        parts.append(int(number) if number else (name,) if name else "\\")
        done = found.end()
    return [part for part in (*parts, new[done:]) if part != ""]


def _expanded(match: _Match, replacement: list[str | int | tuple[str]]) -> list[str]:
    try:
        return [
            part if isinstance(part, str) else match.group(part if isinstance(part, int) else part[0]) or ""
            for part in replacement
        ]
    except IndexError:
        raise Misuse("bad replacement: the pattern has no such group") from None
