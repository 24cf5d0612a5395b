"""Test runs against a real server: called only where the author allows it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from headrace.apps import read_apps
from headrace.cli.answering import Answering
from headrace.contracts.automation import parse_automation
from headrace.trials import Trial, Tried, try_automation

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trial", "status", "count"),
    [
        (Trial({}), "error", 0),
        (Trial({}, {"call": {"status": 201}}), "success", 0),
        (Trial({}, allow_effects=True), "error", 0),  # a private address, which the settings do not allow
        (Trial({}, allow_effects=True, allow_private_hosts=True), "success", 1),
        (Trial({}, {"call": {"status": 201}}, allow_effects=True, allow_private_hosts=True), "success", 0),
    ],
)
def test_others_are_called_only_with_effects_allowed_and_without_a_stub(trial: Trial, status: str, count: int) -> None:
    with Answering() as server:
        steps = [{"id": "call", "use": "http.request", "with": {"url": server.url}, "retry": {"attempts": 1}}]
        trigger = {"type": "event", "event": "x"}
        tried = try_automation(
            parse_automation({"name": "a", "app": "b", "trigger": trigger, "steps": steps}), trial, AT
        )
        assert isinstance(tried, Tried)
        assert (tried.record["status"], server.count) == (status, count)


@pytest.mark.parametrize(("allow_effects", "status"), [(True, "success"), (False, "error")])
def test_connections_of_the_apps_file_are_reached_only_with_effects_allowed(
    tmp_path: Path, allow_effects: bool, status: str
) -> None:
    file, database = tmp_path / "apps.yaml", tmp_path / "x.db"
    connection = {"type": "sql", "url": f"sqlite:///{database}"}
    file.write_text(yaml.safe_dump({"apps": {"b": {"connections": {"db": connection}}}}))
    apps = read_apps(file)
    query = {"connection": "db", "query": "CREATE TABLE t (x int)"}
    document = {"name": "a", "app": "b", "trigger": {"type": "event", "event": "x"}}
    automation = parse_automation({**document, "steps": [{"id": "make", "use": "sql.query", "with": query}]})
    tried = try_automation(automation, Trial({}, allow_effects=allow_effects, apps=apps.__getitem__), AT)
    assert isinstance(tried, Tried)
    assert (tried.record["status"], database.exists()) == (status, allow_effects), tried.record
