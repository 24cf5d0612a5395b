"""The examples of docs/templates.md."""

import re
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from headrace.language import RUN_ROOTS, TRIGGER_ROOTS, Scope, TemplateError, compile_template, limits
from headrace.language.filters import FILTERS
from headrace.language.filters.texts import SLUG_LENGTH
from headrace.language.filters.times import FORMAT_LENGTH
from headrace.language.operations import FUNCTIONS
from headrace.language.regex import PATTERN_LENGTH

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[2] / "docs/templates.md").read_text()
EXAMPLES = re.findall(r"```template\n(.*?)\n=> (.*?)\n```", PAGE, re.S)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```template\n") > 5
    assert "```template-error\n" in PAGE


@pytest.mark.parametrize(("source", "wanted"), EXAMPLES)
def test_an_example_gives_what_the_page_says(source: str, wanted: str) -> None:
    (event,) = re.findall(r"`(\{\"row\".*?\})`", PAGE)
    scope = Scope({"trigger": orjson.loads(event)}, "run/0/step", datetime(2013, 1, 1, tzinfo=UTC))
    found = compile_template(source, roots=RUN_ROOTS, path="example").render(scope)
    assert orjson.dumps(found) == orjson.dumps(orjson.loads(wanted))


@pytest.mark.parametrize(("source", "wanted"), re.findall(r"```template-error\n(.*?)\n=> (.*?)\n```", PAGE, re.S))
def test_an_example_fails_as_the_page_says(source: str, wanted: str) -> None:
    template = compile_template(source, roots=RUN_ROOTS, path="example")
    with pytest.raises(TemplateError) as failed:
        template.render(Scope({"trigger": {"row": {"carrier": "UA"}}}, "run/0/step", datetime(2013, 1, 1, tzinfo=UTC)))
    assert failed.value.message == " ".join(wanted.split())


def test_the_page_names_every_root_filter_and_function() -> None:
    names = {*FILTERS, *RUN_ROOTS, *TRIGGER_ROOTS}
    words = set(re.findall(r"`(\w+)", PAGE))
    assert sorted(names - words) == []
    assert [name for name in FUNCTIONS if f"`{name}(" not in PAGE] == []


def test_the_page_names_every_limit() -> None:
    numbers = (
        limits.ITERATIONS,
        limits.ITEMS,
        limits.WORK,
        limits.TEXT,
        limits.INTEGER_BITS,
        limits.DEPTH,
        limits.BRACKETS,
        limits.SOURCE,
        PATTERN_LENGTH,
        FORMAT_LENGTH,
        SLUG_LENGTH,
    )
    rows = PAGE[PAGE.index("## Limits") :]
    assert [number for number in numbers if f"{number:,}" not in rows] == []
