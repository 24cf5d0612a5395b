"""What this process has counted and not written yet."""

from collections.abc import Callable, Mapping

from headrace.contracts.stats import Delta
from services.insights.rows import FAILURES, TOTAL, Counts, Failures, Window, key_of, windows_at
from services.insights.table import PartitionRows, Place


class Book:
    """Adds deltas to rows that are open: read from `partitions`, and handed back by `changes`, each once.

    So a row is written once for all deltas that came in between, not for each.
    """

    def __init__(self, partitions: Callable[[], Mapping[int, PartitionRows]]) -> None:
        self._partitions = partitions
        self._counts: dict[Place, Counts] = {}
        self._failures: dict[Place, Failures] = {}
        self._reached: dict[int, int] = {}

    def count(self, partition: int, offset: int, second: float, delta: Delta, now: float) -> bool:
        """Counts the delta that stands at `offset` of a partition of the stats topic since `second`; False if it is
        there again and counts already."""
        automation = f"{delta['app']}/{delta['automation']}"
        windows = [window for window in windows_at(second) if window.is_kept_until > now]
        is_new = False
        for kind in (*windows, TOTAL):
            place = partition, key_of(automation, kind)
            row = self._counts.get(place)
            if row is None:
                row = self._counts[place] = Counts.decode(self._written(place))
            is_new |= row.add(offset, delta)
        return is_new

    def failures(self, partition: int, automation: str) -> Failures:
        """The automation's row of failures."""
        place = partition, key_of(automation, FAILURES)
        return self._failures.get(place) or Failures.decode(self._written(place))

    def put_failures(self, partition: int, automation: str, row: Failures) -> None:
        """Puts another in its place."""
        self._failures[partition, key_of(automation, FAILURES)] = row

    def reach(self, partition: int, offset: int) -> None:
        """All of the partition before `offset` is counted."""
        self._reached[partition] = offset

    def changes(self, now: float) -> tuple[dict[Place, bytes | None], dict[int, int]]:
        """What is to be written, and how far each partition is once it is. Windows nobody asks for any more are taken
        away (None)."""
        changes: dict[Place, bytes | None] = dict.fromkeys(self._stale(now))
        changes.update((place, row.encode()) for place, row in self._counts.items())
        changes.update((place, row.encode()) for place, row in self._failures.items())
        reached = self._reached
        self._counts, self._failures, self._reached = {}, {}, {}
        return changes, reached

    def forget(self, partition: int) -> None:
        """What was counted there and not written yet is counted again by whoever has the partition next."""
        self._counts = {place: row for place, row in self._counts.items() if place[0] != partition}
        self._failures = {place: row for place, row in self._failures.items() if place[0] != partition}
        self._reached.pop(partition, None)

    @property
    def has_changes(self) -> bool:
        """Whether something was counted since the last `changes`."""
        return bool(self._reached)

    def _written(self, place: Place) -> bytes | None:
        partition, key = place
        rows = self._partitions().get(partition)
        return None if rows is None else rows.rows.get(key)

    def _stale(self, now: float) -> list[Place]:
        stale: list[Place] = []
        for partition, rows in self._partitions().items():
            gone: set[Window] = {window for window in rows.windows if window.is_kept_until <= now}
            rows.windows -= gone
            keys = [key_of(automation, window) for window in gone for automation in rows.automations]
            stale += [(partition, key) for key in keys if key in rows.rows]
        return stale
