"""Templates and conditions as a space: whatever is written and whatever the data, a value or one of our errors.

`HEADRACE_TEST_EXAMPLES=10000` makes the long run.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import signature
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_data import DATA, NOW, many

from headrace.language import (
    RUN_ROOTS,
    TRIGGER_ROOTS,
    LanguageError,
    Scope,
    TemplateError,
    compile_condition,
    compile_template,
)
from headrace.language.checks import TESTS
from headrace.language.conditions import OPERATORS
from headrace.language.filters import FILTERS
from headrace.language.limits import TEXT
from headrace.language.methods import METHODS
from headrace.language.operations import FUNCTIONS
from headrace.language.values import equal, kind_of, to_text

pytestmark = pytest.mark.unit

WORDS = st.sampled_from(
    [
        "trigger", "trigger.row", "trigger.row.a", "trigger.row.b.a", "trigger.row['_id']",
        "trigger.row.a[0]", "steps.1.a", "item", "item_index", "loop", "loop.index", "now", "run.id", "_error",
        "secrets.k", "none", "true", "false", "nowhere",
    ]
)  # fmt: skip
LITERALS = st.sampled_from(
    [
        "0", "1", "2", "-1", "3.5", "10**9", "10**30", "1e999", "''", "'a'", "'abc'", "'5'", "'2013-01-01'",
        "'{\"a\": 1}'", "'%Y %s'", "'(a|b)+'", "'\\\\1'", "'upper'", "'eq'", "'a.b'", "'\\ud800'", "[]",
        "[1, 2, 3]", "[[1], [2]]", "{}", "{'a': 1, 'b': [2]}", "[{'a': 2}, {'a': 1}]", "'x' * 9000",
        "range(9)", "[0] * 900",
    ]
)  # fmt: skip
BINARY = st.sampled_from(
    ["+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
)
COLUMNS = st.sampled_from(["a", "b", "c", "items"] * 4 + ["_id", "__class__"])


def _arguments(function: Callable[..., object], given: int, inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """As many as it takes, or some of them by name; now and then others."""
    parameters = list(signature(function).parameters.values())[given:]
    positional = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    required = sum(each.default is each.empty for each in positional)
    most = 3 if any(each.kind is each.VAR_POSITIONAL for each in parameters) else len(positional)
    named = st.sampled_from([each.name for each in parameters if each.default is not each.empty] or ["nope"])
    fitting = st.lists(inner, min_size=required, max_size=most)
    with_name = st.tuples(st.lists(inner, min_size=required, max_size=required), named, inner).map(
        lambda parts: [*parts[0], f"{parts[1]}={parts[2]}"]
    )
    return st.one_of(fitting, fitting, with_name, st.lists(inner, max_size=3)).map(", ".join)


def _called(
    names: Mapping[str, Callable[..., object]], given: int, inner: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(names)).flatmap(
        lambda name: _arguments(names[name], given, inner).map(lambda arguments: f"{name}({arguments})")
    )


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    methods = st.sampled_from([*METHODS, "format"])
    arguments = st.lists(inner, max_size=2).map(", ".join)
    return st.one_of(
        st.tuples(inner, BINARY, inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, _called(FILTERS, 2, inner)).map(lambda parts: f"({parts[0]} | {parts[1]})"),
        st.tuples(inner, _called(FILTERS, 2, LITERALS)).map(lambda parts: f"({parts[0]} | {parts[1]})"),
        st.tuples(inner, st.sampled_from(sorted(FILTERS))).map(lambda parts: f"({parts[0]} | {parts[1]})"),
        st.tuples(inner, _called(NAMED_TESTS, 1, inner)).map(lambda parts: f"({parts[0]} is {parts[1]})"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]})[{parts[1]}]"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]})[{parts[1]}:{parts[2]}]"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        st.tuples(inner, COLUMNS).map(lambda parts: f"({parts[0]}).{parts[1]}"),
        st.tuples(inner, methods, arguments).map(lambda parts: f"({parts[0]}).{parts[1]}({parts[2]})"),
        _called(FUNCTIONS, 1, inner),
        inner.map(lambda each: f"(not {each})"),
        inner.map(lambda each: f"(-{each})"),
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
        st.tuples(inner, inner).map(lambda parts: f"{{{parts[0]}: {parts[1]}}}"),
    )


NAMED_TESTS = {name: test for name, test in TESTS.items() if name.isalpha() and name not in ("none", "true", "false")}
EXPRESSIONS = st.recursive(WORDS | LITERALS, _larger, max_leaves=6)
GARBAGE = st.lists(
    st.sampled_from(
        [
        "{{", "}}", "{%", "%}", "{#", "#}", "for x in ", "if ", "else", "endfor", "endif", "set x = ", "raw",
        "endraw", "macro m()", "endmacro", "include 'x'", "import 'x' as y", "extends 'x'", "block b",
        "call m()", "filter upper", "with x = 1", "x", "trigger", ".", "[", "]", "|", "(", ")", "'", '"', "1",
        "**", "*", "~", ",", ":", "{", "}", "-", "\n", "é", "\0", "\ud800", "__",
    ]
    ),
    max_size=12,
).map(" ".join)  # fmt: skip
PIECES = st.deferred(
    lambda: (
        EXPRESSIONS.map(lambda e: f"{{{{ {e} }}}}")
        | st.sampled_from([" ", "text", "\n", "{{ x }}", "{{ loop.index }}", "{{ x.a }}"])
        | st.tuples(EXPRESSIONS, BODIES, BODIES).map(
            lambda p: f"{{% if {p[0]} %}}{p[1]}{{% else %}}{p[2]}{{% endif %}}"
        )
        | st.tuples(st.sampled_from(["x", "x", "x", "x, y", "item", "loop"]), EXPRESSIONS, BODIES).map(
            lambda p: f"{{% for {p[0]} in {p[1]} %}}{p[2]}{{% endfor %}}"
        )
        | st.tuples(EXPRESSIONS, EXPRESSIONS, BODIES).map(
            lambda p: f"{{% for x in {p[0]} if {p[1]} %}}{p[2]}{{% else %}}none{{% endfor %}}"
        )
        | EXPRESSIONS.map(lambda e: f"{{% set x = {e} %}}")
    )
)
BODIES = st.lists(PIECES, max_size=2).map("".join)
TEMPLATES = st.one_of(
    EXPRESSIONS.map(lambda e: f"{{{{ {e} }}}}"),
    EXPRESSIONS.map(lambda e: f"{{{{ {e} }}}}"),
    st.lists(PIECES, min_size=1, max_size=4).map(lambda pieces: "{% set x = trigger.row %}" + "".join(pieces)),
    GARBAGE,
)


def rendered(source: str, data: object) -> tuple[str, object]:
    """The kind of outcome, and the value or message."""
    roots = {"trigger": {"row": data}, "steps": {"1": data}, "item": data, "item_index": 3, "loop": {"index": 3}}
    scope = Scope(roots, "run/0/step", NOW)
    try:
        return "value", compile_template(source, roots=RUN_ROOTS, path="x").render(scope)
    except (LanguageError, TemplateError) as error:
        return type(error).__name__, str(error)


@many
@given(TEMPLATES, DATA)
def test_any_template_on_any_data_gives_a_value_or_one_of_our_errors(source: str, data: object) -> None:
    kind, found = rendered(source, data)
    if kind == "value":
        assert is_plain(found)
        assert not isinstance(found, str) or len(found) <= TEXT
    else:
        assert found
        assert len(str(found)) < 1_000


@many
@given(TEMPLATES, DATA)
def test_the_same_template_on_the_same_data_gives_the_same(source: str, data: object) -> None:
    assert repr(rendered(source, data)) == repr(rendered(source, data))


@many
@given(st.sampled_from(sorted(OPERATORS)), DATA, DATA, DATA)
def test_any_comparison_of_any_values_holds_or_does_not(op: str, left: object, right: object, old: object) -> None:
    scope = Scope({"row": {"a": left}, "old_row": {"a": old}, "data": right}, "k", NOW)
    source = {"all": [{"field": "row.a", "op": op, "value": "{{ data }}"}]}
    condition = compile_condition(source, roots=TRIGGER_ROOTS, path="when")
    if op == "matches":
        with suppress(TemplateError):  # the pattern may be none
            assert condition.holds(scope) in (True, False)
    else:
        assert condition.holds(scope) in (True, False)


SAY_FALSE = st.sampled_from(["false", " FALSE\n", "False", "", "\u2003", "fals", "false!"])
CONDITIONS = ["trigger.row", "trigger.nope", "trigger.row and trigger.row", "trigger.row or trigger.nope"]


@many
@given(DATA | SAY_FALSE, st.sampled_from(CONDITIONS))
def test_exactly_one_of_a_condition_and_its_not_holds(value: object, condition: str) -> None:
    scope = Scope({"trigger": {"row": value}}, "k", NOW)
    pairs = [
        (f"{{{{ {condition} }}}}", f"{{{{ not ({condition}) }}}}"),
        (f"{{% if {condition} %}}true{{% endif %}}", f"{{% if not ({condition}) %}}true{{% endif %}}"),
        (f"{{{{ true if {condition} else false }}}}", f"{{{{ false if {condition} else true }}}}"),
        (f"{{{{ [{condition}] | select | list }}}}", f"{{{{ [{condition}] | reject | list }}}}"),
    ]
    decided = [[compile_condition(each, roots=RUN_ROOTS, path="when").holds(scope) for each in pair] for pair in pairs]
    assert decided[0] in ([True, False], [False, True])
    assert decided == [decided[0]] * len(pairs)


@many
@given(st.sampled_from(sorted(OPERATORS)), DATA, DATA, DATA)
def test_exactly_one_of_a_comparison_and_its_none_holds(op: str, left: object, right: object, old: object) -> None:
    roots = {"row": {"a": left}, "old_row": {"a": old}, "data": right}
    comparison = {"field": "row.a", "op": op, "value": "{{ data }}"}
    outcomes: list[object] = []
    for group in ("all", "none"):
        condition = compile_condition({group: [comparison]}, roots=TRIGGER_ROOTS, path="when")
        try:
            outcomes.append(condition.holds(Scope(roots, "k", NOW)))
        except TemplateError as error:  # a pattern that is none
            outcomes.append(str(error))
    assert set(outcomes) == {True, False} or (op == "matches" and outcomes[0] == outcomes[1])


FILTER_OBJECTS = st.recursive(
    DATA
    | st.fixed_dictionaries(
        {
            "field": st.sampled_from(["row.a", "row", "nope", ""]) | DATA,
            "op": st.sampled_from(sorted(OPERATORS)) | DATA,
        },
        optional={"value": DATA | TEMPLATES, "more": DATA},
    ),
    lambda inner: st.dictionaries(
        st.sampled_from(["all", "any", "none", "some"]), st.lists(inner, max_size=3) | inner, max_size=2
    ),
    max_leaves=6,
).filter(lambda source: isinstance(source, dict))  # fmt: skip


@many
@given(FILTER_OBJECTS, DATA)
def test_any_filter_object_is_refused_or_decides(source: Any, data: object) -> None:
    scope = Scope({"row": {"a": data}, "old_row": None}, "k", NOW)
    try:
        condition = compile_condition(source, roots=TRIGGER_ROOTS, path="when")
    except LanguageError:
        return
    try:
        assert condition.holds(scope) in (True, False)
    except TemplateError:
        return


@many
@given(DATA, DATA)
def test_equality_is_the_same_in_both_directions(left: object, right: object) -> None:
    assert equal(left, right) is equal(right, left)


@many
@given(DATA)
def test_any_value_becomes_text_or_one_of_our_errors(value: object) -> None:
    try:
        assert len(to_text(value)) <= TEXT
    except TemplateError:
        return


def is_plain(value: object) -> bool:
    """Data, and nothing of Python's beside."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    return kind_of(value) in ("nothing", "boolean", "number", "text", "time")
