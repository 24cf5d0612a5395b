"""The text of automation files: what YAML and JSON mean here, and what is said of text that means nothing."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.parsing import MOST_DIGITS, Parsed, parse_json, parse_yaml
from headrace.syntax_mistakes import QUOTE_IT, Unreadable

pytestmark = pytest.mark.unit

Parse = Callable[[str], list[Parsed]]

SAME = [
    ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ('{"\\ud83d\\ude00": 1}', {"\N{GRINNING FACE}": 1}),
    ('[1, 1.5, -3, 1e5, true, null, "x"]', [1, 1.5, -3, 1e5, True, None, "x"]),
    ('{"1": "a", "true": "b", "": "c"}', {"1": "a", "true": "b", "": "c"}),
    ('{"<<": 1, "=": "="}', {"<<": 1, "=": "="}),
]


@pytest.mark.parametrize(("text", "value"), SAME)
def test_json_means_the_same_in_a_yaml_file(text: str, value: object) -> None:
    assert [each.value for each in parse_yaml(text)] == [each.value for each in parse_json(text)] == [value]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_any_json_is_read_as_it_was_written_whatever_its_escapes(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    (found,) = parse_json(text)
    assert found.value == value


def test_names_are_text_and_words_that_only_yaml_1_1_knows_are_text() -> None:
    text = "{1: 2026-02-30, true: 10:30:00, null: yes, on: 0x1F, k: =, z: <<, 1.0: !!str 5, x: !!int 5}"
    assert parse_yaml(text)[0].value == {
        "1": "2026-02-30", "true": "10:30:00", "null": "yes", "on": "0x1F", "k": "=", "z": "<<", "1.0": "5", "x": 5,
    }  # fmt: skip


def test_an_alias_of_a_number_stays_a_number_where_a_name_is_the_same_node() -> None:
    assert parse_yaml("x: &a 1\n*a : y\nz: *a\n")[0].value == {"x": 1, "1": "y", "z": 1}


@pytest.mark.parametrize("parse", [parse_yaml, parse_json])
def test_a_number_of_any_length_is_read_and_is_beyond_64_bits(parse: Parse) -> None:
    (short,) = parse(str(1 << 64))
    (long,) = parse("-" + "9" * 5_000)
    assert short.value == 1 << 64
    assert isinstance(long.value, int)
    assert long.value < -(10**MOST_DIGITS)


YAML = [
    ("text: {{ x }}", "1:7", QUOTE_IT),
    ("a: 1\ntext: {{ x }} and more", "2:7", QUOTE_IT),
    ("text: {% if x %}a{% endif %}", "1:7", QUOTE_IT),
    ("with: {text: {{ row.x | default('a') }}}", "1:14", QUOTE_IT),
    ("a: [1, {{ x }}]", "1:8", QUOTE_IT),
    ('a: {{ row["a"] }}', "1:4", QUOTE_IT),
    ('a: "x {{ y }}" z', "1:16", "this follows a value that has ended"),
    ("a: 'it's'", "1:8", "quote the whole of a text that holds quotes"),
    ("a: b: c", "1:5", "a colon and a space begin a value, and none can begin here"),
    ("a: 1\n  b: 2", "2:4", "or mend the indentation"),
    ("a:\n\tb: c", "2:1", "a tab cannot indent; use spaces"),
    ("a: @x", "1:4", "text cannot begin with '@'; quote it"),
    ("a: *x", "1:4", "`*x` stands for `&x`, which is nowhere above"),
    ("a: *.log", "1:5", "text that begins with `*` or `&` must be quoted"),
    ("a: &x 1\nb: &x 2", "2:4", "`&x` is there twice"),
    ("a: | foo", "1:6", "after `|` or `>` the text begins on the next line"),
    ('a: "x\nb: 1', "1:4", "a quote is opened and not closed"),
    ('a: "\\q"', "1:6", "`\\q` is no escape; write `\\\\q`"),
    ('a: "\\u12"', "1:7", "an escape has 4 hexadecimal digits here"),
    ('a: "\\UFFFFFFFF"', "1:5", "this escape names no character"),
    ("a: - b", "1:4", "a list's `-` begins a line of its own"),
    ("a: 1\nb", "2:2", "expected `name: value`"),
    ("- [", "1:4", "a bracket is not closed"),
    ("a: {b: c", "1:9", "the closing `}` is missing"),
    ("a: [1}", "1:6", "the closing `]` is missing"),
    ("- a\nb: c", "2:1", "this does not belong to the lines above"),
    ("[1]\na: b", "2:1", "begin another one with a line `---`"),
    ("a: !x y", "1:4", "the tag `!x` has no meaning here; leave it out"),
    ("a: !!binary aGk=", "1:4", "the tag `!!binary` has no meaning here"),
    ("a: !!python/object:os.system x", "1:4", "the tag `!!python/object:os.system` has no meaning here"),
    ("a: !!int abc", "1:4", "this is no `!!int`; leave the tag out"),
    ("a: !!bool maybe", "1:4", "this is no `!!bool`"),
    ("a: !h!x y", "1:4", "tags (`!`) and directives (`%`) have no meaning here"),
    ("? [a]\n: b", "1:3", "a name is text, not a list or a mapping"),
    ("{a: 1, a: 2}", "1:8", "'a' is there twice"),
    ("{1: a, '1': b}", "1:8", "'1' is there twice"),
    ("<<: 5", "1:5", "`<<` takes a mapping"),
    ('a: "\\ud83d"', "1:4", "half of a surrogate pair (\\ud800 to \\udfff) is no character"),
    ('"\\ude00\\ud83d": 1', "1:1", "half of a surrogate pair"),
    ("a: \x01", "1:4", "the character U+0001 is not allowed; in double quotes write \\u0001 for it"),
    ("x: 1\na: &a [*a]", "2:4", "nested without end"),
]  # fmt: skip
JSON_TEXTS = [
    ('{"a": 1,}', "1:9", "expected a name in double quotes"),
    ("{'a': 1}", "1:2", "expected a name in double quotes"),
    ('{"a" 1}', "1:6", "expected `:`"),
    ("[1 2]", "1:4", "expected `,`"),
    ('{\n"a": True}', "2:6", "expected a value"),
    ("", "1:1", "expected a value"),
    ('{"a": 1} {}', "1:10", "a JSON file holds one"),
    ('{"a": "x', "1:7", "a quote is opened and not closed"),
    ('{"a": "x\n"}', "1:9", "line breaks and tabs in a text are written as \\n and \\t"),
    (r'{"a": "\q"}', "1:8", "this is no escape"),
    ('{"a": 1, "a": 2}', "1:10", "'a' is there twice"),
    ('{"a": "\\ud83d"}', "1:7", "half of a surrogate pair"),
    ('{"%s": 1}' % ("a" * 1100), None, "a name has 1100 characters; 1000 are accepted"),
    ("[" * 100_000, None, "nested too deeply to be read"),
]  # fmt: skip


def test_yaml_that_is_nested_too_deeply_is_told_with_about_the_place() -> None:
    with pytest.raises(Unreadable, match="nested too deeply") as wrong:
        parse_yaml("a: 1\nb:\n  " + "[" * 3000)
    assert wrong.value.place is not None
    assert wrong.value.place.line == 3
    assert 100 < wrong.value.place.column < 3000


@pytest.mark.parametrize(
    ("parse", "text", "place", "told"),
    [(parse_yaml, *each) for each in YAML] + [(parse_json, *each) for each in JSON_TEXTS],
    ids=lambda value: getattr(value, "__name__", str(value)[:30]),
)
def test_text_that_cannot_be_read_is_told_with_its_place_and_the_way_out(
    parse: Parse, text: str, place: str | None, told: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        parse(text)
    found = refused.value.place
    assert (None if found is None else f"{found.line}:{found.column}") == place
    assert told in refused.value.message


PIECES = st.sampled_from([*"{}[]:,-?!&*#|>%@`'\"\\ \n\t~", "{{", "}}", "a", "1", "<<", ": ", "- ", "\\ud83d", "!!int "])


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=40))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        with suppress(Unreadable):
            parse(text)


@pytest.mark.parametrize("read", [parse_json, parse_yaml])
def test_a_text_of_more_values_than_a_document_has_is_refused_before_all_of_it_is_read(
    read: Callable[[str], list[Parsed]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.parsing.MOST_NODES", 100)
    with pytest.raises(Unreadable, match="more than 100 values"):
        # Were all of it read, what follows would be told instead.
        read("[" + "{}," * 1_000 + "{}]" if read is parse_json else "[" + "{}," * 1_000 + "}}}")
    assert len(read("[" + "0," * 98 + "0]")) == 1
