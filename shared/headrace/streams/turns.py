"""One record's way through the concurrent shape, and what handlers may know of it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence

from headrace.streams.records import Outgoing, Partition, Record


class Turn:
    """A record that was read and is not committed yet.

    Handlers read `record`, `epoch` (the number of its partition's assignment to this process) and `hand_over`: once
    that is True its partition has waited too long for this record, and the handler should bring it to an end at the
    next moment it can, by an outcome that goes on later from another topic. They may set `tally`, which the stream's
    summary finds in the outcome.
    """

    __slots__ = (
        "began",
        "committed",
        "deaths",
        "epoch",
        "hand_over",
        "is_dropped",
        "is_marked",
        "is_settled",
        "is_suspect",
        "lane",
        "outputs",
        "record",
        "size",
        "tally",
        "task",
    )

    def __init__(self, record: Record, epoch: int) -> None:
        self.record = record
        self.epoch = epoch
        self.hand_over = False
        self.lane: Hashable = (record.partition, record.key) if record.key else self
        self.began: float | None = None
        self.outputs: Sequence[Outgoing] = ()
        self.tally: object = None
        self.size = len(record.value or b"") + len(record.key or b"")
        """Bytes that it holds in memory, about; what it made is added once that is known."""
        self.task: asyncio.Task[Sequence[Outgoing]] | None = None
        self.committed: asyncio.Event | None = None
        self.is_suspect = False
        self.is_marked = False
        self.deaths: int | None = None
        """A suspect that was one before: how often it was started alone and did not come to its end."""
        self.is_dropped = False
        self.is_settled = False

    @property
    def partition(self) -> Partition:
        """Where the record was read."""
        return self.record[:2]


Handler = Callable[[Record, Turn], Sequence[Outgoing] | Coroutine[object, object, Sequence[Outgoing]]]
"""One record in, what is to be produced for it out: at once, or by a coroutine where it has to wait.

Records of one partition number and key are handled one after the other, or as many at a time as `StreamConfig.width`
says, in the order in which they were read; all others side by side. It may be called again with the same record, so its
effects must be repeatable or fenced. It raises Unavailable when a platform part is away: the record is kept, and
handled again once that is back. Anything else it raises is a bug and makes the record a dead letter. A coroutine may be
cancelled at any await: then its partition has another owner by now, or the process ends, and its outcome counts for
nothing.
"""
