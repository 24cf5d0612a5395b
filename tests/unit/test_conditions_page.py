"""Every op with every pair of kinds: the page, the rules it is written from, and what the evaluator does."""

from datetime import UTC, datetime

import pytest
from conditions_page import IN_AN_ARRAY, KINDS, MISSING, PAGE, RULES, TRUTH, TYPES, VALUES, page

from headrace.language import RUN_ROOTS, TRIGGER_ROOTS, Scope, compile_condition, compile_template
from headrace.language.conditions import OPERATORS

pytestmark = pytest.mark.unit

NOW = datetime(2013, 1, 1, tzinfo=UTC)
PAIRS = [(left, right) for left in KINDS for right in KINDS]


def holds(op: str, left: str, right: str) -> bool:
    """What the evaluator says; the wanted value comes from data, as a template gives it."""
    row, old_row = _row(left), {}
    wanted = {"data": _row(right)}
    value: object = "{{ data.v }}"
    if op in IN_AN_ARRAY:
        value = ["{{ data.v }}"]
    elif op == "between":
        value = ["{{ data.v }}"] * 2
    elif op.startswith("changed"):
        row, old_row = _row(right), _row(left)
        wanted = {"data": old_row if op == "changed_from" else row}
    source = {"all": [{"field": "row.v", "op": op, "value": value}]}
    scope = Scope({"row": row, "old_row": old_row, **wanted}, "k", NOW)
    return compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope)


def _row(kind: str) -> dict[str, object]:
    return {} if VALUES[kind] is MISSING else {"v": VALUES[kind]}


def test_the_rules_name_every_op() -> None:
    assert set(RULES) == set(OPERATORS)


@pytest.mark.parametrize("op", RULES)
def test_an_op_does_for_every_pair_of_kinds_what_the_rules_say(op: str) -> None:
    wrong = [pair for pair in PAIRS if holds(op, *pair) is not RULES[op](*pair)]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_type_that_the_page_names(kind: str) -> None:
    for type in set(TYPES.values()):
        source = {"all": [{"field": "row.v", "op": "is_type", "value": type}]}
        scope = Scope({"row": _row(kind)}, "k", NOW)
        found = compile_condition(source, roots=TRIGGER_ROOTS, path="when").holds(scope)
        assert found is (TYPES[kind] == type)


@pytest.mark.parametrize(
    ("op", "expression"),
    [
        ("eq", "row.v == data.v"),
        ("ne", "row.v != data.v"),
        ("gt", "row.v > data.v"),
        ("gte", "row.v >= data.v"),
        ("lt", "row.v < data.v"),
        ("lte", "row.v <= data.v"),
        ("contains", "data.v in row.v"),
        ("in", "row.v in [data.v]"),
        ("not_in", "row.v not in [data.v]"),
        ("empty", "row.v is empty"),
        ("exists", "row.v is defined"),
        ("eq", "row.v is eq(data.v)"),
    ],
)
def test_an_expression_is_decided_as_the_op_is(op: str, expression: str) -> None:
    compiled = compile_template("{{ " + expression + " }}", roots=TRIGGER_ROOTS, path="when")
    for left, right in PAIRS:
        scope = Scope({"row": _row(left), "data": _row(right)}, "k", NOW)
        assert compiled.render(scope) is RULES[op](left, right), (left, right)


PLACES = {
    "a condition": "{{ V }}",
    "not": "{{ not (not V) }}",
    "and": "{{ V and true }}",
    "or": "{{ V or false }}",
    "the deciding value of and": "{{ true and V }}",
    "the deciding value of or": "{{ false or V }}",
    "choice": "{{ true if V else false }}",
    "if": "{% if V %}true{% else %}false{% endif %}",
    "elif": "{% if false %}{% elif V %}true{% else %}false{% endif %}",
    "for": "{% for x in [V] if x %}true{% else %}false{% endfor %}",
    "select": "{{ [V] | select | length }}",
    "reject": "{{ not ([V] | reject | length) }}",
    "selectattr": "{{ [{'v': V}] | selectattr('v') | length }}",
    "a switch": "{{ ([1, 2] | sort(reverse=V)) == [2, 1] }}",
    "default": "{{ (V | default('none', true)) != 'none' }}",
}


@pytest.mark.parametrize("place", PLACES)
def test_what_counts_as_true_is_the_same_in_every_place_where_it_is_asked(place: str) -> None:
    condition = compile_condition(PLACES[place].replace("V", "trigger.v"), roots=RUN_ROOTS, path="when")
    for shown, (value, wanted) in TRUTH.items():
        scope = Scope({"trigger": {} if value is MISSING else {"v": value}}, "k", NOW)
        assert condition.holds(scope) is wanted, shown


def test_what_statements_write_counts_as_the_text_that_it_is() -> None:
    written = compile_condition("{% if true %}\n{{ trigger.v }}\n{% endif %}", roots=RUN_ROOTS, path="when")
    for value, wanted in ((False, False), ("", False), ("False", False), (None, False), (0, True), ([], True)):
        assert written.holds(Scope({"trigger": {"v": value}}, "k", NOW)) is wanted, value


def test_the_page_is_what_the_rules_say() -> None:
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python tests/unit/conditions_page.py"
