"""Filters on texts."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from html import escape, unescape

from headrace.language import limits
from headrace.language.errors import Misuse
from headrace.language.filters.arguments import Filter, text_of
from headrace.language.kinds import TOO_LARGE, float_of, is_finite, number_of, whole_of
from headrace.language.regex import regex_match, regex_replace
from headrace.language.scope import Scope
from headrace.language.signatures import nth

SLUG_LENGTH = 2_000
"""Characters of a text that is made a slug: accents are put in order in the square of their number."""


def _on_text(convert: Callable[[str], str]) -> Filter:
    def apply(scope: Scope, value: object) -> str:
        return convert(text_of(scope, value))

    return apply


def _center(scope: Scope, value: object, width: int = 80) -> str:
    limits.bounded_product(1, width)
    return text_of(scope, value).center(width)


_SPECIFICATION = re.compile(r"%(?:%|[-+ 0#]{0,5}[0-9]{0,3}(?:\.[0-9]{1,2})?[sdifeEgGxXo])")


def _format(scope: Scope, value: object, *given: object) -> str:
    """printf's form, `'%.2f'|format(x)`; arguments by position."""
    template, left = text_of(scope, value), list(enumerate(given, 1))

    def filled(found: re.Match[str]) -> str:
        specification = found[0]
        if specification == "%%":
            return "%"
        if not left:
            raise Misuse("more places than arguments")
        place, argument = left.pop(0)
        if specification[-1] == "s":
            return specification % text_of(scope, argument)
        number = number_of(argument, nth(place))
        if not is_finite(number):
            raise Misuse(TOO_LARGE)
        if specification[-1] in "feEgG":
            return specification % float_of(number)
        whole = int(number)
        limits.bounded_bits(whole.bit_length())
        return specification % whole

    if "%" in _SPECIFICATION.sub("", template):
        raise Misuse("expected places such as %s, %d, %5.2f; %% is a percent sign")
    scope.work(template.count("%") * 4)
    filled_in = _SPECIFICATION.sub(filled, template)
    if left:
        raise Misuse("more arguments than places")
    return filled_in


def _indent(scope: Scope, value: object, width: object = 4, first: bool = False, blank: bool = False) -> str:
    pad = width if isinstance(width, str) else " " * min(whole_of(width, "width"), limits.TEXT)
    text = text_of(scope, value)
    lines = text.split("\n")
    limits.bounded_product(len(pad) + 1, len(lines))
    scope.work(len(lines))
    padded = [pad + line if (line or blank) and (number or first) else line for number, line in enumerate(lines)]
    return limits.joined(padded, "\n")


def _replace(scope: Scope, value: object, old: object, new: object, count: int | None = None) -> str:
    text, found, other = text_of(scope, value), text_of(scope, old), text_of(scope, new)
    limits.bounded_product(len(other), text.count(found) + 1)
    return text.replace(found, other, -1 if count is None else max(-1, min(count, len(text) + 1)))


def _slugify(scope: Scope, value: object) -> str:
    text = text_of(scope, value)
    if len(text) > SLUG_LENGTH:
        raise Misuse(f"a slug is made of at most {SLUG_LENGTH} characters")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "".join(character if character.isalnum() else " " for character in plain).split()
    return "-".join(words)


def _striptags(scope: Scope, value: object) -> str:
    text = text_of(scope, value)
    scope.work(len(text))
    return " ".join(unescape("".join(_outside_tags(text))).split())


def _outside_tags(text: str) -> Iterator[str]:
    position = 0
    comments = True
    while (start := text.find("<", position)) >= 0:
        end = text.find("-->", start + 4) + 3 if comments and text.startswith("<!--", start) else 0
        if end == 2:
            comments, end = False, 0  # none ends any more: not looked for again, so that the search stays linear
        end = end or text.find(">", start) + 1
        if not end:
            break
        yield text[position:start]
        position = end
    yield text[position:]


_WORD_BEGINS = re.compile(r"([-\s({\[<]+)")


def _title(scope: Scope, value: object) -> str:
    text = text_of(scope, value)
    scope.work(len(text))
    return "".join(part[:1].upper() + part[1:].lower() for part in _WORD_BEGINS.split(text))


def _trim(scope: Scope, value: object, chars: str | None = None) -> str:
    return text_of(scope, value).strip(chars)


def _truncate(
    scope: Scope, value: object, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5
) -> str:
    text, room = text_of(scope, value), length - len(end)
    if room < 0 or leeway < 0:
        raise Misuse("`length` is at least that of `end`, `leeway` at least 0")
    if len(text) <= length + leeway:
        return text
    kept = text[:room]
    return (kept if killwords else kept.rsplit(" ", 1)[0]) + end


def _wordwrap(
    scope: Scope, value: object, width: int = 79, break_long_words: bool = True, wrapstring: str | None = None
) -> str:
    if width < 1:
        raise Misuse("`width` is at least 1")
    text = text_of(scope, value)
    scope.work(len(text))
    lines = [line for paragraph in text.splitlines() for line in _wrapped(paragraph, width, break_long_words)]
    return limits.joined(lines, "\n" if wrapstring is None else text_of(scope, wrapstring))


def _wrapped(paragraph: str, width: int, break_long_words: bool) -> list[str]:
    lines, line, length = list[str](), list[str](), 0
    for word in paragraph.split():
        starts = range(0, len(word), width if break_long_words else len(word))
        for piece in (word[start : start + width] if break_long_words else word for start in starts):
            if line and length + 1 + len(piece) > width:
                lines.append(" ".join(line))
                line, length = [], 0
            length += len(piece) + (1 if line else 0)
            line.append(piece)
    return [*lines, " ".join(line)]


def _matches(scope: Scope, value: object, pattern: str) -> bool:
    return regex_match(text_of(scope, value), pattern, scope.work)


def _substituted(scope: Scope, value: object, pattern: str, new: object) -> str:
    return regex_replace(text_of(scope, value), pattern, text_of(scope, new), scope.work)


def _wordcount(scope: Scope, value: object) -> int:
    return len(text_of(scope, value).split())


_escape = _on_text(escape)

TEXTS: Mapping[str, Filter] = {
    "capitalize": _on_text(str.capitalize),
    "center": _center,
    "e": _escape,
    "escape": _escape,
    "forceescape": _escape,
    "format": _format,
    "indent": _indent,
    "lower": _on_text(str.lower),
    "regex_match": _matches,
    "regex_replace": _substituted,
    "replace": _replace,
    "safe": _on_text(str),
    "slugify": _slugify,
    "string": _on_text(str),
    "striptags": _striptags,
    "title": _title,
    "trim": _trim,
    "truncate": _truncate,
    "upper": _on_text(str.upper),
    "wordcount": _wordcount,
    "wordwrap": _wordwrap,
}
