"""The rows of the table, and how a delta is added to each. No I/O.

A row says up to which offset of its partition of the stats topic it counts. What is delivered again is below that and
is skipped, so that nothing counts twice, whatever Kafka's clients make of offsets and restarts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from headrace.contracts.runs import RunStatus
from headrace.contracts.stats import Delta

MINUTE, HOUR = 60, 3_600

KEPT: Mapping[int, int] = {MINUTE: 60, HOUR: 24}
"""Windows by their seconds, and how many of them an automation has at the most: 84 rows of some 500 bytes."""


class Window(NamedTuple):
    """Seconds since 1970 at which it begins, and how many it takes."""

    start: int
    width: int

    @property
    def is_kept_until(self) -> int:
        """From then on no query asks for it."""
        return self.start + self.width * KEPT[self.width]


def windows_at(second: float) -> list[Window]:
    """The windows of a moment, one of each width."""
    return [Window(int(second) // width * width, width) for width in KEPT]


def key_of(automation: str, kind: Window | str) -> bytes:
    """`60/1385000040/app/name`, `total/app/name`, `failures/app/name`: as on the topic."""
    prefix = f"{kind.width}/{kind.start}" if isinstance(kind, Window) else kind
    return f"{prefix}/{automation}".encode()


TOTAL, FAILURES = "total", "failures"


def parse_key(key: bytes) -> tuple[str, Window | str]:
    """(automation, kind) of a row's key."""
    kind, _, rest = key.decode().partition("/")
    if kind in (TOTAL, FAILURES):
        return rest, kind
    start, _, automation = rest.partition("/")
    return automation, Window(int(start), int(kind))


@dataclass(slots=True)
class Counts:
    """Runs that ended, by final status, with their durations; `last_at` is the latest delta's time in seconds."""

    offset: int = -1
    last_at: float = 0.0
    ended: dict[RunStatus, int] = field(default_factory=dict)
    durations: dict[int, int] = field(default_factory=dict)

    def add(self, offset: int, delta: Delta) -> bool:
        """Counts the delta that stands at `offset`; False, and nothing is changed, if it counts already."""
        if offset <= self.offset:
            return False
        self.offset = offset
        self.merge(delta["ended"], delta["durations"], delta["time"].timestamp())
        return True

    def merge(self, ended: Mapping[RunStatus, int], durations: Mapping[int, int], last_at: float) -> None:
        """Adds other runs."""
        for status, count in ended.items():
            self.ended[status] = self.ended.get(status, 0) + count
        for bucket, count in durations.items():
            self.durations[bucket] = self.durations.get(bucket, 0) + count
        self.last_at = max(self.last_at, last_at)

    def encode(self) -> bytes:
        """The row as it stands on the topic."""
        return orjson.dumps([self.offset, self.last_at, self.ended, self.durations], option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, value: bytes | None) -> "Counts":
        """A row; an empty one for none."""
        if value is None:
            return cls()
        offset, last_at, ended, durations = orjson.loads(value)
        return cls(offset, last_at, ended, {int(bucket): count for bucket, count in durations.items()})


def summed(rows: Iterable[Counts]) -> Counts:
    """All of them together."""
    total = Counts()
    for row in rows:
        total.merge(row.ended, row.durations, row.last_at)
    return total


class Failures(NamedTuple):
    """How many runs of a cron have failed in a row, since revision `revision` of its automation went live."""

    offset: int = -1
    revision: int = 0
    in_a_row: int = 0

    def encode(self) -> bytes:
        """The row as it stands on the topic."""
        return orjson.dumps([*self])

    @classmethod
    def decode(cls, value: bytes | None) -> "Failures":
        """A row; an empty one for none."""
        return cls() if value is None else cls(*orjson.loads(value))
