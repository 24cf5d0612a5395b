"""docs/language.md, docs/automation.schema.json and examples/: what they say is so."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.contracts.automation import Automation, Retry, parse_automation, triggers
from headrace.contracts.automation.document import DOCUMENT_PARTS
from headrace.contracts.automation.steps import KINDS, MAX_CONCURRENCY, STEP_PARTS
from headrace.contracts.automation.triggers import TRIGGER_TYPES
from headrace.contracts.automation.values import LONGEST_S
from headrace.contracts.limits import MAX_ITERATIONS
from headrace.documents import check, load
from headrace.engine.compilation import MAX_LOOPS, MAX_NAME, MAX_STEPS
from headrace.engine.steps import OURS
from headrace.engine.uses import DEFAULT_TIMEOUT
from headrace.linting import lint
from headrace.parsing import MOST_NODES
from headrace.schema import automation_schema
from headrace.trials import try_case

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
EXAMPLES = [str(path) for path in sorted((ROOT / "examples").iterdir()) if path.is_dir() and path.name != "steps"]
"""Those that need no package of steps."""
PAGE = (ROOT / "docs/language.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)]
TRIGGERS = [each for block in BLOCKS if isinstance(block, list) for each in block if "id" not in each or "type" in each]
STEPS = [block for block in BLOCKS if isinstance(block, list) and "type" not in block[0]]
WHOLE = [block for block in BLOCKS if isinstance(block, dict)]
FRAME = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "x"}, "steps": [{"id": "x", "collect": 1}]}
DOCUMENTS = [*WHOLE, *({**FRAME, "steps": each} for each in STEPS), *({**FRAME, "trigger": each} for each in TRIGGERS)]


def named(document: Any) -> str:
    return f"{document['name']}: {str(document.get('trigger'))[:30]} {str(document['steps'])[:40]}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_an_example_of_the_page_can_run_its_cases_pass_and_lint_finds_nothing(document: Any) -> None:
    automation = parse_automation(document)
    check(automation)
    assert [try_case(automation, case).differences for case in automation.tests] == [[] for _ in automation.tests]
    assert lint([automation]) == []


def test_every_trigger_and_every_kind_of_step_has_an_example() -> None:
    assert {each["type"] for each in TRIGGERS} == set(TRIGGER_TYPES)
    assert {kind for steps in STEPS for step in steps for kind in KINDS if kind in step} == set(KINDS)
    assert f"{MOST_NODES:,} values" in PAGE


def test_every_name_and_word_that_an_author_can_write_is_on_the_page() -> None:
    unsaid = [
        f"{part.__name__}.{name}: {word}"
        for part in (*DOCUMENT_PARTS, *STEP_PARTS, *triggers.TRIGGERS)
        for name, field in part.model_fields.items()
        for word in (field.alias or name, *words_of(field.annotation))
        if not re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", "".join(re.findall(r"`[^`]+`|```.*?```", PAGE, re.S)))
    ]
    # What a case may expect, though no case's run ends so.
    assert unsaid == [f"Expectation.status: {each}" for each in ("running", "waiting", "retrying", "cancelled")]


def words_of(annotation: Any) -> Iterator[str]:
    """The words of which an author writes one."""
    for each in get_args(annotation):
        if get_origin(annotation) is Literal and isinstance(each, str):
            yield each
        else:
            yield from words_of(each)


def test_the_bounds_of_a_document_are_on_the_page() -> None:
    for said in (
        f"at most {MAX_STEPS} steps", f"at\nmost {MAX_NAME} characters", f"at most {MAX_CONCURRENCY}, without",
        f"at most {MAX_CONCURRENCY} lists", f"at most {MAX_ITERATIONS}, results", f"up to {MAX_LOOPS} deep",
        f"{DEFAULT_TIMEOUT:g} s where they say nothing", f"at most {LONGEST_S / 86400:g} days",
        f"has {Retry().attempts}, {Retry().backoff:g}s, {Retry().factor:g}, {Retry().max:g}s and {Retry().jitter:g}.",
    ):  # fmt: skip
        assert said in PAGE, said


def test_the_examples_are_valid_pass_their_cases_and_lint_finds_nothing() -> None:
    tested = CliRunner().invoke(app, ["test", *EXAMPLES])
    assert tested.exit_code == 0, tested.stdout
    assert tested.stdout.splitlines()[-1].endswith("passed, 0 failed")
    linted = CliRunner().invoke(app, ["lint", *EXAMPLES, "--json"])
    assert linted.exit_code == 0
    assert orjson.loads(linted.stdout) == []


def test_the_index_of_the_examples_names_what_is_there_each_with_cases() -> None:
    index = (ROOT / "examples/README.md").read_text()
    entries = re.findall(r"^\d+\. .*$", index, re.M)
    assert len(entries) == 12
    for path in re.findall(r"\]\(([^)]+\.yaml)\)", "".join(entries)):
        (loaded,) = load(ROOT / "examples" / path)
        assert len(loaded.automation.tests) > 1, path
    for folder in map(Path, EXAMPLES):
        assert f"examples/{folder.name}" in index
        told = re.findall(r"^\| `([^`]+)` \|", (folder / "README.md").read_text(), re.M)
        assert sorted(told) == sorted(path.stem for path in folder.glob("*.yaml"))


def test_what_the_readme_says_about_trying_an_automation_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    block = next(each for each in blocks if " lint " in each)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["lint", "test", "run"]
    assert [CliRunner().invoke(app, command).exit_code for command in commands] == [0, 0, 0]


def test_the_schema_in_the_docs_is_what_the_command_prints() -> None:
    # Of other packages' steps the file knows nothing: whoever has some prints a schema of their own.
    in_docs = orjson.loads((ROOT / "docs/automation.schema.json").read_bytes())
    assert in_docs == orjson.loads(orjson.dumps(automation_schema(OURS))), (
        "headrace schema > docs/automation.schema.json"
    )
    assert orjson.loads(CliRunner().invoke(app, ["schema"]).stdout) == orjson.loads(orjson.dumps(automation_schema()))


SCHEMA = orjson.loads(orjson.dumps(automation_schema()))


@pytest.mark.parametrize(
    "document",
    [*DOCUMENTS, *(each.source.value for path in EXAMPLES for each in load(Path(path)))],
    ids=named,
)
def test_the_schema_accepts_what_can_run(document: Any) -> None:
    assert fits(document, SCHEMA)


def step(**of: Any) -> dict[str, Any]:
    return {**FRAME, "steps": [{"id": "a", **of}]}


REFUSED = [
    {**FRAME, "nmae": "a"},
    {**FRAME, "trigger": {"type": "row.craeted", "table": "t"}},
    {**FRAME, "timeout": "soon"},
    step(colect=1),
    step(use="log", collect=1),
    step(use="log", **{"with": {"txt": "a"}}),
    step(use="log"),
    step(use="http.request", **{"with": {"url": "https://a.b", "method": "GTE"}}),
    step(use="http.request", **{"with": {"url": "https://a.b", "auth": {"type": "bearer", "tokn": "x"}}}),
]


@pytest.mark.parametrize("document", REFUSED, ids=named)
def test_the_schema_refuses_misspelt_names(document: Any) -> None:
    assert not fits(document, SCHEMA)


ACCEPTED = [
    step(use="http.request", **{"with": {"url": "https://a.b", "query": {"page": 1}, "method": "{{ trigger.m }}"}}),
    step(use="row.create", **{"with": {"table": "t", "row": '{"a": 1}'}}),
    step(use="acme.other", **{"with": {"anything": 1}}),
    {**FRAME, "timeout": "2m", "trigger": {"type": "manual"}, "fields": {"a": "text", "b": {"default": 1}}},
]


@pytest.mark.parametrize("document", ACCEPTED, ids=named)
def test_the_schema_accepts_what_is_cleaned_after_rendering(document: Any) -> None:
    assert fits(document, SCHEMA)


def test_every_name_of_a_document_is_described_in_the_schema() -> None:
    assert set(SCHEMA["properties"]) == {field.alias or name for name, field in Automation.model_fields.items()}
    assert SCHEMA["$defs"]["TestCase"]["description"]
    uses = SCHEMA["$defs"]["UseStep"]["properties"]["use"]["anyOf"][0]["enum"]
    assert set(uses) >= set(OURS)


TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int,),
}  # fmt: skip


def fits(value: Any, schema: Any) -> bool:
    """JSON Schema as far as ours uses it; an unknown keyword fails, so that none is passed over."""
    return all(_holds(keyword, wanted, value, schema) for keyword, wanted in schema.items())


def _holds(keyword: str, wanted: Any, value: Any, schema: Any) -> bool:
    match keyword:
        case "type":
            names = wanted if isinstance(wanted, list) else [wanted]
            kinds = [kind for name in names for kind in TYPES[name]]
            return isinstance(value, tuple(kinds)) and (not isinstance(value, bool) or bool in kinds)
        case "$ref":
            return fits(value, SCHEMA["$defs"][wanted.removeprefix("#/$defs/")])
        case "enum":
            return value in wanted
        case "const":
            return value == wanted
        case "pattern":
            return not isinstance(value, str) or re.search(wanted, value) is not None
        case "anyOf":
            return any(fits(value, each) for each in wanted)
        case "oneOf":
            return sum(fits(value, each) for each in wanted) == 1
        case "allOf":
            return all(fits(value, each) for each in wanted)
        case "if":
            return not fits(value, wanted) or fits(value, schema["then"])
        case "required":
            return not isinstance(value, dict) or all(name in value for name in wanted)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(value[name], each) for name, each in wanted.items() if name in value
            )
        case "additionalProperties":
            items = value.items() if isinstance(value, dict) else ()
            others = [each for name, each in items if name not in schema.get("properties", {})]
            return all(fits(each, wanted) for each in others) if isinstance(wanted, dict) else wanted or not others
        case "items":
            return not isinstance(value, list) or all(fits(each, wanted) for each in value)
        case "minItems":
            return not isinstance(value, list) or len(value) >= wanted
        case "maxItems":
            return not isinstance(value, list) or len(value) <= wanted
        case "minLength":
            return not isinstance(value, str) or len(value) >= wanted
        case "maxLength":
            return not isinstance(value, str) or len(value) <= wanted
        case "minProperties":
            return not isinstance(value, dict) or len(value) >= wanted
        case "minimum":
            return not isinstance(value, int | float) or value >= wanted
        case "exclusiveMinimum":
            return not isinstance(value, int | float) or value > wanted
        case "maximum":
            return not isinstance(value, int | float) or value <= wanted
        case "then" | "title" | "description" | "default" | "$defs" | "$schema" | "$id" | "discriminator":
            return True
        case _:
            raise AssertionError(f"keyword {keyword}")
