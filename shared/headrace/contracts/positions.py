"""Where change capture is in MongoDB's changes, as text: it stands in the metadata of a Kafka offset.

The text has no NUL and no `;`, and at most MAX_LENGTH characters. It begins with the format and the kind:
`1c,START,TIME,THROUGH` is a place among the changes, `1s,TIME,TABLE,ROW` one in a snapshot of the rows.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

from headrace.contracts.errors import ContractError

MAX_LENGTH = 4_000
"""Characters: the broker takes 4,095 of metadata, and some stand around ours."""

_LONGEST = 3_800
"""Characters of a token or of a row's id as they are written: the rest takes fewer than a hundred."""

_MOST_NUMBER = (1 << 32) - 1


class Stamp(NamedTuple):
    """A time in MongoDB's oplog: seconds since 1970, and a number that tells apart what happened within one."""

    seconds: int
    increment: int

    def __str__(self) -> str:
        return f"{self.seconds}.{self.increment}"

    @property
    def time(self) -> datetime:
        """The second, in UTC."""
        return datetime.fromtimestamp(self.seconds, UTC)

    @property
    def number(self) -> int:
        """Both as one number of 64 bits, as MongoDB stores them."""
        return self.seconds << 32 | self.increment


@dataclass(frozen=True, slots=True)
class ChangePosition:
    """A place among the changes: behind the one at `time` whose token `digest` answers as `through`.

    `start` is where to begin reading to come there: a resume token (hex, behind its change) or a time (from it on).
    Without `through` nothing stands between the two. It does where the change is one of a transaction, which is read
    from its beginning, or where its own token is too long for metadata.
    """

    start: Stamp | str
    time: Stamp
    through: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotPosition:
    """A place in a snapshot of all rows: behind the row of `table` whose `_id` is in the BSON document `row`.

    Without `table` it has not begun. After it the changes go on from `time`.
    """

    time: Stamp
    table: str = ""
    row: bytes = b""


Position = ChangePosition | SnapshotPosition


def beginning_at(time: Stamp) -> ChangePosition:
    """All changes from `time` on."""
    return ChangePosition(time, time)


def digest(token: str) -> str:
    """Names a resume token in 32 characters."""
    return blake2b(token.encode(), digest_size=16).hexdigest()


def fits(token: str) -> bool:
    """Whether a resume token can be a position's start."""
    return len(token) * 2 // 3 + 4 <= _LONGEST and len(token) % 2 == 0 and _HEX.issuperset(token)


def row_fits(row: bytes) -> bool:
    """Whether a row's `_id` can be a snapshot's position."""
    return len(row) * 4 // 3 + 4 <= _LONGEST


def token_time(token: str) -> Stamp | None:
    """When the change of a resume token was made; None where the token does not say so.

    A token is a MongoDB KeyString, which begins with the type of a timestamp (0x82) and its 8 bytes.
    """
    if not token.startswith("82") or len(token) < 18 or not _HEX.issuperset(token[:18]):
        return None
    return Stamp(int(token[2:10], 16), int(token[10:18], 16))


def write_position(position: Position) -> str:
    """The text that `read_position` reads. Expects a start and a row that fit."""
    match position:
        case ChangePosition(start, time, through):
            begins = f"t{start}" if isinstance(start, Stamp) else f"k{_encoded(bytes.fromhex(start))}"
            return f"1c,{begins},{time},{through}"
        case SnapshotPosition(time, table, row):
            return f"1s,{time},{table},{_encoded(row)}"


def read_position(text: str) -> Position:
    """The position in a text; raises ContractError."""
    try:
        match text.split(","):
            case ["1c", start, time, through]:
                begins = _stamp(start[1:]) if start[:1] == "t" else _token(start)
                return ChangePosition(begins, _stamp(time), through)
            case ["1s", time, table, row]:
                return SnapshotPosition(_stamp(time), table, _decoded(row))
            case _:
                raise ValueError
    except (ValueError, Error):
        raise ContractError("bad_position", f"{text[:64]!r} is no position of change capture") from None


def read_stamp(text: str) -> Stamp:
    """The time in SECONDS.NUMBER, as `str` writes it; raises ContractError."""
    try:
        return _stamp(text)
    except ValueError:
        raise ContractError("bad_position", f"{text[:64]!r} is no time of the oplog") from None


def _stamp(text: str) -> Stamp:
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise ValueError
    stamp = Stamp(*map(int, parts))
    if max(stamp) > _MOST_NUMBER:
        raise ValueError
    return stamp


def _token(text: str) -> str:
    if text[:1] != "k":
        raise ValueError
    return _decoded(text[1:]).hex().upper()


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).decode()


def _decoded(text: str) -> bytes:
    return b64decode(text.encode("ascii"), b"-_", validate=True)


_HEX = frozenset("0123456789ABCDEF")
