"""How two documents differ."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.differences import Difference, differences

pytestmark = pytest.mark.unit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"id": st.sampled_from("xyz"), "v": inner}), max_size=3)
    ),
    max_leaves=12,
)


def found(before: Any, after: Any) -> list[Difference]:
    return list(differences(before, after))


def test_each_part_that_differs_is_told_with_its_path() -> None:
    before = {"name": "a", "timeout": 30, "trigger": {"type": "event", "when": "x"}, "tags": ["a", "b"]}
    after = {"name": "a", "timeout": 60, "trigger": {"type": "event", "event": "y"}, "tags": ["a"]}
    assert found(before, after) == [
        Difference("timeout", "changed", 30, 60),
        Difference("trigger.when", "removed", before="x"),
        Difference("trigger.event", "added", after="y"),
        Difference("tags.1", "removed", before="b"),
    ]


def test_a_step_that_is_put_between_others_is_one_difference_and_order_counts() -> None:
    steps = [{"id": "a", "with": {"text": "1"}}, {"id": "c"}]
    new = {"id": "b"}
    assert found({"steps": steps}, {"steps": [steps[0], new, steps[1]]}) == [Difference("steps[b]", "added", after=new)]
    changed = copy.deepcopy(steps)
    changed[0]["with"] = {"text": "2"}
    assert found({"steps": steps}, {"steps": changed}) == [Difference("steps[a].with.text", "changed", "1", "2")]
    assert found({"steps": steps}, {"steps": steps[::-1]}) == [Difference("steps", "changed", ["a", "c"], ["c", "a"])]


UNLIKE: list[tuple[object, object]] = [(1, True), (1, 1.0), (0, False), (None, 0), ("1", 1), ([], {}), ("", [])]


@pytest.mark.parametrize(("before", "after"), UNLIKE)
def test_what_json_tells_apart_differs(before: object, after: object) -> None:
    assert found({"a": before}, {"a": after}) == [Difference("a", "changed", before, after)]


def test_null_is_a_value() -> None:
    (one,) = found({}, {"a": None})
    assert one.facts() == {"path": "a", "what": "added", "after": None}


@given(VALUES, VALUES)
def test_there_is_a_difference_where_and_only_where_they_differ(before: object, after: object) -> None:
    def is_same() -> bool:
        return orjson.dumps(before, option=orjson.OPT_SORT_KEYS) == orjson.dumps(after, option=orjson.OPT_SORT_KEYS)

    assert (found(before, after) == []) == is_same()
    assert found(before, before) == []
    back = {"added": "removed", "removed": "added", "changed": "changed"}
    there = sorted((each.path, each.what) for each in found(before, after))
    assert there == sorted((each.path, back[each.what]) for each in found(after, before))
