"""Records of topics that others write: each is the event that its format says, or is passed by, or refused by name."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.cloudevents import REDRIVEN_HEADER, Headers
from headrace.contracts.errors import ContractError
from headrace.sources import Decoded, Passed, Sources
from headrace.sources.connect_types import plain_values
from headrace.sources.extended_json import plain_json
from headrace.sources.model import SourcesFile
from headrace.sources.registry import decoder_of
from headrace.streams import Record

pytestmark = pytest.mark.unit

SAMPLES = Path(__file__).parents[1] / "samples/debezium"
DEBEZIUM = {"topic": "t", "format": "debezium", "app": "shop"}
CLOUD = {"topic": "t", "format": "cloudevents", "app": "shop"}
CLICKS = {
    "topic": "t",
    "format": "json",
    "app": "web",
    "event_type": {"path": "meta.kind"},
    "key": "session.id",
    "time": "meta.at",
}


def sources(*entries: dict[str, Any]) -> Sources:
    file = SourcesFile.model_validate({"sources": entries})
    return Sources(file, decoder_of(file), "headrace.replay")


def record(
    value: bytes | None, key: bytes | None = b"k", headers: Headers = (), topic: str = "t", timestamp_ms: int = 1_000
) -> Record:
    return Record(topic, 2, 7, timestamp_ms, key, value, headers)


def sample(name: str, entry: dict[str, Any] = DEBEZIUM) -> Decoded | Passed:
    found = json.loads((SAMPLES / f"{name}.json").read_text())
    key = None if found["key"] is None else orjson.dumps(found["key"])
    return sources(entry).read(record(orjson.dumps(found["value"]), key))


def decoded(found: Decoded | Passed) -> Decoded:
    assert isinstance(found, Decoded)
    return found


def row(name: str, entry: dict[str, Any] = DEBEZIUM) -> tuple[Decoded, Any]:
    found = decoded(sample(name, entry))
    assert found.change is not None
    return found, found.change


def refused(entry: dict[str, Any], one: Record) -> str:
    with pytest.raises(ContractError) as caught:
        sources(entry).read(one)
    return caught.value.type


def test_a_row_is_named_by_its_place_and_belongs_to_the_app_that_the_file_names() -> None:
    found, change = row("postgres_create")
    event = found.event
    assert (event.source, event.id, event.type, event.app) == ("kafka:t", "2/7", "row.created", "shop")
    assert (event.subject, found.key, found.row_id) == ("orders/7", "shop/orders/7", "7")
    assert event.time == datetime(2019, 5, 28, 8, 58, 24, 863000, UTC)
    assert (change.op, change.before, change.after["state"]) == ("c", None, "open")


def test_the_schema_part_makes_decimals_and_times_of_numbers() -> None:
    found, change = row("postgres_update_with_schema")
    assert change.changed == ["state", "total"]
    assert (change.before["total"], change.after["total"]) == ("12.34", "12.35")
    assert found.row_id == "7"
    assert change.after == {
        "id": 7,
        "state": "paid",
        "total": "12.35",
        "weight": "1.234",
        "ordered_on": "2013-01-31",
        "at_time": "10:11:12",
        "placed": "2013-01-31T10:01:12.123456+00:00",
        "placed_tz": "2013-01-31T10:01:12.123456Z",
        "doc": '{"a": 1}',
        "raw": "AQI=",
    }


def test_without_the_image_before_every_column_may_have_changed() -> None:
    _, change = row("postgres_update_default_identity")
    assert (change.before, change.changed) == (None, ["id", "note", "state", "total"])


def test_a_value_that_the_database_did_not_log_is_no_change_and_in_neither_image() -> None:
    _, change = row("postgres_update_toast")
    assert change.changed == ["state"]
    assert "note" not in change.before
    assert "note" not in change.after


def test_a_deletion_has_what_is_known_of_the_row() -> None:
    _, change = row("postgres_delete_default_identity")
    assert (change.op, change.before["id"], change.after) == ("d", 7, None)


def test_a_snapshots_row_is_none_that_was_created() -> None:
    assert row("postgres_snapshot")[0].event.type == "row.read"


def test_mysql_tells_both_images() -> None:
    found, change = row("mysql_update", {**DEBEZIUM, "table": "people"})
    assert (found.key, change.source.table, change.changed) == ("shop/people/1004", "people", ["first_name"])
    assert row("mysql_delete")[1].before["first_name"] == "Anne Marie"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("postgres_truncate", "truncate"),
        ("postgres_message", "message"),
        ("mysql_schema_change", "schema_change"),
        ("transaction_begin", "transaction"),
        ("transaction_end", "transaction"),
        ("heartbeat", "heartbeat"),
    ],
)
def test_what_tells_of_no_row_is_passed_by(name: str, kind: str) -> None:
    assert sample(name) == Passed(kind)


@pytest.mark.parametrize("value", [None, b"null", b'{"schema": null, "payload": null}'])
def test_a_tombstone_is_passed_by(value: bytes | None) -> None:
    assert sources(DEBEZIUM).read(record(value)) == Passed("tombstone")


def test_mongodbs_documents_are_read_out_of_their_text() -> None:
    found, change = row("mongodb_create")
    assert (found.row_id, change.source.table) == ("596e275826f08b2730779e1f", "customers")
    assert change.after == {
        "_id": "596e275826f08b2730779e1f",
        "name": "Anne",
        "visits": 12,
        "since": "2013-01-31T10:01:12.123000+00:00",
        "balance": "10.50",
        "tags": ["a"],
    }


def test_mongodb_names_what_an_update_changed_where_it_has_no_pre_image() -> None:
    found, change = row("mongodb_update")
    assert found.changed == ("address", "name", "old", "tags")
    assert (change.before, change.after["name"]) == (None, "Anne Marie")
    found, change = row("mongodb_update_with_pre_image")
    assert (found.changed, change.changed, change.before["name"]) == (None, ["name"], "Anne")


def test_a_document_deleted_without_a_pre_image_is_its_id() -> None:
    assert row("mongodb_delete")[1].before == {"_id": "596e275826f08b2730779e1f"}


def test_an_update_without_any_row_is_refused_in_words() -> None:
    with pytest.raises(ContractError, match=r"capture\.mode=change_streams_update_full") as caught:
        sample("mongodb_update_without_document")
    assert caught.value.type == "no_image"


def test_a_table_whose_name_is_none_of_headraces_needs_one_in_the_file() -> None:
    value = orjson.dumps({"op": "c", "after": {"id": 1}, "source": {"table": "Orders"}})
    assert refused(DEBEZIUM, record(value)) == "bad_table"
    assert decoded(sources({**DEBEZIUM, "table": "orders"}).read(record(value))).key == "shop/orders/k"


def test_a_flattened_record_is_told_to_be_read_as_json() -> None:
    assert refused(DEBEZIUM, record(b'{"id": 1, "__op": "c"}')) == "bad_shape"


BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"a-1"), ("ce_source", b"//shop"), ("ce_type", b"order.paid")]


def test_a_cloud_event_in_binary_mode_keeps_its_name() -> None:
    found = decoded(sources(CLOUD).read(record(b'{"n": 1}', headers=[*BINARY, ("content-type", b"application/json")])))
    assert (found.event.id, found.event.source, found.event.type) == ("a-1", "//shop", "order.paid")
    assert (found.event.app, found.key, found.data) == ("shop", "k", {"n": 1})


def test_no_header_of_a_foreign_topic_chooses_an_app_a_chain_or_a_replay() -> None:
    spoofed = [
        *BINARY,
        ("ce_app", b"victim"),
        ("headrace_chain", b"a/b"),
        ("headrace_replay", b"r"),
        (REDRIVEN_HEADER, b"x/0/0"),
    ]
    event = decoded(sources(CLOUD).read(record(b"{}", headers=spoofed))).event
    assert (event.app, event.chain, event.replay, event.id) == ("shop", (), "", "a-1")
    inner = orjson.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "app": "victim"})
    structured = [("content-type", b"application/cloudevents+json")]
    assert decoded(sources(CLOUD).read(record(inner, headers=structured))).event.app == "shop"
    spoofing = orjson.dumps({"op": "c", "after": {"id": 1}, "source": {"table": "t"}})
    event = decoded(sources(DEBEZIUM).read(record(spoofing, headers=spoofed))).event
    assert (event.app, event.source, event.id) == ("shop", "kafka:t", "2/7")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"data": {"n": 1}}, {"n": 1}),
        ({"data_base64": "eyJuIjogMX0=", "datacontenttype": "application/json"}, {"n": 1}),
        ({"data_base64": "AQI=", "datacontenttype": "application/octet-stream"}, "AQI="),
        ({"data": "<a/>", "datacontenttype": "text/xml"}, "<a/>"),
        ({}, None),
    ],
)
def test_a_cloud_event_in_structured_mode_has_its_attributes_in_the_value(data: dict[str, Any], expected: Any) -> None:
    value = {"specversion": "1.0", "id": "1", "source": "s", "type": "order.paid", "time": "2013-01-31T10:00:00Z"}
    headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    found = decoded(sources(CLOUD).read(record(orjson.dumps(value | data), headers=headers)))
    assert (found.event.type, found.event.time, found.data) == (
        "order.paid",
        datetime(2013, 1, 31, 10, tzinfo=UTC),
        expected,
    )


@pytest.mark.parametrize(
    ("headers", "value", "type"),
    [
        ([("content-type", b"application/cloudevents-batch+json")], b"[]", "batched"),
        ([("content-type", b"application/cloudevents+avro")], b"", "unknown_format"),
        ([("content-type", b"application/cloudevents+json")], b"[]", "bad_shape"),
        ([("content-type", b"application/cloudevents+json")], b"{}", "missing_attribute"),
        ([], b"{}", "missing_attribute"),
        ([*BINARY[:3], ("ce_type", b"headrace.started")], b"{}", "reserved_type"),
        ([*BINARY, ("ce_specversion", b"0.3")], b"{}", "unknown_version"),
        (BINARY, b"{", "not_json"),
    ],
)
def test_what_is_no_cloud_event_is_refused_by_name(headers: Headers, value: bytes, type: str) -> None:
    assert refused(CLOUD, record(value, headers=headers)) == type


def test_plain_json_has_type_key_and_time_by_path() -> None:
    value = {"meta": {"kind": "click", "at": 1_359_626_472_123}, "session": {"id": 5}}
    found = decoded(sources(CLICKS).read(record(orjson.dumps(value))))
    assert (found.event.type, found.key, found.event.app, found.data) == ("click", "5", "web", value)
    assert found.event.time == datetime(2013, 1, 31, 10, 1, 12, 123000, UTC)


@pytest.mark.parametrize(
    ("value", "type"),
    [
        ({"meta": {}, "session": {"id": 5}}, "no_key no_type bad_time"),
        ({"meta": {"kind": "headrace.called", "at": 0}, "session": {"id": 5}}, "reserved_type"),
        ({"meta": {"kind": "click", "at": "soon"}, "session": {"id": 5}}, "bad_time"),
        ({"meta": {"kind": "click", "at": 0}}, "no_key"),
        ({"meta": {"kind": "click", "at": 0}, "session": {"id": "x" * 2_000}}, "over_limit"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_by_name(value: Any, type: str) -> None:
    assert refused(CLICKS, record(orjson.dumps(value))) in type.split()


def test_plain_json_is_a_row_from_then_on() -> None:
    entry = {"topic": "t", "format": "json", "app": "crm", "table": "people", "key": "id"}
    found = decoded(sources(entry).read(record(b'{"id": 7, "name": "Ann"}')))
    assert found.change is not None
    assert (found.event.type, found.key, found.row_id) == ("row.updated", "crm/people/7", "7")
    assert (found.change.before, found.change.changed) == (None, ["id", "name"])
    gone = decoded(sources(entry).read(record(None, key=b"7")))
    assert (gone.event.type, gone.row_id) == ("row.deleted", "7")


@pytest.mark.parametrize(
    ("op", "type"), [("INSERT", "row.created"), ("u", "row.updated"), ("deleted", "row.deleted"), ("?", "no_change")]
)
def test_a_record_may_say_itself_what_became_of_the_row(op: str, type: str) -> None:
    entry = {"topic": "t", "format": "json", "app": "crm", "table": "people", "change": {"path": "op"}}
    one = record(orjson.dumps({"id": 7, "op": op}))
    assert (refused(entry, one) if type == "no_change" else decoded(sources(entry).read(one)).event.type) == type


def test_a_record_that_stands_again_in_replay_is_the_event_of_its_first_place() -> None:
    value = orjson.dumps({"op": "c", "after": {"id": 1}, "source": {"table": "orders"}})
    again = record(value, headers=[(REDRIVEN_HEADER, b"t/2/7")], topic="headrace.replay")
    both = sources(DEBEZIUM)
    first, second = decoded(both.read(record(value))).event, decoded(both.read(again._replace(offset=99))).event
    assert (first.source, first.id) == (second.source, second.id)
    assert both.app_of(again) == "shop"
    assert refused(DEBEZIUM, again._replace(headers=[])) == "bad_place"
    assert refused(DEBEZIUM, again._replace(headers=[(REDRIVEN_HEADER, b"other/2/7")])) == "no_source"


def test_a_topic_is_of_the_entry_with_its_name_else_of_the_first_pattern_that_matches_all_of_it() -> None:
    file = SourcesFile.model_validate(
        {
            "sources": [
                {"topic": r"^shop\..+", "format": "debezium", "app": "a"},
                {"topic": r"^shop\.public\..+", "format": "debezium", "app": "b"},
                {"topic": "shop.public.orders", "format": "debezium", "app": "c"},
            ]
        }
    )
    found = {name: file.of(name) for name in ("shop.public.orders", "shop.public.x", "my.shop.x", "shop.")}
    assert {name: None if each is None else each.app for name, each in found.items()} == {
        "shop.public.orders": "c",
        "shop.public.x": "a",
        "my.shop.x": None,
        "shop.": None,
    }


def test_a_producers_timestamp_may_be_any_number() -> None:
    for timestamp in (-1, 1 << 62, -(1 << 62)):
        entry = {"topic": "t", "format": "json", "app": "web", "event_type": "click"}
        assert decoded(sources(entry).read(record(b"{}", timestamp_ms=timestamp))).event.time.year >= 1


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENVELOPE = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["c", "u", "d", "r", "t", "m"]) | ANY,
        "before": ANY | st.dictionaries(st.text(max_size=3), ANY, max_size=3),
        "after": ANY | st.just("{}") | st.dictionaries(st.text(max_size=3), ANY, max_size=3),
        "source": st.fixed_dictionaries(
            {}, optional={"table": st.just("t") | ANY, "collection": st.just("c") | ANY, "ts_ms": ANY}
        ),
        "updateDescription": st.fixed_dictionaries(
            {}, optional={"removedFields": ANY, "updatedFields": ANY | st.just("{}"), "truncatedArrays": ANY}
        ),
        "status": ANY,
        "ts_ms": ANY,
    },
)


def event_or_named_error(entry: dict[str, Any], one: Record) -> None:
    found: object = None
    with suppress(ContractError):
        found = sources(entry).read(one)
    if isinstance(found, Decoded):
        assert found.event.app == entry["app"]
        assert not found.event.type.startswith("headrace.")


ENTRIES = st.sampled_from([DEBEZIUM, CLOUD, CLICKS, {"topic": "t", "format": "json", "app": "crm", "table": "people"}])


@given(ENTRIES, st.none() | st.binary(), st.none() | st.binary(), st.lists(st.tuples(st.text(), st.binary())))
def test_any_bytes_are_an_event_or_an_error_with_a_name(
    entry: dict[str, Any], value: bytes | None, key: bytes | None, headers: Headers
) -> None:
    event_or_named_error(entry, record(value, key, headers))


@given(ENVELOPE, ANY)
def test_any_envelope_is_a_change_or_an_error_with_a_name(envelope: Any, key: Any) -> None:
    wrapped = {"schema": {"type": "struct", "fields": []}, "payload": envelope}
    for value in (envelope, wrapped):
        event_or_named_error(DEBEZIUM, record(json.dumps(value).encode(), json.dumps(key).encode()))


@given(ENTRIES, ANY, st.sampled_from([b"application/json", b"application/cloudevents+json", b"text/plain", b"x"]))
def test_any_json_is_an_event_or_an_error_with_a_name(entry: dict[str, Any], value: Any, content: bytes) -> None:
    headers = [*BINARY, ("content-type", content)]
    event_or_named_error(entry, record(json.dumps(value).encode(), headers=headers))


NAMES = st.sampled_from(
    [
        "org.apache.kafka.connect.data.Decimal",
        "io.debezium.data.VariableScaleDecimal",
        "io.debezium.time.Date",
        "io.debezium.time.MicroTime",
        "io.debezium.time.NanoTimestamp",
    ]
)
SCHEMA = st.fixed_dictionaries(
    {"name": NAMES | ANY}, optional={"type": ANY, "parameters": ANY | st.dictionaries(st.just("scale"), ANY)}
)


@given(SCHEMA, ANY | st.fixed_dictionaries({"scale": ANY, "value": ANY}))
def test_a_value_that_does_not_fit_its_schema_stays_as_it_is(schema: Any, value: Any) -> None:
    plain_values(schema, value)


@given(st.dictionaries(st.sampled_from(["$oid", "$date", "$numberLong", "$numberDouble", "$binary", "x"]), ANY))
def test_extended_json_of_any_shape_is_json(value: Any) -> None:
    plain_json(value)
