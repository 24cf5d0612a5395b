"""Templates: what authors write, what they get, and what they can never do."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.language import RUN_ROOTS, LanguageError, Scope, TemplateError, compile_template, compile_value
from headrace.language.filters import FILTERS

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
        ("  {{ trigger.row.n }} of {{ trigger.row.price }}  ", "  5 of 2.5  "),
        ("{% for k, v in {'a': 1} | items %}{{ k }}{{ v }}{% else %}none{% endfor %}", "a1"),
        ("{% for x in trigger.row.list if x > 1 %}{{ x }}{% endfor %}", "32"),
        ("{% for x in [] %}x{% else %}none{% endfor %}", "none"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
)
def test_a_text_with_holes_is_text(source: str, wanted: str) -> None:
    assert render(source) == wanted


def test_a_text_that_looks_like_data_stays_text() -> None:
    assert row("'[1, 2]'") == "[1, 2]"
    assert row("'5'") == "5"


def test_one_expression_keeps_its_type_within_white_space() -> None:
    assert render("\n  {{ trigger.row.n }}\n") == 5


def test_loop_is_the_automation_s_outside_of_for_and_jinja_s_inside() -> None:
    roots = {"loop": {"index": 7, "parent": {"index": 9}}}
    assert render("{{ loop.parent.index }}", **roots) == 9
    assert (
        render("{{ loop.index }}: {% for x in [1, 2] %}{{ loop.index }}{% endfor %} {{ loop.index }}", **roots)
        == "7: 12 7"
    )
    assert render("{% for x in [1, 2] if loop.index == 7 %}{{ x }}{% endfor %}", **roots) == "12"
    assert render("{% for x in [] %}{% else %}{{ loop.index }}{% endfor %}", **roots) == "7"


def test_item_and_item_index_always_mean_the_automation_s() -> None:
    roots = {"item": "leg", "item_index": 3}
    assert render("{% for x in [1] %}{{ item }}{{ item_index }}{% endfor %}", **roots) == "leg3"
    for name in ("item", "item_index", "loop"):
        for source in (f"{{% for {name} in [1] %}}{{% endfor %}}", f"{{% set {name} = 1 %}}"):
            with pytest.raises(LanguageError, match=f"'{name}' is taken"):
                render(source)


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


# One row a filter that is not in the table above; `test_every_filter_is_shown` sees that none is missing.
MORE_FILTERS = [
    # Times.
    ("$at.weekday()", 1), ("$at.isoformat('T', 'minutes')", "2013-01-01T10:00+00:00"),
    ("'2013-01-31' | to_datetime", datetime(2013, 1, 31, tzinfo=UTC)), ("$at | diff_time('2013-01-01T08:30:00Z', 'minutes')", 90.0),
    ("'2013-01-31T10:00:00+05:00' | date('%d.%m.%y %z')", "31.01.13 +0500"), ("'2013-01-31' | add_time(weeks=1, days=-1)", datetime(2013, 2, 6, tzinfo=UTC)),
    # JSON, hashes and encodings.
    ("[1] | tojson(indent=2)", "[\n  1\n]"), ("'a' | md5", "0cc175b9c0f1b6a831c399e269772661"),
    ("'a' | sha256 | length", 64), ("'a' | hmac_sha256('k') | truncate(8, true, '')", "78da9151"), ("'é' | base64_encode", "w6k="),
    ("'w6k=' | base64_decode", "é"), ("'a%20b' | url_decode", "a b"), ("'a/b c' | urlencode", "a/b%20c"), ("{'a b': 1, 'c': '&'} | urlencode", "a%20b=1&c=%26"),
    # Texts.
    ("'aB' | lower", "ab"), ("'aB cd' | capitalize", "Ab cd"), ("\"it's a dog-day\" | title", "It's A Dog-Day"), ("'a' | center(5)", "  a  "),
    ("'a\nb\n\nc' | indent(2)", "a\n  b\n\n  c"), ("'abab' | replace('a', 'x', 1)", "xbab"), ("'  xax ' | trim | trim('x')", "a"),
    ("'foo bar baz qux' | truncate(9)", "foo..."), ("'foo bar baz qux' | truncate(9, true)", "foo ba..."), ("'foo bar baz' | truncate(9)", "foo bar baz"),
    ("'a b  c' | wordcount", 3), ("'aaa bb c' | wordwrap(4)", "aaa\nbb c"), ("'abcdef' | wordwrap(4)", "abcd\nef"), ("1.5 | string", "1.5"),
    ("'<b>a</b> &amp;  <!-- x > --> c' | striptags", "a & c"), ("'<b>' | escape", "&lt;b&gt;"), ("'<b>' | e", "&lt;b&gt;"), ("'<b>' | forceescape", "&lt;b&gt;"),
    ("'<b>' | safe", "<b>"), ("'%s has %05.2f%%' | format('UA', 2.5)", "UA has 02.50%"), ("'é1' | regex_replace('(.)1', '\\\\1ß')", "éß"),
    ("'ab' | regex_replace('(?P<x>a)', '<\\\\g<x>>')", "<a>b"), ("'abc' | regex_replace('', '-')", "-a-b-c-"),
    # Numbers and money.
    ("-5 | abs", 5), ("'2.5' | number", 2.5), ("1234567.891 | money('EUR')", "1,234,567.89 EUR"), ("2.5 | round", 3.0), ("2.1 | round(0, 'ceil')", 3.0),
    ("'x' | float", 0.0), ("'ff' | int(0, 16)", 255), ("1500 | filesizeformat", "1.5 kB"), ("1536 | filesizeformat(true)", "1.5 KiB"), ("1 | filesizeformat", "1 Byte"),
    # Arrays and objects.
    ("$none | d(3)", 3), ("$list | count", 3), ("$list | last", 2), ("$list | min", 1), ("$list | reverse", [2, 1, 3]), ("'ab' | list", ["a", "b"]),
    ("[1, 2, 3] | batch(2, 0)", [[1, 2], [3, 0]]), ("[1, 2, 3] | slice(2, 0)", [[1, 2], [3, 0]]), ("{'b': 1, 'a': 2} | dictsort", [["a", 2], ["b", 1]]),
    ("{'b': 1} | items", [["b", 1]]), ("$flights | group_by('c') | length", 2), ("$flights | groupby('c') | map('first') | list", ["DL", "UA"]),
    ("['a', 'B'] | map('lower') | list", ["a", "b"]), ("$flights | map(attribute='c')", ["UA", "DL", "UA"]), ("[1, 2, 3] | select('odd')", [1, 3]),
    ("[1, 2, 3] | reject('odd')", [2]), ("$flights | selectattr('c', 'eq', 'UA') | sum_by('d')", 11), ("$flights | rejectattr('d', '>', 4) | pluck('d')", [1]),
    ("[5] | random", 5), ("['b', 'A'] | sort(case_sensitive=true)", ["A", "b"]), ("[[1, 2], [3]] | map('sum')", [3, 3]), ("[] | first", None),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "wanted"), MORE_FILTERS)
def test_filters_do_what_jinja_and_the_page_say(expression: str, wanted: object) -> None:
    assert row(expression) == wanted


def test_every_filter_is_shown() -> None:
    text = Path(__file__).read_text()
    assert [name for name in FILTERS if f"| {name}" not in text] == []


def test_a_filter_s_arguments_are_checked_when_it_is_saved() -> None:
    for source, words in (
        ("{{ [] | pluck }}", "argument `attribute` is missing; it takes `attribute`"),
        ("{{ now | add_time(month=1) }}", "no argument `month`; it takes `weeks`, `days`"),
        ("{{ 1 is eq }}", "argument `right` is missing"),
        ("{{ now | add_time(1) }}", "too many arguments; .*each by its name"),
        ("{{ [] | pluck('a', attribute='b') }}", "`attribute` is given twice"),
        ("{{ [] | map('replace', 'a') }}", "filter replace: the argument `new` is missing"),
        ("{{ [] | select('odd', 1) }}", "test odd: too many arguments; it takes none"),
        ("{{ 'a'.upper(1) }}", "upper.*: too many arguments; it takes none"),
        ("{{ money(1) }}", r"money is a filter, and no function: write `value \| money`"),
        ("{{ uuid(1) }}", "too many"),
        ("{{ [] | map('uper') | list }}", "did you mean 'upper'"),
        ("{{ [] | select('od') | list }}", "did you mean 'odd'"),
    ):
        with pytest.raises(LanguageError, match=words):
            compile_template(source, roots=RUN_ROOTS, path="x")


def test_a_date_s_format_gives_the_same_on_every_machine() -> None:
    assert row("now | date('%Y-%j %H%%')") == "2013-001 05%"
    for format in ("%s", "%c", "%x", "%999999d", "%"):
        with pytest.raises(TemplateError, match="after %"):
            row(f"now | date('{format}')")


def test_a_time_without_a_zone_is_utc_on_every_machine() -> None:
    naive = {"row": {"at": datetime(2013, 1, 1)}}  # noqa: DTZ001
    assert render("{{ trigger.row.at.timestamp() }}", trigger=naive) == 1356998400.0


def test_decimals_are_numbers() -> None:
    data = {"row": {"price": Decimal("2.50"), "none": Decimal("sNaN")}}
    assert render("{{ trigger.row.price * 2 }}", trigger=data) == Decimal("5.00")
    assert render("{{ trigger.row.price + 0.5 }}", trigger=data) == 3.0
    assert render("{{ trigger.row.price == '2.5' and trigger.row.price is number }}", trigger=data) is True
    assert render("{{ trigger.row | to_json }}", trigger={"row": {"a": Decimal("2.50")}}) == '{"a":"2.50"}'
    with pytest.raises(TemplateError, match="none"):
        render("{{ trigger.row.none + 0.5 }}", trigger=data)


def test_a_step_that_is_taken_up_again_after_its_children_draws_on() -> None:
    scope = Scope({}, "run/0/each", NOW)
    first = scope.uuid()
    scope.key = "run/0/each.leg/0"
    inner = scope.uuid()
    scope.key = "run/0/each"
    assert len({first, inner, scope.uuid()}) == 3


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


def test_a_pattern_that_would_backtrack_for_ever_is_linear() -> None:
    assert row("('a' * 50000 ~ '!') | regex_match('^(a+)+$')") is False
