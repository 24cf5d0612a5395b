"""A Debezium connector's record to the change of a row that it tells of.

Sources: Debezium 3 documentation, "Connectors" (PostgreSQL, MySQL, MongoDB), chapters "Data change events", "Data type
mappings", "Transaction metadata", "Schema change topic" and "Heartbeat".
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import orjson

from headrace.contracts import limits
from headrace.contracts.bodies import read_body
from headrace.contracts.cloudevents import is_name
from headrace.contracts.errors import ContractError
from headrace.contracts.rows import RowChange, RowSource
from headrace.sources.connect_types import plain_values
from headrace.sources.extended_json import plain_json

Object = Mapping[str, object]

UNAVAILABLE = "__debezium_unavailable_value"
"""In the place of a large Postgres value (TOAST) that the change did not touch: the database did not log it."""

_HEARTBEAT = frozenset(("ts_ms", "ts_us", "ts_ns"))


class Passed(NamedTuple):
    """A record that is no event, and what it is."""

    kind: str


class Change(NamedTuple):
    """`changed` names the columns where the connector does; None: the images tell. `ts_ms` is None where it is not
    told."""

    change: RowChange
    row_id: str
    changed: tuple[str, ...] | None
    ts_ms: object


def read_change(key: object, value: object, table: str | None) -> Change | Passed:
    """The change in a record's parsed key and value; `table` names it in place of the record. Raises ContractError."""
    payload = _payload(value)
    if payload is None:
        return Passed("tombstone")
    if not isinstance(payload, dict):
        raise ContractError("bad_shape", "Debezium's envelope: expected an object")
    envelope = cast("dict[str, object]", payload)
    if (kind := _other(envelope)) is not None:
        return Passed(kind)
    op, source = envelope.get("op"), envelope.get("source")
    if op not in ("c", "u", "d", "r") or not isinstance(source, dict):
        raise ContractError(
            "bad_shape",
            "Debezium's envelope: expected `op` (c, u, d, r, t, m), `before`, `after` and `source`. Records that a "
            "transformation flattened are read with the format of their encoding, as json",
        )
    origin = cast("Object", source)
    named = table or _table(origin)
    identity = _payload(key)
    columns = cast("dict[str, object]", identity) if isinstance(identity, dict) else {}
    read = _read_document if "collection" in origin else _read_row
    before, after, changed = read(envelope, columns)
    if op == "d" and before is None:
        before = columns or None  # without images the key is all that is known of a row that is gone
    if (before if op == "d" else after) is None:
        raise ContractError("no_image", _NO_IMAGE[op == "d"])
    found = RowChange(
        op=cast("object", op),  # pyright: ignore[reportArgumentType] - one of the four
        before=before if op in ("u", "d") else None,
        after=None if op == "d" else after,
        source=RowSource(table=named),
    )
    ts_ms = origin.get("ts_ms") or envelope.get("ts_ms")
    row_id = _row_id(columns if isinstance(identity, dict) else identity, after or before or {})
    return Change(found, row_id, changed if op == "u" else None, ts_ms)


_NO_IMAGE = {
    True: "Debezium's envelope: a deletion needs `before`, or a key that is an object",
    False: "Debezium's envelope: the row's `after` is missing, so that no automation could look at it. MongoDB's "
    "connector gives it with capture.mode=change_streams_update_full, except of documents that are gone meanwhile",
}


def _other(envelope: Object) -> str | None:
    """What a record is that tells of no row."""
    op = envelope.get("op")
    if op == "t":
        return "truncate"
    if op == "m":
        return "message"
    if op is not None:
        return None
    if "ddl" in envelope or "tableChanges" in envelope:
        return "schema_change"
    if envelope.get("status") in ("BEGIN", "END") and "id" in envelope:
        return "transaction"
    return "heartbeat" if envelope and envelope.keys() <= _HEARTBEAT else None


def _payload(value: object) -> object:
    """Without the schema part, whose types make plain values of Connect's."""
    if not isinstance(value, dict):
        return value
    found = cast("Object", value)
    if set(found) != {"schema", "payload"}:
        return found
    return plain_values(found["schema"], found["payload"])


def _table(origin: Object) -> str:
    named = origin.get("collection") or origin.get("table")
    if not isinstance(named, str) or not is_name(named):
        raise ContractError(
            "bad_table",
            "Debezium's envelope: the table in `source` is no name of a-z, 0-9, '_' and '-': the sources file names "
            "another as `table`",
        )
    return named


_Images = tuple[dict[str, object] | None, dict[str, object] | None, tuple[str, ...] | None]


def _read_row(envelope: Object, _key: Object) -> _Images:
    before, after = _image(envelope.get("before"), "before"), _image(envelope.get("after"), "after")
    for name in [name for name, value in (after or {}).items() if value == UNAVAILABLE]:
        known = (before or {}).get(name, UNAVAILABLE)
        if known == UNAVAILABLE:
            # Neither value is known, but that they are the same.
            _ = (after or {}).pop(name), (before or {}).pop(name, None)
        elif after is not None:
            after[name] = known
    return before, after, None


def _read_document(envelope: Object, key: Object) -> _Images:
    before, after = _document(envelope.get("before"), "before"), _document(envelope.get("after"), "after")
    if before is None and "id" in key:
        identity = _text_document(key["id"])
        before = {"_id": identity} if envelope.get("op") == "d" else None
    update = envelope.get("updateDescription")
    if before is not None or not isinstance(update, dict):
        return before, after, None
    told = cast("Object", update)
    updated = _document(told.get("updatedFields"), "updateDescription.updatedFields") or {}
    removed, cut = told.get("removedFields"), told.get("truncatedArrays")
    fields = [
        *updated,
        *(str(name) for name in cast("list[object]", removed or []) if isinstance(removed, list)),
        *(
            str(cast("Object", each).get("field", ""))
            for each in cast("list[object]", cut or [])
            if isinstance(cut, list) and isinstance(each, dict)
        ),
    ]
    return before, after, tuple(sorted({name.partition(".")[0] for name in fields}))


def _image(value: object, what: str) -> dict[str, object] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ContractError("bad_shape", f"Debezium's envelope: {what}: expected an object")
    return {**cast("dict[str, object]", value)}


def _document(value: object, what: str) -> dict[str, object] | None:
    """MongoDB's images are text: extended JSON."""
    if value is None:
        return None
    found = _text_document(value)
    if not isinstance(found, dict):
        raise ContractError("bad_shape", f"Debezium's envelope: {what}: expected extended JSON in a text")
    return cast("dict[str, object]", found)


def _text_document(value: object) -> object:
    if not isinstance(value, str):
        return plain_json(value)
    try:
        return plain_json(read_body(value.encode(errors="replace"), limits.RECORD, "document"))
    except ContractError as error:
        if error.type != "not_json":
            raise
        return value


def _row_id(key: object, row: Object) -> str:
    """The key's values, with slashes between; of a record without a key the row's own `_id` or `id`."""
    if isinstance(key, dict):
        parts = [_text_document(value) if name == "id" else value for name, value in cast("Object", key).items()]
        return "/".join(_text(part) for part in parts)
    if key is not None:
        return _text(key)
    return _text(row.get("_id", row.get("id", "")))


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value, default=str).decode()
