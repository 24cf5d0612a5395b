"""What a template may never do: leave its sandbox, or use up more than its share."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.language import RUN_ROOTS, LanguageError, Scope, TemplateError, compile_template, compile_value, limits

pytestmark = pytest.mark.unit

NOW = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)
LONG = "a b " * 250_000
DATA: dict[str, Any] = {"n": 5, "list": [3, 1, 2], "long": LONG, "many": list(range(100_000)), "huge": 10**5000}


def render(source: str) -> object:
    return compile_template(source, roots=RUN_ROOTS, path="x").render(Scope({"trigger": {"row": DATA}}, "k", NOW))


def value(expression: str) -> object:
    return render("{{ " + expression.replace("$", "trigger.row.") + " }}")


def limited(source: str, words: str) -> None:
    with pytest.raises(TemplateError, match=words) as reached:
        render(source.replace("$", "trigger.row."))
    assert reached.value.type == "template_limit"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100001) %}{% endfor %}",
        "{% for a in range(1000) %}{% for b in $many if false %}{% endfor %}{% endfor %}",
    ],
)
def test_a_rendering_has_100_000_iterations_those_that_a_condition_skips_included(source: str) -> None:
    limited(source, "more than 100000 iterations")


def test_100_000_iterations_are_allowed() -> None:
    assert render("{% for a in $many %}{% endfor %}.".replace("$", "trigger.row.")) == "."


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in $many %}{% if ($long | sha256) == 'x' %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if $long == $long ~ i %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if 'c' in $long %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if $long is upper %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if $long.find('c') %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if not $long %}{% endif %}{% endfor %}",
        "{% for i in $many %}{% if $many is eq($many) %}{% endif %}{% endfor %}",
        "{% for i in $many %}" + "{% if i == 1 %}{% endif %}" * 200 + "{% endfor %}",
        "".join(f"{{% set a{i} = 1 %}}" for i in range(900)) + "{% for i in $many %}{% endfor %}",
        "{{ $many | reject('in', $many) | length }}",
        "{{ $long | regex_match('[ab ]*a[ab ]{400}c') }}",
        "{{ $long | regex_replace('a.*z|a', 'y') }}",
        "{% set a = [0] * 300 %}{% set b = [a] * 300 %}{% set c = [b] * 300 %}{% set d = [c] * 300 %}"
        "{% set e = [c] * 300 %}{% if d == e %}{% endif %}",
    ],
)
def test_a_rendering_does_a_bounded_amount_of_work_whatever_its_few_iterations_do(source: str) -> None:
    limited(source, "units of work")


@pytest.mark.parametrize("source", ["{{ range(10**9) }}", "{{ [0] * 1000000 + [0] }}", "{{ ($long ~ $long).split() }}"])
def test_a_rendering_makes_a_bounded_number_of_items(source: str) -> None:
    limited(source, "items of arrays|a text of")


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(90000) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}",
        "{% for i in range(1000) %}{{ $long ~ i }}{% endfor %}",
        "{{ $long ~ $long }}",
        "{{ $long + $long }}",
        "{{ ([$long] * 1000) | join }}",
        "{{ [$long] * 2 }}",
        "{{ {'a': [[0] * 9000] * 9000} }}",
        "{{ ([[0] * 9000] * 9000) | to_json }}",
        "{{ [[[0] * 9000] * 9000] | unique }}",
        "{{ $long | regex_replace('[ab]', 'yyyy') }}",
        "{{ $long | replace('a', 'yyyy') }}",
        "{{ ($long | url_encode) | url_encode }}",
    ],
)
def test_no_text_and_no_json_of_a_value_exceeds_1_mb(source: str) -> None:
    limited(source, "are allowed|characters")


def test_data_that_was_larger_before_passes_as_it_is() -> None:
    assert value("$huge") == 10**5000
    assert value("$many") is DATA["many"]
    assert value("$nope or $many") is value("$n and $many") is value("$many if $n") is DATA["many"]


@pytest.mark.parametrize(
    "expression",
    ["'x' * 10**9", "10**9 * 'x'", "[0] * 10**9", "'x' | center(10**9)", "'a\nb' | indent(10**9)", "'x' * $huge"],
)
def test_a_repetition_is_refused_before_it_is_made(expression: str) -> None:
    limited("{{ " + expression + " }}", "repetition")


@pytest.mark.parametrize("expression", ["2 ** (10**9)", "9 ** (9 ** 9)", "(2 ** 4000) * (2 ** 4000)", "2 ** $huge"])
def test_a_power_is_refused_before_it_is_computed(expression: str) -> None:
    limited("{{ " + expression + " }}", "bits")


def test_an_integer_that_python_will_not_print_is_no_text() -> None:
    limited("flight {{ $huge }}", "too long to be written")


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{{ " + "[" * 500 + "]" * 500 + " }}",
        "{{ " + "not " * 500 + "1 }}",
        "{{ 1" + "+1" * 500 + " }}",
        "{% if 1 %}" * 500 + "{% endif %}" * 500,
    ],
)
def test_nesting_is_bounded_when_it_is_saved(source: str) -> None:
    with pytest.raises(LanguageError, match="nest"):
        compile_template(source, roots=RUN_ROOTS, path="x")


def test_what_was_accepted_when_it_was_saved_is_accepted_deep_inside_of_a_caller() -> None:
    source = "{{ " + "(" * limits.BRACKETS + "1" + ")" * limits.BRACKETS + " }}"

    def deep(levels: int) -> object:
        return render(source) if levels == 0 else deep(levels - 1)

    assert deep(300) == 1


def test_data_nested_too_deeply_to_be_compared_is_an_error() -> None:
    nested = "('[' * 900 ~ ']' * 900) | from_json"
    limited(f"{{{{ ({nested}) == ({nested}) }}}}", "nested too deeply")


def test_a_template_has_at_most_64_kb_of_source() -> None:
    with pytest.raises(LanguageError, match="at most 65536 characters"):
        compile_template("{{ 1 }}" + "x" * limits.SOURCE, roots=RUN_ROOTS, path="x")


def test_inputs_that_name_a_part_again_and_again_are_counted_each_time() -> None:
    part: object = "{{ now }}"
    for _ in range(20):
        part = [part, part]  # as YAML's aliases do: 20 lines, a million values
    with pytest.raises(LanguageError, match="again and again"):
        compile_value(part, roots=RUN_ROOTS, path="with.rows")


def test_a_slug_is_made_of_a_short_text_since_accents_are_ordered_in_the_square_of_their_number() -> None:
    with pytest.raises(TemplateError, match="2000 characters"):
        render("{{ ('\u0301\u0316' * 400000) | slugify }}")


@pytest.mark.parametrize(
    "expression",
    ["('a' * 2001) | slugify", "now | date('%Y' * 51)", "'a' | regex_match('a' * 501)", "('1' * 65) | number"],
)
def test_a_bound_of_an_argument_is_no_limit_of_the_template(expression: str) -> None:
    with pytest.raises(TemplateError) as wrong:
        value(expression)
    assert wrong.value.type == "template_error"


@pytest.mark.parametrize("expression", ["trigger._id", "$_id", "steps.a._b", "(now)._x"])
def test_no_attribute_begins_with_an_underscore_and_the_way_out_is_named(expression: str) -> None:
    with pytest.raises(LanguageError, match=r"no attribute begins with an underscore; a column of that name is \['_"):
        value(expression)


ESCAPES = [
    # The way through classes.
    "''.__class__", "''.__class__.__mro__[1].__subclasses__()", "[].__class__.__base__", "().__class__.__bases__[0]",
    "''['__class__']", "''['__cla' ~ 'ss__']", "trigger['__class__']['__mro__']", "(1).__class__",
    "none.__class__", "True.__class__",
    "dict.__mro__", "{}.__init__.__globals__", "''.mro()", "trigger.__getattribute__('x')",
    "''['\\x5f\\x5fclass\\x5f\\x5f']",
    # Filters that read attributes.
    "''|attr('__class__')", "''|attr('\\x5f\\x5fclass\\x5f\\x5f')", "['']|map(attribute='__class__')|list",
    "['']|map(attribute='__class__.__mro__')|first", "['']|map('attr', '__class__')|list",
    "[1]|selectattr('__class__')|list",
    "[1]|rejectattr('__class__', 'none')|list", "['']|pluck('__class__')|first",
    "['']|groupby('__class__')|map('first')|list",
    "['']|sum(attribute='__class__')", "[{}]|sort(attribute='__class__')|first", "['']|join(attribute='__class__')",
    "['']|unique(attribute='__class__')|first", "['']|max(attribute='__class__')",
    "['']|sort_by('__class__.__init__')|first",
    # Jinja's own globals and the names of web frameworks.
    "self.__dict__", "self._TemplateReference__context", "cycler.__init__.__globals__.os", "cycler('a')",
    "joiner(',')",
    "joiner.__init__", "namespace(a=1)", "namespace.__init__", "lipsum()",
    "lipsum.__globals__['os'].popen('id')", "dict(a=1)",
    "request.application", "request['application']", "config.items()", "config",
    "get_flashed_messages.__globals__", "g.pop",
    "url_for.__globals__", "session", "app", "_", "gettext('x')", "context", "environment", "caller()",
    "varargs", "kwargs", "super()",
    # Formatting that reads attributes.
    "'{0.__class__}'.format(1)", "'{0.__class__.__mro__}'|format(1)", "'%(a.__class__)s'|format(1)", "'%s'.__class__",
    "''.format_map({})", "'%c' % 1", "'{}'.format.__self__", "'%s'|format(trigger.__class__)", "f'{1}'",
    # Methods.
    "''.join.__self__", "[].append(1)", "$list.append(9)", "$list.sort()", "trigger.row.pop('n')",
    "trigger.row.clear()",
    "trigger.row.update({})", "trigger.row.setdefault('n', 9)", "trigger.row.get('n')", "''.encode('utf-8')",
    "''.translate({})",
    # Functions and values as objects.
    "uuid.__globals__", "uuid.__func__", "random.__self__", "range.__class__", "range(1).__class__",
    "now.__class__", "now.tzinfo",
    "now.replace(year=1)", "now.strftime('%s')", "(now | date).__class__", "loop.__class__",
    "uuid()()", "[uuid][0]()",
    # What a filter, a test or an argument might smuggle in.
    "''|map('__class__')|list", "[1]|map('nosuch')|list", "[1]|select('callable')|list", "1 is callable",
    "1 is filter",
    "''|pprint", "''|xmlattr", "''|urlize", "range(*[1])", "range(**{})", "''|join(*[1])", "lambda: 1",
    "import os", "1 if", "a := 1",
    "[x for x in [1]]", "`id`", "''|string.__class__", "trigger|items|first|attr('x')",
]  # fmt: skip
STATEMENTS = [
    "{% import 'os' as os %}", "{% from 'os' import system %}", "{% include '/etc/passwd' %}", "{% extends 'x' %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% call m() %}{% endcall %}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{% filter upper %}x{% endfilter %}", "{% set ns.a = 1 %}", "{% set x %}y{% endset %}",
    "{% with a = 1 %}{{ a }}{% endwith %}",
    "{% autoescape true %}{% endautoescape %}", "{% do 1 %}", "{% debug %}", "{% trans %}x{% endtrans %}",
    "{% break %}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for a.b in [1] %}{% endfor %}", "{% set a, b = 1 %}", "{% if ''.__class__ %}{% endif %}",
]  # fmt: skip


@pytest.mark.parametrize("expression", ESCAPES)
def test_no_expression_leads_out_to_python(expression: str) -> None:
    """Refused, or empty as any path that leads nowhere; never an object of Python's, and data stays as it was."""
    before = {**DATA, "list": list(DATA["list"])}
    try:
        found = value(expression)
    except (LanguageError, TemplateError):
        found = None
    assert _is_harmless(found), found
    assert before == DATA


def _is_harmless(found: object) -> bool:
    if isinstance(found, list):
        return all(map(_is_harmless, found))
    if isinstance(found, Mapping):
        return all(map(_is_harmless, found.values()))
    assert "class" not in str(found)
    assert " at 0x" not in str(found)
    return found in (None, "", False, 0, 1)


@pytest.mark.parametrize("source", STATEMENTS)
def test_no_statement_but_if_for_and_set_is_understood(source: str) -> None:
    with pytest.raises(LanguageError):
        compile_template(source, roots=RUN_ROOTS, path="x")
