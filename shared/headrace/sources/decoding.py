"""A record of a topic that others write to the event that it is: one door for all formats."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from headrace.contracts import limits
from headrace.contracts.bodies import read_body
from headrace.contracts.cloudevents import REDRIVEN_HEADER, ROW_TYPES, Event, Location, read_event
from headrace.contracts.errors import ContractError
from headrace.contracts.reserved import RESERVED
from headrace.contracts.rows import RowChange, row_key
from headrace.sources.cloud import read_cloud_event
from headrace.sources.debezium import Passed, read_change
from headrace.sources.model import CloudEventsSource, DebeziumSource, Encoding, PlainSource, SourcesFile, encoding_of
from headrace.sources.plain import key_of, of_ms, row_of, safe_time, time_of, type_of
from headrace.streams import Record

DecodeEncoded = Callable[[Encoding, bytes], object]
"""(encoding, value) to what the schema registry's wire format holds; raises ContractError, and Unavailable while the
registry is away."""


class Decoded(NamedTuple):
    """An event, with its `data` or as the change of a row. `key` orders. `changed` names the columns that differ where
    something other than the images tells."""

    event: Event
    key: str
    data: object = None
    change: RowChange | None = None
    row_id: str = ""
    changed: tuple[str, ...] | None = None


class Sources:
    """The topics of a sources file, and what their records are.

    `replay_topic` is Headrace's own, where their records stand again: they say themselves from where they are.
    """

    def __init__(self, file: SourcesFile, decode: DecodeEncoded, replay_topic: str = "") -> None:
        self._file = file
        self._decode = decode
        self._replay_topic = replay_topic

    @property
    def topics(self) -> list[str]:
        """Names and patterns, as a consumer subscribes to them."""
        return [each.topic for each in self._file.sources]

    def begins_at_end(self, topic: str) -> bool:
        """Whether a partition of it of which nothing was ever read is begun with what comes."""
        source = self._file.of(topic)
        return source is not None and source.begin == "latest"

    def app_of(self, record: Record) -> str:
        """Whose a record is, "" of none; never raises."""
        try:
            source = self._file.of(self._place(record).topic)
        except ContractError:
            return ""
        return "" if source is None else source.app

    def read(self, record: Record) -> Decoded | Passed:
        """What a record is; raises ContractError, and Unavailable while a schema registry is away."""
        place = self._place(record)
        source = self._file.of(place.topic)
        if source is None:
            raise ContractError("no_source", f"no entry of the sources file has the topic {place.topic[:256]!r}")
        if len(record.value or b"") > limits.RECORD:
            raise ContractError(
                "over_limit", f"the record has {len(record.value or b'')} bytes; {limits.RECORD} are accepted"
            )
        match source:
            case CloudEventsSource():
                found = self._cloud_event(record, source.app, place)
            case DebeziumSource():
                found = self._row_change(record, source, place)
            case PlainSource():
                found = self._plain(record, source, place)
        return found if isinstance(found, Passed) else _checked(found)

    def _place(self, record: Record) -> Location:
        place = Location(record.topic, record.partition, record.offset)
        if record.topic != self._replay_topic:
            return place
        told = dict(record.headers).get(REDRIVEN_HEADER)
        if told is None:
            raise ContractError("bad_place", f"a record of {record.topic} needs the header {REDRIVEN_HEADER}")
        # Its only other reader is the one that names events by it.
        event = read_event([("ce_app", b"-"), (REDRIVEN_HEADER, told)], place, 0)
        partition, _, offset = event.id.partition("/")
        return Location(event.source.removeprefix("kafka:"), int(partition), int(offset))

    def _cloud_event(self, record: Record, app: str, place: Location) -> Decoded:
        ms = int(safe_time(record.timestamp_ms).timestamp() * 1_000)
        event, data = read_cloud_event(record.headers, record.value, app, place, ms)
        return Decoded(event, _key_text(record.key), data)

    def _row_change(self, record: Record, source: DebeziumSource, place: Location) -> Decoded | Passed:
        if record.value is None:
            return Passed("tombstone")
        encoding = encoding_of(source)
        value = self._value(record, encoding, limits.RECORD)
        found = read_change(self._key(record, encoding), value, source.table)
        if isinstance(found, Passed):
            return found
        table = found.change.source.table
        time = of_ms(found.ts_ms) or self._time(record)
        event = _event(record, place, ROW_TYPES[found.change.op], time, f"{table}/{found.row_id}", source.app)
        key = row_key(source.app, table, found.row_id)
        return Decoded(event, key, change=found.change, row_id=found.row_id, changed=found.changed)

    def _plain(self, record: Record, source: PlainSource, place: Location) -> Decoded | Passed:
        data = self._value(record, encoding_of(source), limits.EVENT_BODY)
        if data is None and source.table is None:
            return Passed("tombstone")
        key = _key_text(record.key) if data is None else key_of(source, data, _key_text(record.key))
        time = self._time(record) if data is None else time_of(source, data, self._time(record))
        if source.table is None:
            type = type_of(source, data)
            return Decoded(_event(record, place, type, time, "", source.app), key, data)
        change = row_of(source, data)
        event = _event(record, place, ROW_TYPES[change.op], time, f"{source.table}/{key}", source.app)
        return Decoded(event, row_key(source.app, source.table, key), change=change, row_id=key)

    def _value(self, record: Record, encoding: Encoding, most: int) -> object:
        if record.value is None or encoding == "json":
            return read_body(record.value, most)
        return self._decode(encoding, record.value)

    def _key(self, record: Record, encoding: Encoding) -> object:
        """What a key says: of the values' encoding, or JSON, or text."""
        if record.key is None:
            return None
        if encoding != "json" and record.key[:1] == b"\0":
            return self._decode(encoding, record.key)
        try:
            return read_body(record.key)
        except ContractError:
            return _key_text(record.key)

    def _time(self, record: Record) -> datetime:
        """When Kafka had it, which of a record that stands again its header tells."""
        told = dict(record.headers).get("ce_time") if record.topic == self._replay_topic else None
        if told is None:
            return safe_time(record.timestamp_ms)
        return read_event([("ce_app", b"-"), ("ce_time", told)], Location("", 0, 0), 0).time


