"""The methods of texts and times that templates may call."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from headrace.language import limits
from headrace.language.errors import Misuse
from headrace.language.scope import Scope
from headrace.language.signatures import Function, Signature


def _on_text(convert: Callable[[str], object]) -> Function:
    def apply(scope: Scope, value: str) -> object:
        return convert(value)

    return apply


def _on_time(convert: Callable[[datetime], object]) -> Function:
    def apply(scope: Scope, value: datetime) -> object:
        return convert(value)

    return apply


def _stripped(strip: Callable[[str, str | None], str]) -> Function:
    def apply(scope: Scope, value: str, chars: str | None = None) -> object:
        return strip(value, chars)

    return apply


def _split(scope: Scope, value: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    if sep == "":
        raise Misuse("`sep` is not empty")
    found = value.split(sep, _near(maxsplit))
    scope.make(len(found))
    return found


def _sought(seek: Callable[[str, str, int | None, int | None], object]) -> Function:
    def apply(scope: Scope, value: str, sub: str, start: int | None = None, end: int | None = None) -> object:
        return seek(value, sub, start, end)

    return apply


def _near(number: int) -> int:
    """The number, as far as texts reach: Python refuses more digits than a machine's word has."""
    return max(-limits.TEXT, min(number, limits.TEXT))


def _isoformat(scope: Scope, value: datetime, sep: str = "T", timespec: str = "auto") -> str:
    if len(sep) != 1:
        raise Misuse("`sep` is one character")
    if timespec not in _TIMESPECS:
        raise Misuse(f"`timespec` is one of {', '.join(_TIMESPECS)}")
    return value.isoformat(sep, timespec)


_TIMESPECS = ("auto", "hours", "minutes", "seconds", "milliseconds", "microseconds")

METHODS: Mapping[str, Function] = {
    "capitalize": _on_text(str.capitalize),
    "count": _sought(str.count),
    "endswith": _sought(str.endswith),
    "find": _sought(str.find),
    "isalpha": _on_text(str.isalpha),
    "isdigit": _on_text(str.isdigit),
    "isoformat": _isoformat,
    "isoweekday": _on_time(datetime.isoweekday),
    "lower": _on_text(str.lower),
    "lstrip": _stripped(str.lstrip),
    "rstrip": _stripped(str.rstrip),
    "split": _split,
    "startswith": _sought(str.startswith),
    "strip": _stripped(str.strip),
    "timestamp": _on_time(datetime.timestamp),
    "title": _on_text(str.title),
    "upper": _on_text(str.upper),
    "weekday": _on_time(datetime.weekday),
}
_METHODS = {name: Signature(method) for name, method in METHODS.items()}


def call_method(scope: Scope, method: str, target: object, given: Sequence[object]) -> object:
    """`target.method(…)`: of texts and times, ISO text included; raises Misuse, TemplateError."""
    for each in (target, *given):
        scope.go_through(each)
    found = _METHODS[method].call(scope, (target, *given))
    return limits.bounded(found) if isinstance(found, str) else found
