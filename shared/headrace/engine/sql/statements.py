"""What a statement is, as far as its words tell: judged so that a doubt makes it one that writes."""

import re

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.S)
_READS = frozenset(("select", "with", "show", "values", "table", "describe", "desc"))
_WRITES = frozenset(
    ("insert", "update", "delete", "merge", "into", "replace", "share", "lock", "call", "execute", "truncate")
)
"""Words that make a SELECT or WITH one that writes or locks. In a text or a name they are harmless, and a doubt."""

_BIND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""SQLAlchemy's own: `::type` and `\\:name` are no binds."""


def reads(statement: str) -> bool:
    """Whether `statement` is one SELECT, WITH … SELECT, VALUES, TABLE, SHOW or DESCRIBE.

    A function it calls may write all the same: the database refuses that, because such statements run in a read-only
    transaction.
    """
    bare = _COMMENT.sub(" ", statement).strip().rstrip(";")
    # What begins a comment inside of a text would hide what follows it.
    if ";" in bare or "/*" in bare or (bare != statement.strip().rstrip(";") and "'" in statement):
        return False
    words = re.findall(r"[a-z_]+", bare.lower())
    return bool(words) and words[0] in _READS and _WRITES.isdisjoint(words)


def binds(statement: str) -> frozenset[str]:
    """The names of the binds in `statement`."""
    return frozenset(_BIND.findall(statement))
