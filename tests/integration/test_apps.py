"""The apps file through the services: an app's automations see their own part of it, and nobody reads its secrets."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from conftest import Installation, run_headrace

from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

STEPS = [
    {"id": "note", "use": "log", "with": {"text": "{{ env.REGION }} {{ secrets.KEY }}"}},
    {"id": "ask", "use": "sql.query", "with": {"connection": "db", "query": "SELECT 1 AS one"}},
    {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"key": "{{ secrets.KEY }}"}, "id": "r"}},
]


def test_an_app_has_its_own_configuration_and_its_secrets_stay_out_of_records(
    topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("hunter2-secret\n")
    file = tmp_path / "apps.yaml"
    one = {
        "env": {"REGION": "eu"},
        "secrets": {"KEY": {"file": "key"}},
        "connections": {"db": {"type": "sql", "url": f"sqlite:///{tmp_path}/x.db"}},
    }
    file.write_text(yaml.safe_dump({"apps": {"one": one}}))
    settings = topics.model_copy(update={"apps_file": file})
    installation = Installation(settings, start_services(settings, tuple(READS)))
    for app in ("one", "two"):
        installation.apply({"name": "a", "app": app, "trigger": {"type": "event", "event": "go"}, "steps": STEPS})
        with installation.publisher(app) as publisher:
            publisher.event("go", {}, id="e-1")
    (run,) = installation.runs("one")
    assert [step["status"] for step in run["steps"]] == ["success"] * 3, run
    assert run["steps"][0]["outputs"]["text"] == "eu ***"
    assert "hunter2" not in str(run)
    assert installation.ask(lambda storage: storage.rows.count("one", "t")) == 1
    (other,) = installation.runs("two")
    assert other["steps"][0]["outputs"]["text"] == " "
    assert other["steps"][1]["error"]["type"] == "no_connection"


def test_a_file_that_is_wrong_stops_the_service_with_a_sentence(topics: Settings, tmp_path: Path) -> None:
    file = tmp_path / "apps.yaml"
    file.write_text("apps: {one: {secrets: {KEY: {file: nowhere}}}}")
    done = run_headrace(topics.model_copy(update={"apps_file": file}), "service", "orchestrator")
    assert done.returncode == 2
    assert "apps.one.secrets.KEY" in done.stdout + done.stderr
