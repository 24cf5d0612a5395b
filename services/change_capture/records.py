"""A change of a row to its event on the topic of rows, or to the dead letter that names the row."""

from collections.abc import Callable

import orjson
from prometheus_client import Counter

from headrace.contracts import limits
from headrace.contracts.cloudevents import ROW_TYPES, Event, event_headers
from headrace.contracts.positions import write_position
from headrace.contracts.rows import row_key
from headrace.contracts.topics import ROWS
from headrace.engine.plain import plain_leaf
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.storage import Change
from headrace.streams import Outgoing, Record
from headrace.streams.records import Partition
from headrace.streams.source import Item

EVENT_SOURCE = "headrace/change_capture"
"""`ce_source` of all its events."""

CHANGES = Counter("headrace_capture_changes_total", "Changes of rows read, by what they became", ["op"])


class ChangeRecords:
    """Makes the records of changes. `shard` is the partition that stands for what is read."""

    def __init__(self, settings: Settings, shard: Partition, dead_letter: DeadLetterWriter) -> None:
        self._rows = ROWS.full_name(settings.prefix)
        self._shard = shard
        self._dead_letter = dead_letter

    def __call__(self, change: Change) -> Item:
        """The change's event; a dead letter where no record can carry it."""
        key = row_key(change.app, change.table, change.row_id)
        stands_for = self._stands_for(change, key)
        return Item(stands_for, [self._outgoing(change, key, stands_for)], write_position(change.position))

    def _outgoing(self, change: Change, key: str, stands_for: Record) -> Outgoing:
        unfit: Callable[[str, str], Outgoing] = lambda type, why: self._unfit(change, stands_for, type, why)  # noqa: E731
        if change.unfit is not None:
            return unfit(change.unfit.type, change.unfit.message)
        if (size := len(key.encode())) > limits.ATTRIBUTE:
            return unfit("over_limit", f"its key app/table/id has {size} bytes; {limits.ATTRIBUTE} are accepted")
        try:
            value = orjson.dumps(_envelope(change), default=plain_leaf, option=orjson.OPT_UTC_Z)
        except orjson.JSONEncodeError as error:
            # It names the kind of value, and quotes none.
            return unfit("not_representable", f"its images cannot be written as JSON ({error})")
        if len(value) > limits.RECORD:
            return unfit("over_limit", f"its event has {len(value)} bytes; {limits.RECORD} are accepted")
        CHANGES.labels(change.op).inc()
        return Outgoing(self._rows, key.encode(), value, event_headers(_event(change)))

    def _unfit(self, change: Change, stands_for: Record, type: str, why: str) -> Outgoing:
        CHANGES.labels("unfit").inc()
        what = f"{ROW_TYPES[change.op]} of {change.app}/{change.table}/{change.row_id[:200]} at {change.stamp}"
        return self._dead_letter(stands_for, type, f"{what}: {why}; its row is in MongoDB as it was written")

    def _stands_for(self, change: Change, key: str) -> Record:
        headers = [("ce_app", change.app.encode())]
        milliseconds = int(change.time.timestamp() * 1000)
        return Record(*self._shard, change.stamp.number, milliseconds, key.encode(), None, headers)


def _event(change: Change) -> Event:
    author = change.author
    return Event(
        id=change.name,
        source=EVENT_SOURCE,
        type=ROW_TYPES[change.op],
        time=change.time,
        subject=f"{change.table}/{change.row_id}",
        app=change.app,
        replay="" if author is None else author.replay,
        traceparent="",
        chain=() if author is None else author.chain,
    )


def _envelope(change: Change) -> dict[str, object]:
    milliseconds = int(change.time.timestamp() * 1000)
    source: dict[str, object] = {
        "connector": "headrace",
        "db": change.app,
        "table": change.table,
        "ts_ms": milliseconds,
    }
    if change.author is not None:
        source["run"] = change.author.run_id
    return {
        "op": change.op,
        "before": change.before,
        "after": change.after,
        "source": source,
        "ts_ms": milliseconds,
    }
