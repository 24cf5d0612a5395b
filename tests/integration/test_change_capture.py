"""Rows changed in MongoDB, by whomever, as events on the topic of rows."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
import pytest
from bson import Decimal128, Int64, ObjectId
from capture_support import await_records, bodies, event_of, foreign
from conftest import Installation

from headrace.contracts.topics import DEAD_LETTERS
from headrace.embedded import Supervisor
from headrace.settings import Settings
from headrace.streams.admin import read_topic

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]


@pytest.fixture
def capturing(topics: Settings, start_services: Start) -> Installation:
    """An installation of which only the capture runs."""
    return Installation(topics, start_services(topics, ["change_capture"]))


def test_every_change_of_a_row_becomes_one_event_with_its_images(capturing: Installation) -> None:
    settings = capturing.settings
    capturing.ask(lambda storage: storage.rows.create("airport", "flights", "7", {"delay": 5}, "a/0/step/0"))
    with foreign(settings) as database:
        flights = database["airport.flights"]
        flights.update_one({"_id": "7"}, {"$set": {"delay": 9}})
        flights.replace_one({"_id": "7"}, {"gate": "B2"})
        flights.delete_one({"_id": "7"})
    found = await_records(settings, 4)
    assert [record.key for record in found] == [b"airport/flights/7"] * 4
    events = [event_of(record) for record in found]
    assert [(event.type, change.op, change.before, change.after) for event, change in events] == [
        ("row.created", "c", None, {"_id": "7", "delay": 5}),
        ("row.updated", "u", {"_id": "7", "delay": 5}, {"_id": "7", "delay": 9}),
        ("row.updated", "u", {"_id": "7", "delay": 9}, {"_id": "7", "gate": "B2"}),
        ("row.deleted", "d", {"_id": "7", "gate": "B2"}, None),
    ]
    assert events[2][1].changed == ["delay", "gate"]
    assert {(event.app, event.subject, event.source) for event, _ in events} == {
        ("airport", "flights/7", "headrace/change_capture")
    }
    assert len({event.id for event, _ in events}) == 4
    assert all(change.source.table == "flights" and change.source.db == "airport" for _, change in events)


def test_what_other_programs_write_is_json_as_rows_are_elsewhere(capturing: Installation) -> None:
    settings = capturing.settings
    id = ObjectId()
    with foreign(settings) as database:
        table = database["shop.orders"]
        table.insert_one(
            {
                "_id": id,
                "at": datetime(2013, 1, 1, 0, 5, tzinfo=UTC),
                "total": Decimal128("9.50"),
                "big": Int64((1 << 62) + 1),
                "of": ObjectId("0123456789abcdef01234567"),
                "raw": b"abc",
            }
        )
        table.insert_one({"_id": 7, "n": 1})
    by_key = bodies(await_records(settings, 2))
    assert by_key[f"shop/orders/{id}"][0]["after"] == {
        "_id": str(id),
        "at": "2013-01-01T00:05:00Z",
        "total": "9.50",
        "big": (1 << 62) + 1,
        "of": "0123456789abcdef01234567",
        "raw": "YWJj",
    }
    assert by_key["shop/orders/7"][0]["after"] == {"_id": 7, "n": 1}


def test_a_table_made_by_another_program_has_images_as_soon_as_it_is_seen(capturing: Installation) -> None:
    settings = capturing.settings
    with foreign(settings) as database:
        table = database["shop.imported"]
        table.insert_one({"_id": "1", "n": 1})
        await_records(settings, 1)
        table.update_one({"_id": "1"}, {"$set": {"n": 2}})
        # Of the capture's own making, and of what is no table, there are no events.
        database["notes"].insert_one({"_id": "1"})
        table.delete_one({"_id": "1"})
    found = await_records(settings, 3)
    assert [body["op"] for body in bodies(found)["shop/imported/1"]] == ["c", "u", "d"]


def test_a_change_larger_than_a_record_is_a_dead_letter_by_key_and_the_next_one_is_an_event(
    capturing: Installation,
) -> None:
    settings = capturing.settings
    with foreign(settings) as database:
        database.create_collection("shop.large", changeStreamPreAndPostImages={"enabled": True})
        table = database["shop.large"]
        table.insert_one({"_id": "9mb", "text": "a" * (9 << 20)})
        table.update_one({"_id": "9mb"}, {"$set": {"text": "b" * (15 << 20)}})
        table.insert_one({"_id": "k" * 1200})
        table.insert_one({"_id": "small", "n": 1})
    (found,) = await_records(settings, 1)
    assert found.key == b"shop/large/small"
    dead = list(read_topic(settings.kafka, DEAD_LETTERS.full_name(settings.prefix)))
    letters = [orjson.loads(record.value or b"") for record in dead]
    assert sum(record.key == b"shop/large/9mb" for record in dead) == 2
    assert [letter["reason"]["type"] for letter in letters] == ["over_limit"] * 3
    assert all(letter["value"] is None and letter["app"] == "shop" for letter in letters)
    assert "row.updated of shop/large/9mb" in " ".join(letter["reason"]["message"] for letter in letters)
