"""What starting a stack may end with."""

from pathlib import Path


class StackError(Exception):
    """A part of the stack could not start or died; the message says which, why, and the way out."""


def died(name: str, log: Path, why: str) -> StackError:
    """A StackError with the end of the part's log, and where the rest is."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    except FileNotFoundError:
        lines = []
    tail = "".join(f"\n  {line[:300]}" for line in lines)
    return StackError(f"{name} {why}; its log is {log}{':' if tail else ' (empty)'}{tail}")


_TAIL_LINES = 12
"""Enough for a Java exception's head; the whole log is named beside it."""
