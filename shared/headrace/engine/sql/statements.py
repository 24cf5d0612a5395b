"""What a statement is, as far as its words tell: judged so that a doubt makes it one that writes."""

import re

_EXECUTED = re.compile(r"/\*M?!")
"""What looks like a comment and is none to MySQL or MariaDB."""

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.S)
_READS = frozenset(("select", "with", "show", "values", "table", "describe", "desc"))
_WRITES = frozenset(
    ("insert", "update", "delete", "merge", "into", "replace", "share", "lock", "call", "execute", "truncate")
)
"""Words that make a SELECT or WITH one that writes or locks. In a text or a name they are harmless, and a doubt."""


def reads(statement: str) -> bool:
    """Whether `statement` is one SELECT, WITH … SELECT, VALUES, TABLE, SHOW or DESCRIBE.

    A function it calls may write all the same: the database refuses that, because such statements run in a read-only
    transaction.
    """
    bare = _bare(statement)
    # What begins a comment inside of a text would hide what follows it.
    if "/*" in bare or (bare != statement.strip().rstrip(";") and "'" in statement):
        return False
    return is_query(statement) and _WRITES.isdisjoint(re.findall(r"[a-z_]+", bare.lower()))


def is_query(statement: str) -> bool:
    """Whether `statement` is one of these by its first word, whatever it does beside."""
    if ";" in (bare := _bare(statement)) or _EXECUTED.search(statement):
        return False
    first = re.match(r"[\s(]*([a-z_]+)", bare.lower())
    return first is not None and first[1] in _READS


def _bare(statement: str) -> str:
    """Without comments, and the semicolons at its end."""
    return _COMMENT.sub(" ", statement).strip().rstrip(";")
