"""Templates: what authors write, what they get, and what they can never do."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.language import RUN_ROOTS, LanguageError, Scope, TemplateError, compile_template, compile_value
from headrace.language.limits import TEXT

pytestmark = pytest.mark.unit

NOW = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)
ROW: dict[str, Any] = {
    "n": 5, "price": 2.5, "text": "late", "empty": "", "none": None, "yes": True, "list": [3, 1, 2],
    "items": "a column", "keys": "another", "values": 7, "flights": [{"c": "UA", "d": 10}, {"c": "DL", "d": 5}, {"c": "UA", "d": 1}],
    "at": "2013-01-01T10:00:00Z",
}  # fmt: skip


def render(source: str, **roots: object) -> object:
    scope = Scope({"trigger": {"row": ROW}, **roots}, "run/0/step", NOW)
    return compile_template(source, roots=RUN_ROOTS, path="steps.0.with.text").render(scope)


def row(expression: str) -> object:
    return render("{{ " + expression.replace("$", "trigger.row.") + " }}")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("$n", 5), ("$price", 2.5), ("$yes", True), ("$none", None), ("$list", [3, 1, 2]), ("$text", "late"),
        ("$n + 1", 6), ("$n / 2", 2.5), ("$n // 2", 2), ("$n % 2", 1), ("2 ** 10", 1024), ("-$n", -5),
        ("$n > 4 and $text == 'late'", True), ("not $empty", True), ("$n if $yes else 0", 5), ("$n in [1, 5]", True),
        ("'la' in $text", True), ("$list[0]", 3), ("$list[-1]", 2), ("$list[1:]", [1, 2]), ("$text ~ $n", "late5"),
        ("{'a': $n}", {"a": 5}), ("[$n, 'x']", [5, "x"]), ("1 < $n <= 5", True),
        ("$items", "a column"), ("$keys", "another"), ("$values", 7),
        ("$n is number", True), ("$nowhere is defined", False), ("$none is none", True), ("$text is string", True),
    ],
)  # fmt: skip
def test_one_expression_keeps_its_type(expression: str, wanted: object) -> None:
    found = row(expression)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize("path", ["$nowhere", "$nowhere.at.any.depth", "$n.x", "$list[99]", "$none.x", "$text.upper"])
def test_a_path_that_leads_nowhere_is_empty_and_falsy(path: str) -> None:
    assert row(path) is None
    assert render("a{{ " + path.replace("$", "trigger.row.") + " }}b") == "ab"
    assert row(f"'yes' if {path} else 'no'") == "no"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("plain", "plain"),
        ("{{ trigger.row.n }} and {{ trigger.row.text }}", "5 and late"),
        ("x{{ trigger.row.none }}y", "xy"),
        ("x{{ trigger.row.yes }}y", "xtruey"),
        ("x{{ trigger.row.list }}y", "x[3,1,2]y"),
        ("{% for i in trigger.row.list %}{{ i }}{% if not loop.last %};{% endif %}{% endfor %}", "3;1;2"),
        ("{% if trigger.row.n > 9 %}big{% elif trigger.row.n > 4 %}some{% else %}few{% endif %}", "some"),
        ("{% set a = 2 %}{{ a * 3 }}.", "6."),
        ("{# nothing #}text", "text"),
        ("{{ 'a{{b}}' }}", "a{{b}}"),
    ],
)
def test_a_text_with_holes_is_text(source: str, wanted: str) -> None:
    assert render(source) == wanted


def test_a_text_that_looks_like_data_stays_text() -> None:
    assert row("'[1, 2]'") == "[1, 2]"
    assert row("'5'") == "5"


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("$text | upper", "LATE"), ("'  a ' | trim", "a"), ("'Ä b' | slugify", "a-b"), ("$none | default(3)", 3),
        ("$list | sort", [1, 2, 3]), ("$list | sum", 6), ("$list | max", 3), ("$list | first", 3), ("$list | length", 3),
        ("$list | join('-')", "3-1-2"), ("$flights | pluck('c')", ["UA", "DL", "UA"]), ("$flights | sum_by('d')", 16),
        ("$flights | sort_by('d') | pluck('d')", [1, 5, 10]), ("[1, 1, 2] | unique", [1, 2]),
        ("[1, 2, 3] | chunk(2)", [[1, 2], [3]]), ("'a1b22' | regex_replace('[0-9]+', '#')", "a#b#"),
        ("'abc' | regex_match('^a.c')", True), ("{'a': [1]} | to_json", '{"a":[1]}'), ("'[1]' | from_json", [1]),
        ("2.345 | round(2)", 2.35), ("'a b' | url_encode", "a%20b"), ("'7' | int", 7), ("'x' | int(2)", 2),
        ("$at | add_time(hours=2) | date('%H:%M')", "12:00"),
    ],
)  # fmt: skip
def test_filters_do_what_their_names_say(expression: str, wanted: object) -> None:
    assert row(expression) == wanted


def test_what_differs_between_tries_is_the_same_for_a_step_key() -> None:
    assert row("uuid()") == row("uuid()")
    assert row("random()") == row("random()")
    first, second = str(render("{{ uuid() }} {{ uuid() }}")).split()
    assert first != second
    assert row("now") == NOW


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ triger.row }}", "triger"),
        ("{{ trigger.row | nosuch }}", "nosuch"),
        ("{{ 1 + }}", "line 1"),
        ("text\n{{ 1 + }}", "line 2"),
        ("{% for %}", "line 1"),
        ("{{ a() }}", "a"),
        ("{% include 'x' %}", "include"),
        ("{% macro m() %}{% endmacro %}", "macro"),
        ("{{ trigger is nosuch }}", "nosuch"),
    ],
)
def test_a_template_that_can_never_work_is_refused_with_its_place(source: str, words: str) -> None:
    with pytest.raises(LanguageError) as refused:
        compile_template(source, roots=RUN_ROOTS, path="steps.0.with.text")
    assert refused.value.path == "steps.0.with.text"
    assert words in str(refused.value)


def test_the_path_names_the_place_inside_a_structure() -> None:
    with pytest.raises(LanguageError, match=r"with\.rows\.1\.name"):
        compile_value({"rows": [{}, {"name": "{{ nope }}"}]}, roots=RUN_ROOTS, path="with")


@pytest.mark.parametrize("expression", ["1 / 0", "$text + 1", "$n | sort", "'x' | number", "'(' | regex_match('(')"])
def test_a_failure_at_run_time_is_an_error_and_never_text(expression: str) -> None:
    with pytest.raises(TemplateError):
        row(expression)


GREEDY = [
    "'x' * 10**9", "10**9 * 'x'", "[0] * 10**9", "2 ** (10**9)", "9 ** (9 ** 9)", "(2 ** 4000) * (2 ** 4000)",
    "range(10**9) | list", "'x' | center(10**9)", "'%1000000000d' % 1", "('x' * 1000000) ~ ('x' * 1000000)",
    "'x' | replace('x', 'y' * 1000000) | replace('y', 'zz')", "1 << 10**9",
]  # fmt: skip


@pytest.mark.parametrize("expression", GREEDY)
def test_what_would_take_all_memory_or_time_is_refused(expression: str) -> None:
    with pytest.raises((TemplateError, LanguageError)):
        row(expression)


def test_a_loop_that_never_ends_comes_to_its_limit() -> None:
    with pytest.raises(TemplateError, match="iterations"):
        render("{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}")
    with pytest.raises(TemplateError) as too_long:
        render("{% for a in range(90000) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}")
    assert too_long.value.type == "template_limit"


@pytest.mark.parametrize(
    "source", ["(" * 500 + "1" + ")" * 500, "[" * 500 + "]" * 500, "not " * 500 + "1", "1" + "+1" * 500]
)
def test_nesting_is_bounded_when_it_is_saved(source: str) -> None:
    with pytest.raises(LanguageError, match="nest"):
        compile_template("{{ " + source + " }}", roots=RUN_ROOTS, path="x")


ESCAPES = [
    "''.__class__", "''.__class__.__mro__[1].__subclasses__()", "[].__class__.__base__", "{}.__init__.__globals__",
    "''['__class__']", "''|attr('__class__')", "trigger.__class__", "trigger['__class__']", "trigger.row.__init__",
    "self.__dict__", "self._TemplateReference__context", "cycler.__init__.__globals__.os", "joiner.__init__",
    "lipsum.__globals__['os'].popen('id')", "namespace.__init__", "request.application", "config.items()",
    "get_flashed_messages.__globals__", "url_for.__globals__", "().__class__.__bases__[0]", "(1).__class__",
    "'{0.__class__}'.format(1)", "'%s'.__class__", "''.join.__self__", "[].append(1)", "trigger.row.list.append(9)",
    "trigger.row.pop('n')", "''.format_map({})", "uuid.__globals__", "random.__self__", "range.__class__", "now.__class__",
    "now.tzinfo", "(now | date).__class__", "loop.__class__", "caller()", "varargs", "''|map('__class__')|list",
    "[1]|map(attribute='__class__')|list", "[1]|selectattr('__class__')|list", "[''] | pluck('__class__')",
    "[{}]|sort(attribute='__class__')", "dict.__mro__", "True.__class__", "none.__class__",
]  # fmt: skip


@pytest.mark.parametrize("expression", ESCAPES)
def test_no_way_leads_out_to_python(expression: str) -> None:
    """Refused, or empty as any path that leads nowhere; never an object of Python's."""
    try:
        found = row(expression)
    except (LanguageError, TemplateError):
        return
    assert found in (None, "", [], [None], [""], False) or found == [{}] or found == [1]
    assert ROW["list"] == [3, 1, 2]
    assert ROW["n"] == 5


def test_a_pattern_that_would_backtrack_for_ever_is_linear() -> None:
    assert row("('a' * 50000 ~ '!') | regex_match('^(a+)+$')") is False


WORDS = st.sampled_from(
    ["{{", "}}", "{%", "%}", " for x in ", " if ", " else ", "endfor", "endif", "set ", "x", "trigger", ".row", ".n", "[0]",
     "|", "upper", "join", "sort", "(", ")", "'", '"', "1", "10**9", "*", "~", "not ", " in ", " is ", "none", "loop", "_",
     "__class__", "uuid()", "range(9)", ",", ":", "{", "}", "#", "\n", "é", "\x00"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(WORDS, max_size=14).map("".join),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_no_template_and_no_data_make_anything_but_a_value_or_one_of_our_errors(source: str, data: object) -> None:
    try:
        found = render(source, trigger={"row": data})
    except (LanguageError, TemplateError):
        return
    assert _plain(found)
    assert not isinstance(found, str) or len(found) <= TEXT


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_plain(item) for item in value.values())
    if isinstance(value, float):
        return math.isfinite(value) or True
    return value is None or isinstance(value, bool | int | str | datetime)
