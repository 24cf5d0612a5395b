"""What is wrong with the text of a YAML or JSON file: where PyYAML and json stopped, why, and the way out."""

import re
from collections.abc import Sequence
from json import JSONDecodeError
from typing import NamedTuple

import yaml
from yaml.reader import ReaderError


class Place(NamedTuple):
    """A line and a column of a file, from 1."""

    line: int
    column: int


class Unreadable(ValueError):
    """The text holds no documents; the message says why and what to write instead, `place` where, if it is known."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def place_of(mark: yaml.Mark) -> Place:
    """PyYAML counts from 0."""
    return Place(mark.line + 1, mark.column + 1)


QUOTE_IT = 'a template that begins a value must be quoted: "{{ … }}"'

_IN_YAML = (
    (r"mapping values are not allowed",
     "a colon and a space begin a value, and none can begin here: quote text that holds them, or mend the indentation"),
    (r"character '\\t' that cannot", "a tab cannot indent; use spaces"),
    (r"character '(.)' that cannot", "text cannot begin with '{0}'; quote it"),
    (r"found undefined alias '(.*)'", "`*{0}` stands for `&{0}`, which is nowhere above; quote text that begins so"),
    (r"scanning an (?:alias|anchor)", "text that begins with `*` or `&` must be quoted"),
    (r"found duplicate anchor '(.*)'", "`&{0}` is there twice"),
    (r"block scalar", "after `|` or `>` the text begins on the next line; quote text that begins with them"),
    (r"unexpected end of stream|unexpected document separator", "a quote is opened and not closed"),
    (r"unknown escape character '(.*)'", "`\\{0}` is no escape; write `\\\\{0}`, or use single quotes"),
    (r"escape sequence of (\d+) hexadecimal", "an escape has {0} hexadecimal digits here"),
    (r"sequence entries are not allowed", "a list's `-` begins a line of its own"),
    (r"could not find expected ':'", "expected `name: value`, with a colon and a space after the name"),
    (r"expected ',' or '(.)'", "a comma or the closing `{0}` is missing, or a text that holds brackets has no quotes"),
    (r"expected <block end>.*'<scalar>'",
     "this follows a value that has ended: look at the indentation, and quote the whole of a text that holds quotes"),
    (r"expected <block end>", "this does not belong to the lines above; look at the indentation"),
    (r"expected the node content", "a value is missing, or a bracket is not closed"),
    (r"expected '<document start>'", "the document has ended above; begin another one with a line `---`"),
    (r"\b(?:tag|directive|URI)\b", "tags (`!`) and directives (`%`) have no meaning here; quote text that begins so"),
)  # fmt: skip
"""PyYAML's complaints (context and problem), and ours."""

_IN_JSON = (
    (r"Expecting property name", "expected a name in double quotes"),
    (r"Expecting '(.)' delimiter", "expected `{0}`"),
    (r"Expecting value", "expected a value"),
    (r"Illegal trailing comma", "the last item has no comma behind it"),
    (r"Extra data", "the document has ended before this; a JSON file holds one"),
    (r"Unterminated string", "a quote is opened and not closed"),
    (r"Invalid control character", "line breaks and tabs in a text are written as \\n and \\t"),
    (r"Invalid \\+u?escape|Invalid \\+uXXXX escape", "this is no escape; a backslash is written as \\\\"),
)


def of_yaml(error: yaml.YAMLError, text: str) -> Unreadable:
    """What PyYAML found wrong with `text`."""
    if isinstance(error, ReaderError):
        place = _place_at(text, error.position)
        code = f"{int(error.character):04X}"
        return Unreadable(f"the character U+{code} is not allowed; in double quotes write \\u{code} for it", place)
    if not isinstance(error, yaml.MarkedYAMLError):
        return Unreadable(f"not YAML: {error}")
    marks = [mark for mark in (error.problem_mark, error.context_mark) if mark is not None]
    for mark in marks:
        column = _bare_template(text, mark)
        if column is not None:
            return Unreadable(QUOTE_IT, Place(mark.line + 1, column + 1))
    problem = ", ".join(each for each in (error.context, error.problem) if each)
    # Of a quote that is not closed PyYAML's problem is the end of the file.
    mark = error.context_mark if "unexpected" in problem else next(iter(marks), None)
    told = _translated(problem, _IN_YAML) or f"not YAML: {problem}"
    return Unreadable(told, None if mark is None else place_of(mark))


def of_json(error: JSONDecodeError) -> Unreadable:
    """What json found wrong."""
    return Unreadable(_translated(error.msg, _IN_JSON) or f"not JSON: {error.msg}", Place(error.lineno, error.colno))


def of_bytes(error: UnicodeDecodeError) -> Unreadable:
    """Bytes that are no text."""
    before = error.object[: error.start]
    line = before.rpartition(b"\n")[2].decode(errors="replace")
    return Unreadable("this is no text in UTF-8; save the file so", Place(before.count(b"\n") + 1, len(line) + 1))


def of_escape(text: str) -> Unreadable:
    """An escape that names no character: PyYAML lets Python's own error out, without a place."""
    for found in re.finditer(r"\\U([0-9A-Fa-f]{8})", text):
        if int(found[1], 16) > 0x10FFFF:
            return Unreadable("this escape names no character; the last is \\U0010FFFF", _place_at(text, found.start()))
    return Unreadable("not YAML")


def _translated(problem: str, words: Sequence[tuple[str, str]]) -> str | None:
    for pattern, ours in words:
        found = re.search(pattern, problem)
        if found is not None:
            return ours.format(*found.groups())
    return None


_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*(?:\"|$)|'(?:[^']|'')*(?:'|$)")
"""Or opened and not closed."""


def _bare_template(text: str, mark: yaml.Mark) -> int | None:
    """The column of a template outside of quotes in the mark's line: the usual reason why it is no YAML."""
    # Lines as PyYAML counts them, not as str.splitlines does.
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)
    line = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), lines[mark.line]) if mark.line < len(lines) else ""
    found = re.search(r"\{[{%]", line)
    return None if found is None else found.start()


def _place_at(text: str, index: int) -> Place:
    before = text[:index]
    return Place(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
