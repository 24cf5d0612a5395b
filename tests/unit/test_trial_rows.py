"""The rows of a test run: what the real store promises, in memory."""

import pytest

from headrace.engine import NewRow, RowDelete, RowMissing, RowQuery, RowUpdate
from headrace.engine.rows import SortBy
from headrace.language import parse_row_filter
from headrace.trials.rows import MemoryRows

pytestmark = pytest.mark.unit


async def test_a_row_is_changed_cleared_and_deleted() -> None:
    rows = MemoryRows()
    await rows.apply(NewRow("a", "t", "1", {"n": 1, "m": 2}, "step"))
    assert (await rows.apply(RowUpdate("a", "t", "1", {"n": 3, "m": None}))).row == {"_id": "1", "n": 3}
    assert await rows.get("a", "t", "1") == {"_id": "1", "n": 3}
    assert (await rows.apply(RowDelete("a", "t", "1"))).deleted
    assert not (await rows.apply(RowDelete("a", "t", "1"))).deleted
    assert await rows.get("a", "t", "1") is None
    with pytest.raises(RowMissing):
        await rows.apply(RowUpdate("a", "t", "1", {"n": 3}))
    assert [each.change for each in rows.written] == ["created", "updated", "deleted"]


async def test_pages_hold_what_the_filter_holds_of_in_the_order_asked_for() -> None:
    rows = MemoryRows()
    for number in range(7):
        await rows.apply(NewRow("a", "t", str(number), {"n": number % 3, "odd": number % 2 == 1}, f"step{number}"))
    await rows.apply(NewRow("b", "t", "other", {"n": 0, "odd": False}, "elsewhere"))
    filter = parse_row_filter({"all": [{"field": "odd", "op": "eq", "value": False}]}, "filter")
    first = await rows.query(RowQuery("a", "t", filter, (SortBy("n", desc=True),), 3))
    second = await rows.query(RowQuery("a", "t", filter, (SortBy("n", desc=True),), 3, first.cursor))
    assert [row["_id"] for row in (*first.rows, *second.rows)] == ["2", "4", "0", "6"]
    assert second.cursor is None
