"""The examples of docs/templates.md."""

import re
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from headrace.language import RUN_ROOTS, Scope, compile_template

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[2] / "docs/templates.md").read_text()
EXAMPLES = re.findall(r"```template\n(.*?)\n=> (.*?)\n```", PAGE, re.S)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```template") > 5


@pytest.mark.parametrize(("source", "wanted"), EXAMPLES)
def test_an_example_gives_what_the_page_says(source: str, wanted: str) -> None:
    (event,) = re.findall(r"`(\{\"row\".*?\})`", PAGE)
    scope = Scope({"trigger": orjson.loads(event)}, "run/0/step", datetime(2013, 1, 1, tzinfo=UTC))
    found = compile_template(source, roots=RUN_ROOTS, path="example").render(scope)
    assert orjson.dumps(found) == orjson.dumps(orjson.loads(wanted))
