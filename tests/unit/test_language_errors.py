"""What an author reads where a template fails: the path that is missing or wrong, what was expected, the way out, and
nothing of Python."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from inspect import signature
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_data import DATA, NOW, many

from headrace.language import RUN_ROOTS, LanguageError, Scope, TemplateError, compile_template
from headrace.language.checks import TESTS
from headrace.language.filters import FILTERS
from headrace.language.methods import METHODS
from headrace.language.operations import FUNCTIONS

pytestmark = pytest.mark.unit

MISSING = object()
DEEP: list[Any] = []
for _ in range(2_000):
    DEEP = [DEEP]
KINDS: dict[str, object] = {
    "missing": MISSING, "null": None, "boolean": True, "number": 5, "below 0": -3, "huge": 10**400, "fraction": 2.5,
    "no number": float("nan"), "infinite": float("inf"), "decimal": Decimal("2.50"), "no decimal": Decimal("sNaN"),
    "huge decimal": Decimal("1E+999999"), "text": "step 1", "numeric text": "5", "empty text": "", "half": "\ud800",
    "zero character": "\0", "places": "%Y %s %d", "ISO text": "2013-01-31T10:00:00Z", "time": NOW,
    "last time": datetime.max.replace(tzinfo=UTC), "first time": datetime.min.replace(tzinfo=UTC),
    "array": ["step 1", 5], "pairs": [["a", 1], ["b", None]], "objects": [{"a": 1}, {"a": None}, {"a": "x"}, {}],
    "object": {"step 1": 1}, "deep": DEEP,
}  # fmt: skip
PYTHON = re.compile(
    r"NoneType|Missing\b|object at|Error\b|Exception|Traceback|positional|keyword|operand|iterable|subscript|decimal\.|"
    r"'(str|int|float|list|tuple|dict|bool|datetime|bytes)'|\b(str|int|tuple|dict) (is|object|instance)|codec|"
    r"must be|__|lambda|0x|serializ|\bNone\b|\bTrue\b|\bFalse\b"
)
"""Words of Python's own errors."""

LAST_RESORT = "not possible with"
"""What is told where Python fails on values that nobody thought of."""


def failing(source: str) -> Callable[..., str | None]:
    """What gives the message with which a template fails on these members of `trigger`; None if it does not."""
    template = compile_template(source, roots=RUN_ROOTS, path="x")

    def failure(**values: object) -> str | None:
        trigger = {name: value for name, value in values.items() if value is not MISSING}
        try:
            found = template.render(Scope({"trigger": trigger}, "k", NOW))
        except TemplateError as error:
            return error.message
        assert not isinstance(found, str) or " object at 0x" not in found, (source, found)
        return None

    return failure


def check(source: str, message: str, **values: object) -> None:
    """The message is in the author's words, and if something is missing it says by which path."""
    assert not PYTHON.search(message), (source, message)
    assert LAST_RESORT not in message, (source, message)
    if "is missing" in message:
        named = re.search(r"`trigger\.(\w+)`\)? is missing: `\| default\(…\)` gives a value in its place$", message)
        assert named, (source, message)
        assert values[named[1]] is MISSING, (source, message)


