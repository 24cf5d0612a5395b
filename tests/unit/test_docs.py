"""The pages say what the code says."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.testing import CliRunner

from headrace.chaos.judge import CHECKS
from headrace.chaos.loads import LOADS
from headrace.chaos.plan import FAULTS
from headrace.cli.app import app
from headrace.contracts.automation import Verification, parse_automation
from headrace.contracts.topics import DAY_MS, HOUR_MS, TOPICS
from headrace.embedded import BROKER_PROPERTIES, SINGLE_NODE_PROPERTIES
from headrace.settings import Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"]\(([^)#]+)\)", page.read_text())
    missing = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert missing == []


def test_the_topics_page_is_the_declaration() -> None:
    lines = (ROOT / "docs/topics.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    assert rows == [
        [
            f"`{topic.name}`",
            topic.key,
            topic.value,
            topic.cleanup,
            "" if topic.cleanup == "compact" else _retention(topic.retention_ms),
        ]
        for topic in TOPICS
    ]


def _retention(ms: int | None) -> str:
    if ms is None:
        return "as set"
    return f"{ms // DAY_MS} d" if ms >= DAY_MS else f"{ms // HOUR_MS} h"


def test_the_settings_page_names_every_setting_and_its_default() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? *\|", (ROOT / "docs/settings.md").read_text(), re.M))
    actual = {
        (str(field.validation_alias) if field.validation_alias else f"HEADRACE_{name.upper()}"): field.default
        for name, field in Settings.model_fields.items()
    }
    assert documented == {name: "" if default is None else str(default) for name, default in actual.items()}


def test_the_compose_file_sets_what_the_promises_rest_on() -> None:
    kafka = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"]["environment"]
    wanted = {**BROKER_PROPERTIES, **SINGLE_NODE_PROPERTIES}
    assert {name: kafka.get(f"KAFKA_{name.upper().replace('.', '_')}") for name in wanted} == wanted


def test_the_automation_in_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert parse_automation(yaml.safe_load(text)).id == "airport/rebooking-desk"


def test_the_automation_of_the_webhooks_page_is_valid_and_its_table_has_every_scheme() -> None:
    page = (ROOT / "docs/webhooks.md").read_text()
    found = [parse_automation(yaml.safe_load(text)).id for text in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    assert found == ["github/issue-desk", "shop/quote"]
    schemes = [get_args(each.model_fields["scheme"].annotation)[0] for each in get_args(get_args(Verification)[0])]
    assert [each for each in schemes if f"| `{each}` |" not in page] == []
    assert len(schemes) == 5


def test_the_commands_of_the_chaos_page_are_understood() -> None:
    (block,) = re.findall(r"```console\n(.*?)```", (ROOT / "docs/chaos.md").read_text(), re.S)
    commands = [shlex.split(line.removeprefix("$ .venv/bin/headrace ")) for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        done = CliRunner().invoke(app, [*command, "--dry-run"])
        assert done.exit_code == 0, (command, done.output)
        assert "Seed" in done.output


def test_the_chaos_page_names_every_fault_load_and_check() -> None:
    page = (ROOT / "docs/chaos.md").read_text()
    assert [each for each in (*FAULTS, *LOADS) if f"`{each}`" not in page] == []
    assert [each for each in CHECKS if f"| {each} |" not in page] == []
