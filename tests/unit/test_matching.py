"""Which automations an event triggers."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.cloudevents import Event, Location
from headrace.contracts.rows import RowChange
from headrace.matching import Index, Match, MatchError, compile_definition, match_event, match_row
from headrace.matching.index import matches_pattern

pytestmark = pytest.mark.unit

PLACE = Location("rows", 0, 7)
AT = datetime(2013, 1, 1, tzinfo=UTC)
EVENT = Event("e1", "s", "order.created", AT, "", "shop", "", "")


def live(name: str, trigger: dict[str, Any], revision: int = 1, state: Any = "enabled", **more: Any) -> LiveAutomation:
    document = {
        "name": name,
        "app": "shop",
        "trigger": trigger,
        "steps": [{"id": "x", "use": "log", "with": {"text": "y"}}],
    }
    return LiveAutomation(
        format=1, revision=revision, version=revision, state=state, document=parse_automation({**document, **more})
    )


def index(*automations: LiveAutomation) -> Index:
    found = Index()
    for each in automations:
        found.put(compile_definition(each))
    return found


def change(op: str = "u", before: Any = None, after: Any = None, table: str = "orders") -> RowChange:
    return RowChange.model_validate(
        {"op": op, "before": before, "after": after, "source": {"table": table}, "ts_ms": 0}
    )


def names(found: list[Match | MatchError]) -> list[str]:
    return sorted(each.definition.live.document.name for each in found if isinstance(each, Match))


def on_row(found: Index, changed: RowChange, app: str = "shop") -> list[Match | MatchError]:
    event = Event("e1", "s", "", AT, "", app, "", "")
    return match_row(found, event, changed, "17", "shop/orders/17", PLACE)


@pytest.mark.parametrize(("op", "type"), [("c", "row.created"), ("u", "row.updated"), ("d", "row.deleted")])
def test_a_row_change_triggers_what_listens_to_its_kind_and_table(op: str, type: str) -> None:
    kinds = ("row.created", "row.updated", "row.deleted")
    found = index(
        *(
            live(f"{kind[4:]}-{table}", {"type": kind, "table": table})
            for kind in kinds
            for table in ("orders", "other")
        )
    )
    assert names(on_row(found, change(op, {"a": 1}, {"a": 2}))) == [f"{type[4:]}-orders"]
    assert on_row(found, change(op, {"a": 1}, {"a": 2}), app="elsewhere") == []


def test_a_snapshots_row_triggers_nothing() -> None:
    assert on_row(index(live("a", {"type": "row.created", "table": "orders"})), change("r", None, {"a": 1})) == []


def test_only_the_listed_columns_trigger() -> None:
    found = index(live("a", {"type": "row.updated", "table": "orders", "only_if_changed": ["total"]}))
    assert names(on_row(found, change("u", {"total": 1, "note": "x"}, {"total": 2, "note": "x"}))) == ["a"]
    assert names(on_row(found, change("u", {"total": 1, "note": "x"}, {"total": 1, "note": "y"}))) == []


@pytest.mark.parametrize(
    ("pattern", "type", "wanted"),
    [
        ("order.created", "order.created", True), ("order.created", "order.createdx", False), ("order.*", "order.created", True),
        ("*", "anything", True), ("*.created", "order.created", True), ("*.created", "order.deleted", False),
        ("o*r.*d", "order.created", True), ("a*a", "a", False), ("a**b", "ab", True), ("order.*", "order", False),
    ],
)  # fmt: skip
def test_an_event_triggers_the_patterns_it_matches(pattern: str, type: str, wanted: bool) -> None:
    found = index(live("a", {"type": "event", "event": pattern}))
    event = Event("e1", "s", type, AT, "", "shop", "", "")
    assert (names(match_event(found, event, {}, "k", PLACE)) == ["a"]) is wanted


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_means_what_a_regular_expression_would(pattern: str, type: str) -> None:
    import re

    wanted = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), type) is not None
    assert matches_pattern(pattern, type) is wanted


def test_when_decides_and_sees_the_row_before_and_after() -> None:
    found = index(
        live("up", {"type": "row.updated", "table": "orders", "when": "{{ row.total > old_row.total }}"}),
        live("down", {"type": "row.updated", "table": "orders", "when": "{{ row.total < old_row.total }}"}),
        live("form", {"type": "row.updated", "table": "orders", "when": {"all": [{"field": "row.total", "op": "changed_to", "value": 9}]}}),
    )  # fmt: skip
    assert names(on_row(found, change("u", {"total": 1}, {"total": 9}))) == ["form", "up"]


def test_a_condition_that_fails_names_its_automation_and_harms_no_other() -> None:
    found = index(
        live("broken", {"type": "row.updated", "table": "orders", "when": "{{ row.total / 0 > 1 }}"}),
        live("key", {"type": "row.updated", "table": "orders"}, ordering_key="{{ 1 / 0 }}"),
        live("well", {"type": "row.updated", "table": "orders"}),
    )
    result = on_row(found, change("u", {"total": 1}, {"total": 9}))
    assert names(result) == ["well"]
    assert sorted(e.message.split(":")[0] for e in result if isinstance(e, MatchError)) == [
        "automation shop/broken",
        "automation shop/key",
    ]


def test_the_ordering_key_is_the_records_unless_the_automation_says_otherwise() -> None:
    found = index(
        live("default", {"type": "row.updated", "table": "orders"}),
        live("own", {"type": "row.updated", "table": "orders"}, ordering_key="{{ row.customer }}", priority="high"),
    )
    result = [each for each in on_row(found, change("u", {}, {"customer": 5})) if isinstance(each, Match)]
    assert {each.definition.live.document.name: each.key for each in result} == {
        "default": "shop/orders/17",
        "own": "5",
    }
    assert {each.job["priority"] for each in result} == {"normal", "high"}


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": {"key": "{{ row.customer }}", "limit": 5}},
        {"rate": {"key": "{{ row.customer }}", "limit": 5, "per": "1m"}},
        {"ordering_key": "{{ row.customer }}", "concurrency": {"key": "{{ row.customer }}", "limit": 5}},
    ],
)
def test_the_key_of_a_limit_orders_and_partitions_its_jobs(limits: dict[str, Any]) -> None:
    found = index(live("own", {"type": "row.updated", "table": "orders"}, **limits))
    (match,) = on_row(found, change("u", {}, {"customer": 5}))
    assert isinstance(match, Match)
    assert (match.key, match.job["key"]) == ("5", "5")


def test_an_event_sent_again_names_the_same_run() -> None:
    found = index(live("a", {"type": "event", "event": "*"}))
    jobs = [match_event(found, EVENT, {}, "k", Location("events", 0, offset))[0] for offset in (1, 2)]
    assert len({each.job["run_id"] for each in jobs if isinstance(each, Match)}) == 1


def test_a_newer_version_replaces_and_an_older_revision_is_ignored() -> None:
    found = index(live("a", {"type": "event", "event": "x"}, revision=2))
    assert not found.put(compile_definition(live("a", {"type": "event", "event": "y"}, revision=1)))
    assert [d.live.revision for d in found.for_event("shop", "x")] == [2]
    assert found.put(compile_definition(live("a", {"type": "row.created", "table": "t"}, revision=3)))
    assert list(found.for_event("shop", "x")) == []
    assert len(found.for_row("shop", "row.created", "t")) == 1


def test_what_is_disabled_never_fires() -> None:
    found = index(live("a", {"type": "event", "event": "*"}, state="disabled"))
    assert list(found.for_event("shop", "x")) == []


def test_a_removed_automation_never_fires() -> None:
    found = index(live("a", {"type": "event", "event": "*"}), live("b", {"type": "event", "event": "*"}))
    found.remove("shop/a")
    assert names(match_event(found, EVENT, {}, "k", PLACE)) == ["b"]


def test_ten_thousand_automations_of_others_are_not_looked_at() -> None:
    found = index(
        *(live(f"row-{n}", {"type": "row.created", "table": f"t{n}"}) for n in range(2_000)),
        *(live(f"event-{n}", {"type": "event", "event": f"type-{n}.*"}) for n in range(8_000)),
    )
    assert len(found) == 10_000
    assert [d.live.document.name for d in found.for_row("shop", "row.created", "t77")] == ["row-77"]
    assert [d.live.document.name for d in found.for_event("shop", "type-77.created")] == ["event-77"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "x.*", "*", "y"]), st.integers(1, 5), st.booleans()),
        max_size=12,
    )
)
def test_the_index_finds_what_a_plain_list_would(puts: list[tuple[str, str, int, bool]]) -> None:
    found, plain = Index(), {}
    for name, pattern, revision, removed in puts:
        if removed:
            found.remove(f"shop/{name}")
            plain.pop(name, None)
        else:
            found.put(compile_definition(live(name, {"type": "event", "event": pattern}, revision=revision)))
            if name not in plain or plain[name][1] <= revision:
                plain[name] = (pattern, revision)
    for type in ("x", "x.y", "y", "z"):
        wanted = sorted(name for name, (pattern, _) in plain.items() if matches_pattern(pattern, type))
        assert sorted(d.live.document.name for d in found.for_event("shop", type)) == wanted


def test_an_ordering_key_is_measured_in_bytes_as_a_records_key_is() -> None:
    found = index(live("a", {"type": "event", "event": "*"}, ordering_key="{{ data.k }}"))
    event = Event("1", "s", "t", datetime(2013, 1, 1, tzinfo=UTC), "", "shop", "", "")
    place = Location("events", 0, 0)
    (fits,) = match_event(found, event, {"k": "ü" * 512}, "k", place)
    (too_long,) = match_event(found, event, {"k": "ü" * 513}, "k", place)
    assert isinstance(fits, Match)
    assert isinstance(too_long, MatchError)
    assert "1026 bytes" in too_long.message
