"""What starting a stack may end with."""

import os
import re
from pathlib import Path

_TAIL_LINES = 12
"""Enough for a Java exception's head; the whole log is named beside it."""

_TAIL_BYTES = 65_536
"""A log may be large; its last lines, with the cause of the end, are in here."""

_MONGOD_ERROR = re.compile(r'^\{"t":.{1,60}"s":"[EF]"')
"""One JSON object a line; severity E or F."""

_IN_USE = "Address already in use"
"""How Java, mongod and Python put it: the operating system's words."""


class StackError(Exception):
    """A part of the stack could not start or died; the message says which, why, and the way out."""


class PartDied(StackError):
    """A process of the stack ended by itself; `port_taken` says that it found its port in use."""

    def __init__(self, message: str, *, port_taken: bool) -> None:
        super().__init__(message)
        self.port_taken = port_taken


def died(name: str, log: Path, why: str) -> PartDied:
    """An error with the end of the part's log, and where the rest is."""
    lines = _end(log)
    # mongod ends with pages of how it shuts down; what it says of the cause is marked as an error.
    causes = [line for line in lines if _MONGOD_ERROR.search(line)]
    shown = "".join(f"\n  {line[:300]}" for line in (causes or lines)[-_TAIL_LINES:])
    message = f"{name} {why}; its log is {log}{':' if shown else ' (empty)'}{shown}"
    return PartDied(message, port_taken=any(_IN_USE in line for line in lines))


def _end(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
