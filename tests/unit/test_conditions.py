"""Conditions: every comparison with every pair of types, written out."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from headrace.language import TRIGGER_ROOTS, LanguageError, Scope, TemplateError, compile_condition
from headrace.language.conditions import OPERATORS

pytestmark = pytest.mark.unit

VALUES: dict[str, Any] = {
    "none": None, "true": True, "zero": 0, "five": 5, "text5": "5", "word": "step 1", "empty": "", "list": [1, "5"],
    "object": {"a": 1}, "day": "2013-01-01T00:00:00Z", "time": datetime(2013, 1, 1, tzinfo=UTC),
}  # fmt: skip
NAMES = list(VALUES)

# For each op a row for each left value; `x` where it holds for the right value in that column.
#             none true zero five text5 word empty list object day time
TABLE = {
    "eq": """
    none          x    .    .    .    .     .    .     .    .      .   .
    true          .    x    .    .    .     .    .     .    .      .   .
    zero          .    .    x    .    .     .    .     .    .      .   .
    five          .    .    .    x    x     .    .     .    .      .   .
    text5         .    .    .    x    x     .    .     .    .      .   .
    word          .    .    .    .    .     x    .     .    .      .   .
    empty         .    .    .    .    .     .    x     .    .      .   .
    list          .    .    .    .    .     .    .     x    .      .   .
    object        .    .    .    .    .     .    .     .    x      .   .
    day           .    .    .    .    .     .    .     .    .      x   x
    time          .    .    .    .    .     .    .     .    .      x   x
    """,
    "gte": """
    none          .    .    .    .    .     .    .     .    .      .   .
    true          .    .    .    .    .     .    .     .    .      .   .
    zero          .    .    x    .    .     .    .     .    .      .   .
    five          .    .    x    x    x     .    .     .    .      .   .
    text5         .    .    x    x    x     .    x     .    .      x   .
    word          .    .    .    .    x     x    x     .    .      x   .
    empty         .    .    .    .    .     .    x     .    .      .   .
    list          .    .    .    .    .     .    .     .    .      .   .
    object        .    .    .    .    .     .    .     .    .      .   .
    day           .    .    .    .    .     .    x     .    .      x   x
    time          .    .    .    .    .     .    .     .    .      x   x
    """,
}
CELLS = [
    (op, line.split()[0], name, mark == "x")
    for op, text in TABLE.items()
    for line in text.strip().splitlines()
    for name, mark in zip(NAMES, line.split()[1:], strict=True)
]


def holds(op: str, left: object, right: object, old: object = None) -> bool:
    source = {"all": [{"field": "row.v", "op": op, "value": "{{ data }}"}]}
    scope = Scope({"row": {"v": left}, "old_row": {"v": old}, "data": right}, "k", datetime(2013, 1, 1, tzinfo=UTC))
    return compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope)


@pytest.mark.parametrize(("op", "left", "right", "wanted"), CELLS, ids=lambda value: str(value))
def test_comparison_is_typed(op: str, left: str, right: str, wanted: bool) -> None:
    assert holds(op, VALUES[left], VALUES[right]) is wanted


@pytest.mark.parametrize("left", NAMES)
@pytest.mark.parametrize("right", NAMES)
def test_the_other_comparisons_follow_from_these(left: str, right: str) -> None:
    one, other = VALUES[left], VALUES[right]
    assert holds("ne", one, other) is not holds("eq", one, other)
    assert holds("lte", one, other) is holds("gte", other, one)
    assert holds("gt", one, other) is (holds("gte", one, other) and not holds("eq", one, other))
    assert holds("lt", one, other) is holds("gt", other, one)
    assert holds("between", one, [other, other]) is (holds("gte", one, other) and holds("lte", one, other))
    assert holds("in", one, [other]) is holds("eq", one, other)
    assert holds("not_in", one, [other]) is not holds("eq", one, other)
    assert holds("changed", one, None, old=other) is not holds("eq", one, other)
    assert holds("changed_to", one, one, old=other) is not holds("eq", one, other)
    assert holds("changed_from", one, other, old=other) is not holds("eq", one, other)


@pytest.mark.parametrize(
    ("op", "left", "right", "wanted"),
    [
        ("contains", "abc", "b", True), ("contains", [1, 2], 2, True), ("contains", [1, 2], "2", True),
        ("contains", {"a": 1}, "a", True), ("contains", None, "a", False), ("contains", 5, 5, False),
        ("contains_any", [1, 2], [9, 2], True), ("contains_any", [1], [], False), ("contains_all", [1, 2], [2, 1], True),
        ("contains_all", [1], [1, 2], False), ("starts_with", "abc", "ab", True), ("starts_with", 12, "1", False),
        ("ends_with", "abc", "bc", True), ("matches", "flight 12", "[0-9]+", True), ("matches", 12, "1", False),
        ("empty", None, None, True), ("empty", "", None, True), ("empty", [], None, True), ("empty", 0, None, False),
        ("empty", False, None, False), ("not_empty", "a", None, True), ("exists", None, None, True),
        ("is_type", 5, "number", True), ("is_type", "5", "number", False), ("is_type", True, "boolean", True),
        ("is_type", [], "array", True), ("is_type", {}, "object", True), ("between", 5, [1, 9], True),
        ("between", 5, [6, 9], False), ("in", 5, "no list", False),
        ("eq", "step 1", "phase 1", False), ("eq", "", "", True), ("eq", 2**53 + 1, 2**53, False), ("eq", 1, True, False),
    ],
)  # fmt: skip
def test_each_op_means_what_its_name_says(op: str, left: object, right: object, wanted: bool) -> None:
    assert holds(op, left, right) is wanted


def test_a_missing_field_does_not_exist_and_is_empty() -> None:
    scope = Scope({"row": {}}, "k", datetime(2013, 1, 1, tzinfo=UTC))
    for op, wanted in (("exists", False), ("empty", True), ("eq", False), ("ne", True)):
        source = {"all": [{"field": "row.gone", "op": op, "value": 1}]}
        assert compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope) is wanted


@pytest.mark.parametrize(("group", "wanted"), [("all", False), ("any", True), ("none", False)])
def test_groups_nest(group: str, wanted: bool) -> None:
    true, false = ({"field": "row.v", "op": "eq", "value": value} for value in (1, 2))
    scope = Scope({"row": {"v": 1}}, "k", datetime(2013, 1, 1, tzinfo=UTC))
    source = {group: [{"all": [true]}, {"any": [false]}]}
    assert compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope) is wanted


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("always", "expression"), ({}, "one of all"), ({"all": 1}, "list"), ({"all": [], "any": []}, "one of all"),
        ({"all": [{"field": "row.v", "op": "like"}]}, "like"), ({"all": [{"field": "rwo.v", "op": "eq"}]}, "rwo"),
        ({"all": [{"field": "row.v", "op": "eq", "vlaue": 1}]}, "value"), ("{{ rwo.v }}", "rwo"),
        ({"all": [{"field": "row.v", "op": "eq"}]}, "needs a `value`"),
        ({"all": [{"field": "row.v", "op": "in", "value": "a, b"}]}, "array"),
        ({"all": [{"field": "row.v", "op": "between", "value": [1]}]}, "array of two"),
        ({"all": [{"field": "row.v", "op": "is_type", "value": "nubmer"}]}, "one of array"),
        ({"all": [{"field": "row.v", "op": "matches", "value": "("}]}, "bad pattern"),
        ({"all": [{"field": "data.v", "op": "changed"}]}, "column"),
        ("{{ row.a }} == {{ row.b }}", "always true"),
        ("{{ row.a }}{{ row.b }}", "several {{ }} join"), (" {{ row.a }} {{ row.b }} ", "several {{ }} join"),
        ("{% set a = 1 %}{{ a }}{{ row.b }}", "several {{ }} join"),
    ],
)  # fmt: skip
def test_a_condition_that_can_never_work_is_refused(source: Any, words: str) -> None:
    with pytest.raises(LanguageError, match=words):
        compile_condition(source, roots=TRIGGER_ROOTS, path="when")


@pytest.mark.parametrize(
    "source",
    [" {{ row.v == 1 }} ", "{% set a = row.v %}{{ a == 1 }}", "{% if row.v == 1 %}true{% else %}false{% endif %}"],
)
def test_one_expression_or_statements_that_write_true_or_false_are_a_condition(source: str) -> None:
    condition = compile_condition(source, roots=TRIGGER_ROOTS, path="when")
    found = [condition.holds(Scope({"row": {"v": v}}, "k", datetime(2013, 1, 1, tzinfo=UTC))) for v in (1, 2)]
    assert found == [True, False]


def test_every_op_of_the_language_is_there() -> None:
    wanted = (
        "eq ne gt gte lt lte between in not_in contains contains_any contains_all starts_with ends_with matches empty"
    )
    wanted += " not_empty exists changed changed_to changed_from is_type"
    assert set(OPERATORS) == set(wanted.split())


def test_what_changed_is_looked_for_in_the_old_row_and_nowhere_else() -> None:
    """A column may itself be called `row`."""
    roots = {"row": {"row": 1}, "old_row": {"row": 1}, "trigger": {"row": {"row": 1}, "old_row": {"row": 2}}}
    scope = Scope(roots, "k", datetime(2013, 1, 1, tzinfo=UTC))
    for field, wanted in (("row.row", False), ("trigger.row.row", True)):
        source = {"all": [{"field": field, "op": "changed"}]}
        assert compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope) is wanted


def test_equality_is_typed_inside_arrays_and_objects_too() -> None:
    assert holds("eq", [1, {"a": "5"}], [1, {"a": 5}]) is True
    assert holds("eq", [True], [1]) is False
    assert holds("eq", {"a": None}, {}) is False


def test_a_decimal_is_a_number_and_one_that_is_none_equals_nothing() -> None:
    assert holds("eq", Decimal("2.50"), 2.5) is True
    assert holds("gt", Decimal("2.5"), "2") is True
    for none in (Decimal("NaN"), Decimal("sNaN")):
        assert [holds(op, none, 1) for op in ("eq", "lt", "gte")] == [False, False, False]
    assert [holds(op, float("nan"), Decimal("2.5")) for op in ("eq", "lt", "gte")] == [False, False, False]


def test_what_would_compare_everything_with_everything_is_refused() -> None:
    with pytest.raises(TemplateError, match="units of work"):
        holds("contains_all", list(range(100_000)), list(range(100_000)))


def test_values_nested_too_deeply_to_be_compared_are_an_error_of_the_condition() -> None:
    deep: list[Any] = []
    other: list[Any] = []
    for _ in range(2_000):
        deep, other = [deep], [other]
    with pytest.raises(TemplateError, match="deeply"):
        holds("eq", deep, other)


def test_a_filter_object_has_a_limited_size_and_depth() -> None:
    source: dict[str, object] = {"all": []}
    for _ in range(100):
        source = {"all": [source]}
    with pytest.raises(LanguageError, match="nested deeper"):
        compile_condition(source, roots=TRIGGER_ROOTS, path="when")
    wide: dict[str, object] = {"field": "row.v", "op": "exists"}
    for _ in range(12):
        wide = {"any": [wide, wide]}  # as YAML's aliases do: 24 lines, 4,096 comparisons
    with pytest.raises(LanguageError, match="comparisons"):
        compile_condition(wide, roots=TRIGGER_ROOTS, path="when")
