"""The messages on the topics: what is read, what is refused, and with which words."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts import limits
from headrace.contracts.automation import DocumentError, parse_automation
from headrace.contracts.cloudevents import Event, Location, event_headers, read_event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import job_key, read_job, run_id, write_job
from headrace.contracts.rows import read_row_change, row_id_of, row_key
from headrace.contracts.runs import read_run

pytestmark = pytest.mark.unit

PLACE = Location("rows", 3, 42)
AT = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=20)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
EVENTS = st.builds(
    Event,
    id=TEXTS, source=TEXTS, type=TEXTS, time=st.datetimes(timezones=st.just(UTC)), subject=TEXTS | st.just(""), app=NAMES,
    replay=TEXTS | st.just(""), traceparent=TEXTS | st.just(""),
    chain=st.lists(st.builds("{}/{}".format, NAMES, NAMES), max_size=5).map(tuple),
)  # fmt: skip


def headers(**changes: str | bytes | None) -> list[tuple[str, bytes]]:
    found: dict[str, str | bytes | None] = {
        "ce_specversion": "1.0", "ce_id": "1", "ce_source": "s", "ce_type": "t", "ce_app": "shop", **changes,
    }  # fmt: skip
    return [(name, v.encode() if isinstance(v, str) else v) for name, v in found.items() if v is not None]


@given(EVENTS)
def test_an_event_survives_its_headers(event: Event) -> None:
    assert read_event(event_headers(event), PLACE, 0) == event


@pytest.mark.parametrize(
    ("changes", "type", "words"),
    [
        ({"ce_app": None}, "no_app", "ce_app"),
        ({"ce_app": "My Shop"}, "bad_app", "My Shop"),
        ({"ce_specversion": "2.0"}, "unknown_version", "'2.0'"),
        ({"ce_specversion": None}, "unknown_version", "ce_specversion"),
        ({"ce_id": ""}, "missing_attribute", "ce_id"),
        ({"ce_source": None}, "missing_attribute", "ce_source"),
        ({"ce_type": None}, "missing_attribute", "ce_type"),
        ({"ce_time": "yesterday"}, "bad_time", "yesterday"),
        ({"ce_time": "0001-01-01T00:00:00+14:00"}, "bad_time", "0001"),
        ({"ce_id": "x" * (limits.ATTRIBUTE + 1)}, "over_limit", "ce_id"),
        ({"ce_source": b"\xff"}, "not_utf8", "ce_source"),
    ],
)
def test_a_header_that_is_wrong_is_named(changes: dict[str, str | bytes | None], type: str, words: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_event(headers(**changes), PLACE, 0)
    assert refused.value.type == type
    assert words in refused.value.message


def test_a_record_without_cloudevents_is_named_by_its_place() -> None:
    event = read_event([("ce_app", b"shop")], PLACE, 1_357_000_000_000)
    assert (event.source, event.id) == ("kafka:rows", "3/42")
    assert event.time == datetime(2013, 1, 1, 0, 26, 40, tzinfo=UTC)


def test_times_are_utc_whatever_their_offset() -> None:
    event = read_event(headers(ce_time="2013-01-01T06:30:00+01:00"), PLACE, 0)
    assert (event.time, event.time.tzinfo) == (AT, UTC)


@given(EVENTS, EVENTS, NAMES)
def test_a_run_id_is_the_same_for_duplicates_and_for_nothing_else(one: Event, other: Event, automation: str) -> None:
    found = run_id("shop", automation, one)
    assert found == run_id("shop", automation, Event(one.id, one.source, "else", AT, "", "x", one.replay, ""))
    same = (one.id, one.source, one.replay) == (other.id, other.source, other.replay)
    assert (found == run_id("shop", automation, other)) is same
    assert found[14] == "5"


def test_a_run_id_does_not_mix_up_where_one_text_ends_and_the_next_begins() -> None:
    events = [Event(id, source, "t", AT, "", "a", "", "") for source, id in (("a", "bc"), ("ab", "c"), ("a/1:b", "c"))]
    assert len({run_id("shop", "x", event) for event in events}) == 3


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (None, "no_body"), (b"", "not_json"), (b"{", "not_json"), (b"\xff", "not_json"), (b"[]", "bad_shape"),
        (b'{"op": "x"}', "bad_shape"), (b'{"op": "c", "source": {"table": "t"}, "ts_ms": 1}', "bad_shape"),
        (b'{"op": "d", "after": {}, "source": {"table": "t"}, "ts_ms": 1}', "bad_shape"),
    ],
)  # fmt: skip
def test_a_row_change_that_is_none_is_refused_by_kind(value: bytes | None, type: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_row_change(value)
    assert refused.value.type == type


def test_a_row_change_over_the_limit_is_refused() -> None:
    with pytest.raises(ContractError, match="accepted") as refused:
        read_row_change(b" " * (limits.RECORD + 1))
    assert refused.value.type == "over_limit"


def test_a_row_change_is_debeziums_envelope() -> None:
    payload = {"op": "u", "before": {"a": 1, "b": 1}, "after": {"a": 2, "b": 1}, "source": {"table": "t"}, "ts_ms": 5}
    change = read_row_change(orjson.dumps(payload))
    assert (change.op, change.changed, change.source.table) == ("u", ["a"], "t")


def test_a_rows_key_names_app_table_and_row() -> None:
    change = read_row_change(orjson.dumps({"op": "c", "after": {}, "source": {"table": "t"}, "ts_ms": 5}))
    assert row_key("shop", "t", "a/b") == "shop/t/a/b"
    assert row_id_of(b"shop/t/a/b", "shop", change) == "a/b"


JOB: dict[str, Any] = {
    "format": 1, "run_id": "r", "app": "shop", "automation": "a", "version": 1, "generation": 0, "segment": 0, "attempt": 1,
    "key": "k", "priority": "normal", "trigger": {},
    "cause": {"id": "1", "source": "s", "type": "t", "topic": "rows", "partition": 0, "offset": 0, "time": "2013-01-01T00:00:00Z"},
}  # fmt: skip


def test_a_job_is_read_as_it_was_made() -> None:
    assert read_job(orjson.dumps(JOB)).model_dump(mode="json", exclude_defaults=True) == JOB
    assert read_job(write_job(read_job(orjson.dumps(JOB)))) == read_job(orjson.dumps(JOB))
    assert job_key("shop", "a", "UA/1") == "shop/a/UA/1"


@pytest.mark.parametrize(
    ("value", "type", "words"),
    [
        (None, "no_body", "job"), (b"\x00", "not_json", "job"), (b"{}", "unknown_version", "format"),
        (orjson.dumps({**JOB, "format": 2}), "unknown_version", "format"),
        (orjson.dumps({**JOB, "cause": {}}), "bad_shape", "cause.id"),
        (orjson.dumps({**JOB, "priority": "urgent"}), "bad_shape", "priority"),
    ],
)  # fmt: skip
def test_a_job_that_is_none_is_refused_by_kind(value: bytes | None, type: str, words: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_job(value)
    assert refused.value.type == type
    assert words in refused.value.message


@pytest.mark.parametrize("value", [None, b"x", b"null", b"{}", b'{"format": 2}'])
def test_a_run_record_that_is_none_is_refused(value: bytes | None) -> None:
    with pytest.raises(ContractError):
        read_run(value)


DOCUMENT: dict[str, Any] = {
    "name": "a", "app": "shop", "trigger": {"type": "row.created", "table": "t"}, "steps": [{"id": "x", "use": "log", "with": {"text": "y"}}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "A b"}, "name"), ({"trigger": {"type": "row.craeted", "table": "t"}}, "trigger"),
        ({"trigger": {"type": "row.created"}}, "table"), ({"steps": "none"}, "steps"), ({"priority": "urgent"}, "priority"),
        ({"stpes": []}, "stpes"), ({"steps": [{"id": "x"}]}, "steps.0"), ({"steps": [{"id": "x", "use": "log", "filter": "{{ 1 }}"}]}, "steps.0"),
        ({"timeout": "soon"}, "timeout"), ({"on_error": "ignore"}, "on_error"),
        ({"steps": [{"id": "x", "use": "log", "with": {}}, {"id": "x", "use": "log", "with": {}}]}, "x"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_automation_is_named_by_its_path(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        parse_automation({**DOCUMENT, **changes})


@pytest.mark.parametrize("document", [None, [], "text", 5, {}])
def test_what_is_no_automation_at_all_is_refused(document: object) -> None:
    with pytest.raises(DocumentError):
        parse_automation(document)


def test_an_automation_survives_being_written_down() -> None:
    parsed = parse_automation({**DOCUMENT, "timeout": "2m", "ordering_key": "{{ row.id }}"})
    assert parsed.timeout == 120
    assert parse_automation(parsed.model_dump(mode="json", by_alias=True)) == parsed


def test_an_offset_at_the_edge_of_the_calendar_is_an_error_of_ours() -> None:
    edge = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))).isoformat()
    with pytest.raises(ContractError):
        read_event(headers(ce_time=edge), PLACE, 0)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (False, 0, True), (1, True, True), ({"k": True}, {"k": 1}, True), ([[1]], [[True]], True), (None, 0, True),
        (1, 1.0, False), ({"k": [True]}, {"k": [True]}, False), ([], [], False),
    ],
)  # fmt: skip
def test_a_boolean_that_becomes_a_number_has_changed(before: object, after: object, changed: bool) -> None:
    payload = {"op": "u", "before": {"a": before}, "after": {"a": after}, "source": {"table": "t"}}
    assert read_row_change(orjson.dumps(payload)).changed == (["a"] if changed else [])
