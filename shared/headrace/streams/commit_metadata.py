"""The metadata text beside a committed offset: which transaction committed it, and what beyond it is still open.

`2` (the version), `c` or `d` (clean or dirty), `;`, the transaction's token, `;`, and the open offsets from the
committed one on: `r` and run lengths, or `b` and a bitset, whichever is shorter. By the token an unknown commit is
recognised: whoever reads it back knows that exactly that transaction happened. Where there is one, `;` and the owner's
note follow. The broker refuses more than 4,095 characters, and NUL [design §4].
"""

from itertools import count
from typing import NamedTuple
from uuid import uuid4

VERSION = "2"
MAX_LENGTH = 4_095
"""Characters of metadata that the broker takes (its offset.metadata.max.bytes, 4,096, exclusive)."""

MAX_SPAN = 24_000
"""Offsets from the committed one to the highest handed out. A bitset of it takes 4,000 characters, so that together
with version, token and marks (at most 50) it always fits."""

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PARTS = (3, 4)
"""Without and with a note."""

_MORE = 32
"""In a run length, the bit of a digit that says another follows: five bits a digit."""


class CommitPoint(NamedTuple):
    """How far a partition is: every offset below `end` is finished but those in `open`, which ascend from `offset`.

    `offset` is the one to commit: the lowest open one, or `end`. `clean` says that nothing of the partition was under
    way when its owner let go of it. `note` is what the owner keeps beside it: text without `;`.
    """

    offset: int
    end: int
    open: tuple[int, ...] = ()
    clean: bool = False
    note: str = ""


class Tokens:
    """Makes a token for each transaction, unlike any other process's or earlier one's."""

    def __init__(self) -> None:
        self._process = uuid4().hex
        self._count = count(1)

    def next(self) -> str:
        """The next transaction's token."""
        return f"{self._process}.{next(self._count)}"


def encode(point: CommitPoint, token: str) -> str:
    """The metadata text. Expects `point.end - point.offset` to be at most MAX_SPAN, a token without `;`, and a note
    only where nothing is open."""
    start = f"{VERSION}{'c' if point.clean else 'd'};{token};"
    if not point.open:
        return f"{start};{point.note}" if point.note else start
    runs, bits = _run_lengths(point), _bitset(point)
    return start + (f"r{runs}" if len(runs) <= len(bits) else f"b{bits}")


def decode(text: str, offset: int) -> CommitPoint | None:
    """What the text beside a committed `offset` says; None where it was written by something else."""
    parts = text.split(";")
    if len(parts) not in _PARTS or parts[0] not in (f"{VERSION}c", f"{VERSION}d"):
        return None
    clean, packed = parts[0] == f"{VERSION}c", parts[2]
    if not packed:
        return CommitPoint(offset, offset, (), clean, *parts[3:])
    if len(packed) < 2 or not set(packed[1:]) <= _VALUES.keys():
        return None
    unpack = {"r": _from_run_lengths, "b": _from_bitset}.get(packed[0])
    return None if unpack is None else unpack(packed[1:], offset, clean)


def token_of(text: str | None) -> str | None:
    """The token in a metadata text; None where it was written by something else."""
    parts = (text or "").split(";")
    return parts[1] if len(parts) in _PARTS and parts[0][:1] == VERSION else None


def _run_lengths(point: CommitPoint) -> str:
    """How many are open, then how many are finished, and so on, until `end`."""
    digits: list[str] = []
    begin = at = point.offset
    for offset in (*point.open, point.end):
        if offset > at:
            digits += _number(at - begin)
            digits += _number(offset - at)
            begin = offset
        at = offset + 1
    if begin < point.end:
        digits += _number(point.end - begin)
    return "".join(digits)


def _from_run_lengths(text: str, offset: int, clean: bool) -> CommitPoint | None:
    found: list[int] = []
    at, is_open, length, shift = offset, True, 0, 0
    for digit in text:
        value = _VALUES[digit]
        length |= (value & _MORE - 1) << shift
        shift += 5
        if at + length - offset > MAX_SPAN:
            return None  # not ours: it would be taken literally, however long it is
        if value & _MORE:
            continue
        if is_open:
            found += range(at, at + length)
        at, is_open, length, shift = at + length, not is_open, 0, 0
    return CommitPoint(offset, at, tuple(found), clean)


def _number(value: int) -> list[str]:
    digits: list[str] = []
    while value >= _MORE:
        digits.append(_DIGITS[value & _MORE - 1 | _MORE])
        value >>= 5
    return [*digits, _DIGITS[value]]


def _bitset(point: CommitPoint) -> str:
    """A digit that says how many bits at the end mean nothing, then six offsets a digit, a bit for each open one."""
    span = point.end - point.offset
    values = [0] * ((span + 5) // 6)
    for offset in point.open:
        at = offset - point.offset
        values[at // 6] |= 1 << at % 6
    return _DIGITS[6 * len(values) - span] + "".join(_DIGITS[value] for value in values)


def _from_bitset(text: str, offset: int, clean: bool) -> CommitPoint:
    found = [
        offset + 6 * place + bit
        for place, digit in enumerate(text[1:])
        for bit in range(6)
        if _VALUES[digit] >> bit & 1
    ]
    return CommitPoint(offset, offset + 6 * (len(text) - 1) - _VALUES[text[0]], tuple(found), clean)