CASES = [
    ("{{ trigger.nope | round }}",
     "filter round: expected a number, or text that is one; `trigger.nope` is missing: `| default(…)` gives a value in "
     "its place"),
    ("{{ 5 | money(trigger.nope) }}",
     "filter money: expected text, such as `| string` gives; `currency` (here `trigger.nope`) is missing: "
     "`| default(…)` gives a value in its place"),
    ("{{ 5 | round(precision=trigger.null) }}",
     "filter round: expected a whole number, such as `| int` gives; `precision` (here `trigger.null`) is null: "
     "`| default(…)` gives a value in its place"),
    ("{{ trigger.text | date }}",
     "filter date: expected a time such as 2013-01-31T10:00:00Z; `trigger.text` is text"),
    ("{{ now | diff_time(trigger['at'][0].end) }}",
     "filter diff_time: expected a time such as 2013-01-31T10:00:00Z; `other` (here `trigger['at'][0].end`) is "
     "missing: `| default(…)` gives a value in its place"),
    ("{{ trigger.n.upper() }}", "upper(): expected text, such as `| string` gives; `trigger.n` is a number"),
    ("{{ 'a b'.split(trigger[trigger.n].sep) }}",
     "split(): expected text, such as `| string` gives; `sep` (here `trigger[…].sep`) is missing: `| default(…)` gives "
     "a value in its place"),
    ("{{ range(trigger.n, trigger.nope) }}",
     "range(): expected a whole number, such as `| int` gives; `stop` (here `trigger.nope`) is missing: "
     "`| default(…)` gives a value in its place"),
    ("{{ trigger.list | sum_by('a') }}",
     "filter sum_by: expected a number, or text that is one; something in `trigger.list` is text"),
    ("{{ [trigger.n] | map('round', trigger.nope) }}",
     "filter map: expected a whole number, such as `| int` gives; `argument 1` (here `trigger.nope`) is missing: "
     "`| default(…)` gives a value in its place"),
    ("{{ '%s: %d' | format(trigger.n, trigger.text) }}",
     "filter format: expected a number, or text that is one; `argument 2` (here `trigger.text`) is text"),
    ("{{ trigger.list | map(trigger.text) }}",
     "filter map: `filter` is the name of a filter, and there is none of this name"),
    ("{{ trigger.n + trigger.nope }}",
     "+: expected a number; `trigger.nope` is missing: `| default(…)` gives a value in its place"),
    ("{{ -trigger.text }}",
     "-: expected a number (`| number` makes one of text, `~` joins texts); `trigger.text` is text"),
    ("{{ trigger.text + trigger.n }}",
     "+: expected text, as the other is (`~` joins anything as text); `trigger.n` is a number"),
    ("{{ trigger.nope + [1] }}",
     "+: expected an array, as the other is; `trigger.nope` is missing: `| default(…)` gives a value in its place"),
    ("{{ (trigger.n / 2) | date }}",
     "filter date: expected a time such as 2013-01-31T10:00:00Z; the value is a number"),
    ("{{ 1 / 0 }}", "/: division by zero"),
    ("{{ trigger.text[trigger.nope:] }}",
     "slice: expected a whole number, such as `| int` gives; `start` (here `trigger.nope`) is missing: "
     "`| default(…)` gives a value in its place"),
    ("{% for x in trigger.n %}{% endfor %}", "for: expected an array; `trigger.n` is a number"),
    ("{% for a, b in trigger.list %}{% endfor %}",
     "for: its 2 variables take an array of 2 from each item, but one is an object"),
    ("{{ trigger.deep | to_json }}",
     "this cannot be written as JSON: its arrays and objects are nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "message"), CASES)
def test_an_error_names_the_path_what_was_expected_and_the_way_out(source: str, message: str) -> None:
    values = {"n": 5, "text": "late", "null": None, "at": [{}], "list": [{"a": "x"}], "deep": DEEP}
    assert failing(source)(**values) == message


@pytest.mark.parametrize(
    "source",
    [
        "1e308 * 10",
        "1e308 + 1e308",
        "-1e308 - 1e308",
        "1e308 / 0.1",
        "1e308 // 0.1",
        "10.0 ** 400",
        "1e308 * n",
        "huge * 1.5",
        "[1e308, 1e308] | sum",
        "[{'a': 1e308}, {'a': 1e308}] | sum_by('a')",
        "infinite | abs",
        "none | number",
        "infinite - infinite",
        "no_decimal + 1",
        "{'a': [1e308 * 10]}",
    ],
)
def test_a_number_that_is_infinite_or_none_is_an_error_wherever_it_arises(source: str) -> None:
    template = re.sub(r"\b(n|huge|infinite|none|no_decimal)\b", r"trigger.\1", source)
    values = {
        "n": 10,
        "huge": Decimal("1E+999"),
        "infinite": float("inf"),
        "none": float("nan"),
        "no_decimal": Decimal("NaN"),
    }
    message = failing(f"{{{{ {template} }}}}")(**values)
    assert (message or "").endswith(": the number is too large, or none")


def test_text_of_a_number_that_is_infinite_or_none_is_no_number() -> None:
    assert failing("{{ trigger.a | number }}")(a="inf") == (
        "filter number: expected a number, or text that is one; `trigger.a` is text"
    )
    for text in ("inf", "nan", "Infinity", "1e400"):
        assert value_of("{{ trigger.a | float(7) }}", a=text) == 7


def test_a_number_too_large_is_refused_where_it_is_written() -> None:
    with pytest.raises(
        LanguageError, match=r"line 1, column 5: this number is too large: the largest is about 1.8e308"
    ):
        compile_template("a b {{ [-1e400] }}", roots=RUN_ROOTS, path="x")


def value_of(source: str, **trigger: object) -> object:
    return compile_template(source, roots=RUN_ROOTS, path="x").render(Scope({"trigger": trigger}, "k", NOW))


def test_an_error_never_tells_the_value() -> None:
    for source in ("{{ trigger.a | round }}", "{{ trigger.a | date(trigger.a) }}", "{{ [1] | map(trigger.a) }}"):
        assert "hidden9" not in (failing(source)(a="hidden9") or "")


def test_a_path_as_long_as_a_template_is_cut_in_an_error() -> None:
    message = failing("{{ trigger." + ".".join(["a" * 50] * 50) + " | round }}")()
    assert message is not None
    assert len(message) < 300


Table = Mapping[str, Callable[..., object]]


def calls(table: Table, before: int, form: str) -> Iterator[tuple[str, list[str]]]:
    """Each function with each number of its arguments by place, and each of those by name: the template, and the
    members of `trigger` in it."""
    for name in (each for each in table if each.isidentifier() and each not in ("none", "true", "false", "in")):
        parameters = list(signature(table[name]).parameters.values())[before:]
        places = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        required = sum(each.default is each.empty for each in places)
        rest = 2 if any(each.kind is each.VAR_POSITIONAL for each in parameters) else 0
        for count in range(required, len(places) + rest + 1):
            given = "abcdef"[:count]
            yield form.format(name, ", ".join(f"trigger.{each}" for each in given)), ["v", *given]
        if table is FILTERS:
            given = "abcdef"[:required]
            for each in parameters:
                if each.kind is not each.VAR_POSITIONAL and each.name not in [
                    place.name for place in places[:required]
                ]:
                    placed = [f"trigger.{one}" for one in given]
                    yield form.format(name, ", ".join([*placed, f"{each.name}=trigger.z"])), ["v", *given, "z"]


CALLS = [
    *calls(FILTERS, 2, "{{{{ trigger.v | {}({}) }}}}"),
    *calls(METHODS, 2, "{{{{ trigger.v.{}({}) }}}}"),
    *calls(FUNCTIONS, 1, "{{{{ {}({}) }}}}"),
    *calls(TESTS, 1, "{{{{ trigger.v is {}({}) }}}}"),
    *[(f"{{{{ trigger.v {each} trigger.a }}}}", ["v", "a"])
      for each in ("+", "-", "*", "/", "//", "%", "**", "~", "<", "==", "in", "and")],
    *[(f"{{{{ trigger.list | {each} }}}}", ["list", "a"])
      for each in ("map('round', trigger.a)", "map('replace', trigger.a, 'x')", "map(attribute=trigger.a)",
                   "select('lt', trigger.a)", "rejectattr('a', 'in', trigger.a)")],
    ("{{ trigger.v[trigger.a] }}", ["v", "a"]), ("{{ trigger.v[trigger.a:trigger.b:trigger.c] }}", ["v", *"abc"]),
    ("{% for x in trigger.v if trigger.a %}{{ x }}{% endfor %}", ["v", "a"]),
    ("{% for x, y in trigger.v %}{{ x }}{% endfor %}", ["v"]),
    ("{{ '%s %d' | format(trigger.v, trigger.a) }}", ["v", "a"]), ("{{ -trigger.v }}", ["v"]),
    ("{{ trigger.v }}.", ["v"]),
]  # fmt: skip
FITTING: dict[str, object] = {"v": "5", "a": "1", "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "z": 1, "list": [1, {"a": 2}]}
"""So that one wrong value does not hide the next."""


@pytest.mark.parametrize(("source", "members"), CALLS)
def test_every_call_with_any_kind_in_every_place_fails_in_the_author_s_words(source: str, members: list[str]) -> None:
    failure = failing(source)
    for first in ("text", "number", "ISO text", "array", "object", "missing"):
        for member in members:
            for value in KINDS.values():
                values = {**{each: FITTING[each] for each in members}, members[0]: KINDS[first], member: value}
                message = failure(**values)
                if message is not None:
                    check(source, message, **values)


FITS = ("1", 9, "2013-01-31", "upper", "indent", "eq", "key", "hours", "common", "minutes", "T", 1)
FIRST = [KINDS[kind] for kind in ("numeric text", "number", "ISO text", "array", "pairs", "objects", "object")] + [
    "NQ=="
]
NEVER_FITS = ("map()", "map(default=", "trigger.c)", "trigger.d)", "| format(")
"""Of filters that take another's name, what is no whole call; and places in a format."""


@pytest.mark.parametrize(("source", "members"), CALLS)
def test_what_fails_only_because_something_is_missing_names_that(source: str, members: list[str]) -> None:
    failure = failing(source)
    choices = [FIRST, *[FITS] * (len(members) - 1)]
    fitting = next(
        (each for each in product(*choices) if failure(**dict(zip(members, each, strict=True))) is None), None
    )
    if fitting is None:
        assert any(each in source for each in NEVER_FITS), "no values are known that fit: add some to FITS"
        return
    for member in members:
        message = failure(**{**dict(zip(members, fitting, strict=True)), member: MISSING})
        assert message is None or re.search(rf"`trigger\.{member}`\)? is missing", message), message


@many
@given(st.sampled_from(CALLS), st.lists(DATA | st.just(MISSING), min_size=7, max_size=7))
def test_every_call_with_any_data_fails_in_the_author_s_words(call: tuple[str, list[str]], data: list[object]) -> None:
    source, members = call
    values = dict(zip(members, data, strict=False))
    message = failing(source)(**values)
    if message is not None:
        check(source, message, **values)


REFUSED = [
    (form.format(name, arguments), name)
    for table, form in (
        (FILTERS, "{{{{ 1 | {}({}) }}}}"),
        (METHODS, "{{{{ now.{}({}) }}}}"),
        (FUNCTIONS, "{{{{ {}({}) }}}}"),
    )
    for name in table
    for arguments in (", ".join("1" * 9), "1, 1, nope=1")
    if name not in ("format", "map", "select", "reject", "selectattr", "rejectattr")
]
"""Too many arguments, and one by a name that there is not; filters that take any number of arguments aside."""


@pytest.mark.parametrize(("source", "name"), REFUSED)
def test_what_is_wrong_with_a_call_is_told_in_the_author_s_words_when_it_is_saved(source: str, name: str) -> None:
    with pytest.raises(LanguageError, match=rf"{name}(\(\))?: |without named arguments") as refused:
        failing(source)
    assert not PYTHON.search(refused.value.message)


def test_a_number_too_long_to_be_read_is_told_so() -> None:
    with pytest.raises(LanguageError, match="a number in it is too long"):
        compile_template("{{ " + "9" * 5_000 + " }}", roots=RUN_ROOTS, path="x")