def _event(record: Record, place: Location, type: str, time: datetime, subject: str, app: str) -> Event:
    trace = dict(record.headers).get("traceparent", b"")[: limits.ATTRIBUTE].decode(errors="replace")
    return Event(
        id=f"{place.partition}/{place.offset}",
        source=f"kafka:{place.topic}",
        type=type,
        time=time,
        subject=subject,
        app=app,
        replay="",
        traceparent=trace,
    )


def _checked(found: Decoded) -> Decoded:
    for what, text in (("key", found.key), ("type", found.event.type)):
        if (size := len(text.encode(errors="replace"))) > limits.ATTRIBUTE:
            raise ContractError("over_limit", f"the event's {what} has {size} bytes; {limits.ATTRIBUTE} are accepted")
    if found.event.type.startswith(RESERVED):
        raise ContractError(
            "reserved_type", f"types that begin with `{RESERVED}` are Headrace's own: no other topic tells them"
        )
    return found


def _key_text(key: bytes | None) -> str:
    return "" if key is None else key.decode(errors="backslashreplace")


def shown(found: Decoded | Passed) -> Mapping[str, object]:
    """For people: what a record would be."""
    if isinstance(found, Passed):
        return {"passed": found.kind}
    event = {name: value for name, value in found.event._asdict().items() if value}
    if found.change is None:
        return {"event": event, "key": found.key, "data": found.data}
    row = found.change
    changed = sorted(found.changed) if found.changed is not None else row.changed
    told = {"before": row.before, "after": row.after, "changed": changed, "id": found.row_id}
    return {"event": event, "key": found.key, "row": told}
