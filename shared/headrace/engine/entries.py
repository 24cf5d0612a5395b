"""A journal's entries and the documents that they are kept in: a large entry is kept in pieces."""

import re
from collections.abc import Iterator, Sequence

PIECE_BYTES = 8 << 20
"""Of an entry in one document. A run's steps may give more at once than the 16 MB that MongoDB takes."""

_HEAD = re.compile(rb"(\d+)/(\d+):")
"""`number/of:`, numbers from 1. An entry that is whole begins with a brace."""


def pieces(entry: bytes) -> Sequence[bytes]:
    """The entry as it is written: as it is, or in pieces."""
    if len(entry) <= PIECE_BYTES:
        return (entry,)
    parts = [entry[at : at + PIECE_BYTES] for at in range(0, len(entry), PIECE_BYTES)]
    return [b"%d/%d:%b" % (number, len(parts), part) for number, part in enumerate(parts, 1)]


def joined(written: Sequence[bytes]) -> Iterator[bytes]:
    """The entries in what was written. One whose last piece is missing was never written: its writer ended."""
    parts: list[bytes] = []
    for each in written:
        head = _HEAD.match(each)
        if head is None:
            yield each
            continue
        number, of = int(head[1]), int(head[2])
        parts = [*parts[: number - 1], each[head.end() :]]
        if number == of:
            yield b"".join(parts)
