"""An event of MongoDB's change stream to the record that the matcher reads."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from bson import DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.cloudevents import Location, read_event
from headrace.contracts.deadletters import read_dead_letter
from headrace.contracts.positions import ChangePosition, Stamp, read_position, write_position
from headrace.contracts.rows import RowChange, read_row_change
from headrace.contracts.topics import DEAD_LETTERS, ROWS
from headrace.engine.rows import Author
from headrace.service import DeadLetterWriter
from headrace.settings import load_settings
from headrace.storage.changes import NO_IMAGES, read_change
from headrace.streams.source import Item
from services.change_capture.records import ChangeRecords

pytestmark = pytest.mark.unit

SETTINGS = load_settings(prefix="p", kafka_bootstrap_servers="nowhere:1", mongodb_uri="mongodb://nowhere")
RECORDS = ChangeRecords(SETTINGS, ("p.shards", 0), DeadLetterWriter("change_capture", SETTINGS))
PLACE = ChangePosition("82AB", Stamp(7, 1))
AT = datetime(2026, 11, 26, 16, 30, tzinfo=UTC)


def _event(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "_id": {"_data": "82AB"},
        "operationType": kind,
        "clusterTime": Timestamp(7, 1),
        "wallTime": AT,
        "ns": {"db": "p_rows", "coll": "desk.tickets"},
        "documentKey": {"_id": "1"},
        **more,
    }


def _item(event: dict[str, Any], author: Author | None = None) -> Item:
    change = read_change(event, PLACE, author)
    assert change is not None
    return RECORDS(change)


def _published(item: Item) -> RowChange:
    (made,) = item.outputs
    assert made.topic == ROWS.full_name("p")
    return read_row_change(made.value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda name: name != "_id")
ROWS_OF_JSON = st.dictionaries(NAMES, VALUES, max_size=5).map(lambda columns: {"_id": "1", **columns})


@given(ROWS_OF_JSON, ROWS_OF_JSON)
def test_the_matcher_reads_the_images_as_mongodb_told_them(before: dict[str, Any], after: dict[str, Any]) -> None:
    item = _item(_event("update", fullDocumentBeforeChange={**before, "_origin": "x"}, fullDocument=after))
    change = _published(item)
    hidden = {name: value for name, value in after.items() if name != "_origin"}
    assert (change.op, change.before, change.after) == ("u", before, hidden)
    assert read_position(item.position) == PLACE


def test_the_event_names_the_change_the_row_and_the_run_that_made_it() -> None:
    author = Author("run-1", ("desk/a", "desk/b"), "replay-1")
    item = _item(_event("delete", fullDocumentBeforeChange={"_id": "1"}), author)
    (made,) = item.outputs
    event = read_event(made.headers, Location("p.rows", 0, 0), 0)
    assert (event.type, event.app, event.subject, event.time) == ("row.deleted", "desk", "tickets/1", AT)
    assert (event.chain, event.replay) == (("desk/a", "desk/b"), "replay-1")
    assert event.id.startswith("7.1.")
    assert made.key == b"desk/tickets/1"
    assert orjson.loads(made.value or b"")["source"]["run"] == "run-1"
    # The same change read again is the same event.
    assert _item(_event("delete", fullDocumentBeforeChange={"_id": "1"}), author).outputs == item.outputs


def test_what_has_no_json_of_its_own_is_written_as_rows_are_elsewhere() -> None:
    row = {
        "_id": ObjectId("0123456789abcdef01234567"),
        "number": Int64(1 << 60),
        "money": Decimal128("1.10"),
        "ref": DBRef("t", 1),
        "odd": Regex("a"),
        "end": MaxKey(),
        "raw": b"abc",
    }
    item = _item(_event("insert", fullDocument=row, documentKey={"_id": row["_id"]}))
    assert _published(item).after == {
        "_id": "0123456789abcdef01234567",
        "number": 1 << 60,
        "money": "1.10",
        "ref": {"$ref": "t", "$id": 1},
        "odd": "(Regex)",
        "end": "(MaxKey)",
        "raw": "YWJj",
    }
    assert item.outputs[0].key == b"desk/tickets/0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (_event("update", bytes=20 << 20), "20971520 bytes"),
        (_event("insert", fullDocument={"_id": "1", "text": "x" * (9 << 20)}), "8388608 are accepted"),
        (_event("insert", documentKey={"_id": "i" * 2_000}, fullDocument={"_id": "1"}), "its key"),
    ],
    ids=["beyond MongoDB's limit", "beyond a record's", "too long an id"],
)
def test_a_change_that_no_record_carries_is_a_dead_letter_that_names_its_row(event: dict[str, Any], says: str) -> None:
    item = _item(event)
    (made,) = item.outputs
    assert made.topic == DEAD_LETTERS.full_name("p")
    letter = read_dead_letter(made.value)
    assert letter.reason.type == "over_limit"
    assert says in letter.reason.message
    assert (letter.value, letter.app, letter.source.topic) == (None, "desk", "p.shards")
    assert letter.source.offset == 7 << 32 | 1
    assert item.position == write_position(PLACE)


@pytest.mark.parametrize("kind", ["update", "replace", "delete"])
def test_a_change_without_images_is_known_for_one(kind: str) -> None:
    after = None if kind == "delete" else {"_id": "1"}
    change = read_change(_event(kind, fullDocument=after, fullDocumentBeforeChange=None), PLACE, None)
    assert change is not None
    assert change.unfit is not None
    assert change.unfit.type == NO_IMAGES


@pytest.mark.parametrize("name", ["notes", "system.views", "Desk.tickets", "desk.tickets.archive", "_authors"])
def test_a_collection_that_is_no_table_has_no_events(name: str) -> None:
    assert read_change(_event("insert", ns={"coll": name}, fullDocument={"_id": "1"}), PLACE, None) is None
