"""The binds of a statement: `:name` where it stands in neither a text, a quoted name nor a comment."""

import re

_THEIRS = re.compile(r"(?<![:\w\\]):\w+(?![:\w])")
"""What SQLAlchemy takes for a bind, in texts and comments as well; a backslash before it says that it is none."""

_BIND = r"(?<![:\w\\]):(?P<bind>\w+)(?!\w)(?=::|(?!:))"
"""`::type` and `\\:name` are no binds; `:name::type` is one, which SQLAlchemy sees only with a space behind it."""

_TEXT = r"'(?:[^']|'')*(?:'|\Z)"
_ESCAPED_TEXT = r"'(?:[^'\\]|\\.|'')*(?:'|\Z)"
_NAME = r'"(?:[^"]|"")*(?:"|\Z)'
_DOLLARS = r"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"
_MYSQL_TEXT = r'"(?:[^"\\]|\\.|"")*(?:"|\Z)'
_MYSQL_NAME = r"`[^`]*(?:`|\Z)"
_COMMENT = r"/\*.*?(?:\*/|\Z)|--[^\n]*"
_MYSQL_COMMENT = r"/\*(?!M?!).*?(?:\*/|\Z)|--(?=\s|\Z)[^\n]*|#[^\n]*"
"""What begins with `/*!` or `/*M!` is executed."""

_STANDARD = re.compile(
    "|".join((rf"(?<!\w)[eE]{_ESCAPED_TEXT}", _TEXT, _NAME, _MYSQL_NAME, _DOLLARS, _COMMENT, _BIND)), re.S
)
"""PostgreSQL and SQLite: what only one of them knows means nothing else to the other."""

_MYSQL = re.compile("|".join((_ESCAPED_TEXT, _MYSQL_TEXT, _MYSQL_NAME, _MYSQL_COMMENT, _BIND)), re.S)


def binds(statement: str, *, mysql: bool) -> frozenset[str]:
    """The names of the binds in `statement`, as MySQL reads it or as others do."""
    return frozenset(found["bind"] for found in _parts(mysql).finditer(statement) if found["bind"])


def escaped(statement: str, *, mysql: bool) -> str:
    """`statement` so that SQLAlchemy takes the binds for binds, and nothing else."""

    def part(found: re.Match[str]) -> str:
        if not found["bind"]:
            return _THEIRS.sub(r"\\\g<0>", found[0])
        return found[0] + " " * statement.startswith(":", found.end())

    return _parts(mysql).sub(part, statement)


def _parts(mysql: bool) -> re.Pattern[str]:
    return _MYSQL if mysql else _STANDARD
