"""The pages of the steps: what the steps are, and examples in which lint finds nothing."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import yaml
from pydantic import Field
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.output import UsageError
from headrace.contracts.automation import Retry, parse_automation
from headrace.engine.steps import OURS
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform
from headrace.linting import lint
from headrace.step_pages import page, pages

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "docs/steps"


def test_the_pages_are_what_the_steps_are() -> None:
    written = {file.name: file.read_text() for file in FOLDER.glob("*.md")}
    assert written == pages(OURS), "write them anew: .venv/bin/headrace docs steps --out docs/steps"


def write_into(folder: Path) -> Result:
    return CliRunner().invoke(app, ["docs", "steps", "--out", str(folder)])


def test_the_command_writes_them_and_removes_those_of_steps_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "gone.step.md").write_text(page(Do()))
    (tmp_path / "log.md").write_text(page(Do()))
    assert write_into(tmp_path).exit_code == 0
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == pages(OURS)


def test_the_command_leaves_others_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_bytes(b"mine \xff")
    (tmp_path / "empty.md").touch()
    (tmp_path / "folder.md").mkdir()
    assert write_into(tmp_path).exit_code == 0
    assert (tmp_path / "notes.md").read_bytes() == b"mine \xff"
    assert {file.name for file in tmp_path.iterdir()} == {"notes.md", "empty.md", "folder.md", *pages(OURS)}


@pytest.mark.parametrize("name", ["README.md", "log.md"])
def test_where_a_page_would_overwrite_another_s_file_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# Mine")
    (tmp_path / "gone.step.md").write_text(page(Do()))
    done = write_into(tmp_path)
    assert isinstance(done.exception, UsageError)
    assert f"{name} would be overwritten" in str(done.exception)
    assert {file.name for file in tmp_path.iterdir()} == {name, "gone.step.md"}
    assert (tmp_path / name).read_text() == "# Mine"


def test_a_link_to_nowhere_in_the_place_of_a_page_is_another_s_file(tmp_path: Path) -> None:
    outside = tmp_path / "outside.md"
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "log.md").symlink_to(outside)
    assert isinstance(write_into(folder).exception, UsageError)
    assert not outside.exists()


PAGES = sorted(file for file in FOLDER.glob("*.md") if file.name != "README.md")
EXAMPLES = {file.stem: re.findall(r"```yaml\n(.*?)```", file.read_text(), re.S) for file in PAGES}


def test_every_step_has_an_example() -> None:
    assert {use for use, examples in EXAMPLES.items() if examples} == set(OURS)


@pytest.mark.parametrize("use", EXAMPLES)
def test_a_step_s_example_is_a_step_of_an_automation_in_which_lint_finds_nothing(use: str) -> None:
    for example in EXAMPLES[use]:
        steps = yaml.safe_load(example)
        assert [step["use"] for step in steps] == [use]
        trigger = {"type": "row.created", "table": "flights"}
        automation = parse_automation({"name": "example", "app": "airport", "trigger": trigger, "steps": steps})
        assert lint([automation]) == []


@pytest.mark.parametrize("use", OURS)
def test_a_page_names_every_input_output_and_error(use: str) -> None:
    step, text = OURS[use], pages(OURS)[f"{use}.md"]
    inputs = [field.alias or name for name, field in step.inputs.model_fields.items()]
    assert [name for name in (*inputs, *step.outputs, *step.errors) if f"| `{name}` |" not in text] == []


class Place(Inputs):
    """Where it is."""

    city: str


class DoInputs(Inputs):
    """What it takes."""

    count: Annotated[int, Field(ge=1, le=9, description="how often")]
    mode: Literal["a|b", "c"] = "c"
    place: Place | None = None
    tags: tuple[str, ...] = ()


class Do(AwaitingStep):
    """Does it."""

    use = "acme.do"
    inputs = DoInputs
    outputs: ClassVar[dict[str, str]] = {"done": "whether it is"}
    effect = "at_most_once"
    errors: ClassVar[dict[str, str]] = {"not_done": "it could not"}
    retry = Retry(attempts=2, backoff=1.0, factor=3.0, max=9.0)
    example = "\n- {id: it, use: acme.do, with: {count: 1}}\n"

    def bind(self, rendered: Outputs) -> Perform:
        raise NotImplementedError


def test_a_page_is_made_of_the_step_s_models_and_of_nothing_else() -> None:
    assert page(Do()) == PAGE


PAGE = """\
<!-- Written by `headrace docs steps --out docs/steps` from the step's models. -->

# `acme.do`

Does it.

**Effect**: at most once: if the worker dies during the call, it is not made again and the step fails \
(`on_unknown: resend` makes it again).

**Retry**: 2 attempts where the failure may pass, 1 s and then 3 times as long between them, at most 9 s; \
`retry` of the step overrides it. A call that is made at most once is tried again only \
where it is certain that nothing was done.

## Example

```yaml
- {id: it, use: acme.do, with: {count: 1}}
```

## Inputs

What it takes.

| input | type | default |  |
| --- | --- | --- | --- |
| `count` | whole number | required | how often; at least 1; at most 9 |
| `mode` | `"a\\|b"`, `"c"` | `"c"` |  |
| `place` | [Place](#place) |  |  |
| `tags` | array of text | `[]` |  |

### Place

Where it is.

| input | type | default |  |
| --- | --- | --- | --- |
| `city` | text | required |  |

## Outputs

| output |  |
| --- | --- |
| `success` | true, or false where the step failed |
| `done` | whether it is |

## Errors

| type | when |
| --- | --- |
| `not_done` | it could not |
"""
