"""Regular expressions in linear time: RE2; the standard library's can take exponential time on hostile input."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Protocol, cast

from headrace.language import limits

PATTERN_LENGTH = 500
"""Characters of a pattern."""


class _Pattern(Protocol):
    def search(self, text: str) -> object | None: ...
    def sub(self, new: str, text: str) -> str: ...


_re2 = import_module("re2")
_compile = cast(Callable[[str], _Pattern], _re2.compile)
_error = cast(type[Exception], _re2.error)


def regex_match(text: str, pattern: object) -> bool:
    """Whether `pattern` (RE2 syntax) is found anywhere in `text`; raises ValueError for a bad pattern."""
    return _compiled(pattern).search(text) is not None


def regex_replace(text: str, pattern: object, new: object) -> str:
    """`text` with every match replaced by `new`, in which `\\\\1` stands for a group; raises ValueError."""
    limits.bounded_product(len(str(new)), len(text) + 1)
    try:
        return limits.bounded(_compiled(pattern).sub(str(new), text))
    except (_error, IndexError) as error:
        raise ValueError(f"bad replacement: {error}") from None


def check_pattern(pattern: object) -> None:
    """Raises ValueError for a bad pattern."""
    _compiled(pattern)


@lru_cache(maxsize=1_000)
def _checked(pattern: str) -> _Pattern:
    try:
        return _compile(pattern)
    except _error as error:
        raise ValueError(f"bad pattern: {error}") from None


def _compiled(pattern: object) -> _Pattern:
    if not isinstance(pattern, str) or len(pattern) > PATTERN_LENGTH:
        raise ValueError(f"a pattern is a text of at most {PATTERN_LENGTH} characters")
    return _checked(pattern)
