"""Queries of rows on a real MongoDB: a filter holds of a stored row exactly when it holds of it in a condition."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Decimal128, ObjectId, encode
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pymongo import MongoClient

from headrace.engine import QueryRefused, RowPage, RowQuery, SortBy, StepError
from headrace.engine.steps import STEPS
from headrace.language import compile_condition, parse_row_filter
from headrace.language.row_filters import ROW_OPERATORS
from headrace.language.scope import Scope
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.storage.rows import MongoRowStore

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, 10, tzinfo=UTC)

TEXTS = ["", "5", "05", "5.0", " 5 ", "1e3", "a", "A", "ab", "ß", "𝄞", "2013-01-01",
         "2013-01-01T10:00:00Z", "true", "null", "$a", "a.b"]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.sampled_from(
        [0, 5, -1, 1000, 1 << 53, (1 << 53) + 1, (1 << 63) - 1, 5.0, 5.5, -0.0, float("nan"), float("inf")]
    )
    | st.sampled_from(TEXTS)
    | st.sampled_from([AT, AT + timedelta(milliseconds=1), AT.replace(hour=0)])
)
NAMES = st.sampled_from(["x", "y", "$x", "a.b", "0"])
VALUES = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(NAMES, LEAVES, max_size=2)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=8)
WANTED = (
    VALUES
    | st.sampled_from([1 << 70, float(1 << 70), AT + timedelta(microseconds=1), AT.replace(tzinfo=None)])
    | st.sampled_from(["\ud800", "5" * 30, "2013-01-01T10:00:00.000001Z"])
)
FIELDS = st.sampled_from(["a", "b", "c", "_id", "a.x", "a.0", "b.year", "a.x.y"])
TYPES = st.sampled_from(["number", "text", "nothing", "array", "object", "time", "boolean"])


def comparison(op: str) -> st.SearchStrategy[dict[str, Any]]:
    value: st.SearchStrategy[Any] = WANTED
    if op in ("in", "not_in", "between", "contains_any", "contains_all"):
        value = st.lists(LEAVES, min_size=2, max_size=2) | WANTED
    if op == "matches":
        value = st.sampled_from(["a", "^5", "", r"\d+$", "."])
    if op == "is_type":
        value = TYPES
    return st.fixed_dictionaries({"field": FIELDS, "op": st.just(op), "value": value})


COMPARISONS = st.sampled_from(ROW_OPERATORS).flatmap(comparison)
FILTERS: st.SearchStrategy[Any] = st.recursive(
    st.fixed_dictionaries({"all": st.lists(COMPARISONS, max_size=2)}),
    lambda inner: st.sampled_from(["all", "any", "none"]).flatmap(
        lambda how: st.fixed_dictionaries({how: st.lists(COMPARISONS | inner, max_size=3)})
    ),
    max_leaves=4,
)
SORTS = st.lists(st.tuples(st.sampled_from(["a", "b", "_id"]), st.booleans()), max_size=2, unique_by=lambda s: s[0])


async def pages(rows: MongoRowStore, query: RowQuery) -> list[Mapping[str, object]]:
    """All rows of all pages."""
    found: list[Mapping[str, object]] = []
    cursor: str | None = None
    while True:
        page = await rows.query(RowQuery(query.app, query.table, query.filter, query.sort, query.limit, cursor))
        assert len(page.rows) <= query.limit
        found += page.rows
        cursor = page.cursor
        if cursor is None:
            return found


def holds(source: Any, row: Mapping[str, object]) -> bool:
    """What the language's own condition says, the row's columns being its roots, and the values data."""
    values: list[Any] = []
    roots = frozenset(("a", "b", "c", "_id", "wanted"))
    condition = compile_condition(_with_data(source, values), roots=roots, path="f")
    return condition.holds(Scope({**row, "wanted": values}, "", AT))


def _with_data(source: Any, values: list[Any]) -> Any:
    """The same filter, its values taken from `wanted`: a constant that can never work is refused in a condition."""
    if "field" not in source:
        return {how: [_with_data(part, values) for part in parts] for how, parts in source.items()}
    values.append(source.get("value"))
    return {**source, "value": f"{{{{ wanted[{len(values) - 1}] }}}}"}


def asked(filter: Any = None, *sort: str, limit: int = 100, cursor: str | None = None) -> RowQuery:
    sorts = tuple(SortBy(name.removeprefix("-"), name.startswith("-")) for name in sort)
    return RowQuery("desk", "t", None if filter is None else parse_row_filter(filter, "f"), sorts, limit, cursor)


def ids(page: RowPage) -> list[object]:
    return [row["_id"] for row in page.rows]


async def fill(storage: Storage, rows: list[dict[str, Any]], table: str = "t") -> None:
    await asyncio.gather(*(storage.rows.create("desk", table, f"{n:04}", row, "o") for n, row in enumerate(rows)))


def test_a_filter_finds_what_the_condition_holds_of_and_every_row_is_on_one_page(settings: Settings) -> None:
    """Any rows, any filter, any order, pages of any size."""
    tables = iter(range(1_000_000))

    async def examine(rows: list[dict[str, Any]], filter: Any, sort: list[tuple[str, bool]], limit: int) -> None:
        storage = Storage(settings)
        table = f"t{next(tables)}"
        try:
            await fill(storage, rows, table)
            sorts = tuple(SortBy(*each) for each in sort)
            everything = await pages(storage.rows, RowQuery("desk", table, None, sorts, limit))
            assert sorted(str(row["_id"]) for row in everything) == [f"{n:04}" for n in range(len(rows))]
            found = await pages(storage.rows, RowQuery("desk", table, parse_row_filter(filter, "f"), sorts, limit))
            expected = [str(row["_id"]) for row in everything if holds(filter, row)]
            assert [str(row["_id"]) for row in found] == expected
        finally:
            storage.close()

    @given(ROWS, FILTERS, SORTS, st.integers(1, 4))
    @hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
    def any_of_them(rows: Any, filter: Any, sort: Any, limit: int) -> None:
        asyncio.run(examine(rows, filter, sort, limit))

    any_of_them()


SMALL: list[Any] = [
    None, True, False, 0, 5, 5.0, 5.5, 1 << 53, (1 << 53) + 1, float("nan"), "", "5", " 5 ", "5.5", "a", "ab",
    "2013-01-01", "2013-01-01T10:00:00Z", AT, AT + timedelta(milliseconds=1), AT.replace(hour=0), [], [5], ["5", "a"],
    {}, {"x": 5},
]  # fmt: skip
BETWEEN: list[Any] = [AT + timedelta(microseconds=500), "2013-01-01T10:00:00.000500Z", 1 << 70]
"""Values that MongoDB cannot store as they are, to compare with."""


@pytest.mark.parametrize("op", ROW_OPERATORS)
async def test_every_operator_compares_every_kind_of_value_with_every_other_as_a_condition_does(
    storage: Storage, op: str
) -> None:
    await fill(storage, [{}, *({"a": value} for value in SMALL)])
    stored = (await storage.rows.query(asked())).rows
    wanted: list[Any] = [*SMALL, *BETWEEN]
    if op in ("in", "not_in", "contains_any", "contains_all", "between"):
        wanted = [[value, other] for value in [*SMALL, *BETWEEN] for other in (value, 5, "z")]
    if op == "matches":
        wanted = ["a", "^5", "", r"\d$"]
    if op == "is_type":
        wanted = ["number", "text", "nothing", "array", "object", "time", "boolean", "else"]
    for value in wanted:
        filter = {"all": [{"field": "a", "op": op, "value": value}]}
        expected = [row["_id"] for row in stored if holds(filter, row)]
        assert ids(await storage.rows.query(asked(filter))) == expected, value


@pytest.mark.parametrize("field", ["a.x", "a.0", "a.0.x", "a.year", "a.x.y"])
async def test_a_path_into_a_column_is_followed_as_a_condition_follows_it(storage: Storage, field: str) -> None:
    rows = [{}, {"a": [{"x": 1}]}, {"a": {"x": 1, "0": 1}}, {"a": AT}, {"a": []}, {"a": [1]}, {"a": {"x": {"y": 1}}}]
    await fill(storage, [*rows, {"a": {"x": None}}])
    stored = (await storage.rows.query(asked())).rows
    for op, value in (("eq", 1), ("eq", None), ("eq", 2013), ("exists", None), ("gte", 1), ("in", [1, None])):
        filter = {"all": [{"field": field, "op": op, "value": value}]}
        expected = [row["_id"] for row in stored if holds(filter, row)]
        assert ids(await storage.rows.query(asked(filter))) == expected, (op, value)


async def test_what_is_not_there_sorts_as_null_does(storage: Storage) -> None:
    await fill(storage, [{"a": None}, {}, {"a": 0}, {"a": None}, {}])
    found = await pages(storage.rows, asked(None, "a", limit=1))
    assert [row["_id"] for row in found] == ["0000", "0001", "0003", "0004", "0002"]


async def test_text_in_a_filter_is_text_even_if_it_looks_like_a_template_or_an_operator(storage: Storage) -> None:
    await fill(storage, [{"a": "{{ secrets.x }}"}, {"a": {"$gt": ""}}, {"a": "$b", "b": "$b"}, {"a": "plain"}])
    for value, found in (("{{ secrets.x }}", ["0000"]), ({"$gt": ""}, ["0001"]), ("$b", ["0002"])):
        page = await storage.rows.query(asked({"all": [{"field": "a", "op": "eq", "value": value}]}))
        assert ids(page) == found


async def test_rows_come_in_the_stated_order_by_numbers_texts_and_directions(storage: Storage) -> None:
    await fill(storage, [{"a": 2, "b": "x"}, {"a": 10, "b": "y"}, {"b": "y"}, {"a": 2, "b": "y"}, {"a": "2", "b": "z"}])
    assert ids(await storage.rows.query(asked(None, "a", "-b"))) == ["0002", "0003", "0000", "0001", "0004"]
    assert ids(await storage.rows.query(asked(None, "-a"))) == ["0004", "0001", "0000", "0003", "0002"]
    assert ids(await storage.rows.query(asked(None, "-_id", limit=2))) == ["0004", "0003"]


async def test_rows_inserted_and_deleted_between_pages_move_no_other_row_to_another_page(storage: Storage) -> None:
    await fill(storage, [{"n": n} for n in range(10)])
    first = await storage.rows.query(asked(None, "n", limit=5))
    await storage.rows.create("desk", "t", "new-before", {"n": 2.5}, "o")
    await storage.rows.create("desk", "t", "new-after", {"n": 6.5}, "o")
    await storage.rows._database["desk.t"].delete_one({"_id": "0004"})  # the one that the cursor names
    second = await storage.rows.query(asked(None, "n", cursor=first.cursor))
    assert ids(first) == ["0000", "0001", "0002", "0003", "0004"]
    assert ids(second) == ["0005", "0006", "new-after", "0007", "0008", "0009"]
    assert second.cursor is None


async def test_a_page_ends_after_so_many_rows_looked_at_and_its_cursor_goes_on(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.storage.row_queries.MOST_SCANNED", 4)
    await fill(storage, [{"n": n} for n in range(10)])
    odd = {"all": [{"field": "n", "op": "not_in", "value": [0, 1, 2, 3, 4, 8]}]}
    first = await storage.rows.query(asked(odd))
    assert (ids(first), first.cursor is None) == ([], False)
    for sort in ((), ("-n",)):
        found = await pages(storage.rows, asked(odd, *sort))
        assert sorted(str(row["_id"]) for row in found) == ["0005", "0006", "0007", "0009"]


@pytest.mark.parametrize("limit", ["PAGE_BYTES", "SCANNED_BYTES"])
async def test_large_rows_end_a_page_early(storage: Storage, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(f"headrace.storage.row_queries.{limit}", 2500)
    await fill(storage, [{"text": "x" * 1000} for _ in range(5)] + [{"text": "x" * 5000}])
    assert ids(await storage.rows.query(asked())) == ["0000", "0001"]
    assert len(await pages(storage.rows, asked(None, "text"))) == 6


async def test_a_cursor_belongs_to_its_query_and_anything_else_is_refused(storage: Storage) -> None:
    await fill(storage, [{"n": n} for n in range(5)])
    cursor = (await storage.rows.query(asked(None, "n", limit=1))).cursor
    assert cursor is not None
    some = {"all": [{"field": "n", "op": "gt", "value": 0}]}
    forged = urlsafe_b64encode(encode({"f": 1, "q": b"", "p": {"_id": {"$gt": ""}}})).decode()
    for query in (
        asked(None, "-n", cursor=cursor),
        asked(None, cursor=cursor),
        asked(some, "n", cursor=cursor),
        *(asked(None, "n", cursor=bad) for bad in ("", "x", "ü", cursor[:-3], cursor[3:], forged, "A" * 100_000)),
    ):
        with pytest.raises(QueryRefused, match="no cursor"):
            await storage.rows.query(query)


async def test_a_column_too_large_to_go_on_from_is_an_error_that_says_so(storage: Storage) -> None:
    await fill(storage, [{"text": "x" * 20_000} for _ in range(3)])
    assert len((await storage.rows.query(asked(None, "text", limit=3))).rows) == 3
    with pytest.raises(QueryRefused, match="cannot be continued"):
        await storage.rows.query(asked(None, "text", limit=2))


async def test_a_query_that_takes_too_long_is_the_authors_error_and_no_outage(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(storage, [{"n": n, "text": "x" * 10_000} for n in range(3000)])
    monkeypatch.setattr("headrace.storage.row_queries.QUERY_MS", 1)
    with pytest.raises(QueryRefused, match="longer"):
        await storage.rows.query(asked(None, "n", "text"))


async def test_what_other_writers_store_can_be_read(storage: Storage, settings: Settings) -> None:
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        odd = {"owner": ObjectId("0" * 24), "sum": Decimal128("1.10"), "at": AT}
        client[settings.rows_database]["desk.t"].insert_many([{"_id": "1", **odd}, {"_id": 7}, {"_id": ObjectId()}])
        command = {"insert": "desk.t", "documents": [{"_id": "2", "at": _ancient()}]}
        client[settings.rows_database].command(command)
    page = await storage.rows.query(asked(None, "at"))
    assert ids(page) == ["2", "1"]
    assert page.rows[1]["owner"] == "0" * 24
    assert await storage.rows.get("desk", "t", "1") == page.rows[1]


def _ancient() -> Any:
    from bson import DatetimeMS

    return DatetimeMS(-(1 << 60))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"filter": {"all": [{"field": "n", "op": "changed"}]}}, "no earlier state.*between.*starts_with"),
        ({"filter": {"all": [{"field": "n", "op": "$gt", "value": 1}]}}, "unknown op"),
        ({"filter": {"$where": "1"}}, "all, any, none"),
        ({"filter": {"all": [{"field": "$where", "op": "eq", "value": "1"}]}}, "filter.all.0.field"),
        ({"filter": {"all": [{"field": "_origin", "op": "eq", "value": "1"}]}}, "filter.all.0.field"),
        ({"filter": {"all": [{"field": "n", "op": "matches", "value": "("}]}}, "bad pattern"),
        ({"filter": {"all": [{"field": "n", "op": "eq", "value": 1}] * 201}}, "more than 200"),
        ({"filter": {"all": [{"field": "n", "op": "in", "value": [1] * 1001}]}}, "more than 1000"),
        ({"sort": [{"column": "a.b"}]}, "sort.0.column"),
        ({"sort": [{"column": "$a"}]}, "sort.0.column"),
        ({"sort": [{"column": "a"}, {"column": "a", "desc": True}]}, "twice"),
        ({"limit": 1001}, "limit"),
        ({"limit": 0}, "limit"),
        ({"cursor": ["x"], "table": "T"}, "table"),
    ],
)
def test_a_query_that_can_never_run_is_refused_with_the_place_of_the_mistake(
    inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(StepError, match=words) as refused:
        STEPS["row.query"].bind({"table": "t", **inputs})
    assert refused.value.type == "bad_input"


def test_a_filter_nested_without_end_is_refused() -> None:
    filter: dict[str, Any] = {"all": []}
    for _ in range(5_000):
        filter = {"any": [filter]}
    with pytest.raises(StepError, match="levels"):
        STEPS["row.query"].bind({"table": "t", "filter": filter})
