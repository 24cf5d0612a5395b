"""Secrets and variables that are set over HTTP and by the command line: sealed in MongoDB, known to services that run,
and read by nobody."""

import asyncio
import json
import re
import shlex
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Installation, run_headrace, until
from gateway_support import APP, Client, client_of, key_of
from pymongo import MongoClient

from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.stored_apps import StoredApps

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]
ROOT = f"/api/v1/apps/{APP}"
OLD, NEW = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))

TELL: dict[str, Any] = {
    "name": "tell",
    "app": APP,
    "trigger": {"type": "event", "event": "go"},
    "steps": [
        {"id": "note", "use": "log", "with": {"text": "{{ env.REGION }} {{ secrets.KEY }}"}},
        {"id": "known", "collect": "{{ secrets.KEY | length }}"},
    ],
}


def with_keys(settings: Settings, *keys: str) -> Settings:
    return Settings.model_validate({**dict(settings), "secrets_keys": ",".join(keys) or None})


def put(client: Client, path: str, value: object) -> Any:
    return client.call("PUT", f"{ROOT}/{path}", json.dumps({"value": value}), {"Content-Type": "application/json"})


def runs_told(installation: Installation) -> list[Any]:
    """What the runs collected, which is how long the secret was that they saw; newest first."""
    return [run.get("collected") for run in installation.runs(APP)]


def everything_left(installation: Installation, logs: Path) -> str:
    """All that is in MongoDB and in the services' logs, as text."""
    found: list[str] = [file.read_text(errors="replace") for file in logs.iterdir()]
    with MongoClient[dict[str, Any]](installation.settings.mongodb) as client:
        database = client[installation.settings.prefix]
        found += [str(each) for name in database.list_collection_names() for each in database[name].find()]
    return "\n".join(found)


def test_a_secret_is_set_seen_by_runs_changed_without_a_restart_and_read_by_nobody(
    topics: Settings, start_services: Start, tmp_path: Path
) -> None:
    settings = with_keys(topics, OLD)
    gateway = Installation(settings, start_services(settings, (*READS, "gateway")))
    editor, viewer = client_of(gateway, key_of(gateway, "editor")), client_of(gateway, key_of(gateway, "viewer"))
    other = client_of(gateway, key_of(gateway, "admin", "bank"))
    gateway.apply(TELL)
    first, second = "hunter2-first", "hunter2-second-one"
    assert put(editor, "secrets/KEY", first).status == 204
    assert put(editor, "environment/REGION", "eu-west").status == 204
    listed = editor.get(f"{ROOT}/secrets")
    assert [each["name"] for each in listed.json["secrets"]] == ["KEY"]
    assert b"hunter2" not in listed.body
    assert [(each["name"], each["value"]) for each in editor.get(f"{ROOT}/environment").json["environment"]] == [
        ("REGION", "eu-west")
    ]
    # Nobody else's.
    for client in (viewer, other):
        assert put(client, "secrets/KEY", "mine").problem == "forbidden"
        assert client.get(f"{ROOT}/environment").problem == "forbidden"
        assert client.call("DELETE", f"{ROOT}/secrets/KEY").problem == "forbidden"

    number = 0

    def seen() -> Any:
        nonlocal number
        number += 1
        with gateway.publisher(APP) as publisher:
            publisher.event("go", {}, id=str(number))
        return runs_told(gateway)[0]

    until(lambda: seen() == len(first), "a run that sees the secret")
    assert put(editor, "secrets/KEY", second).status == 204
    until(lambda: seen() == len(second), "a run that sees the new one")
    assert gateway.runs(APP)[0]["steps"][0]["outputs"]["text"] == "eu-west ***"
    assert editor.call("DELETE", f"{ROOT}/secrets/KEY").status == 204
    assert editor.call("DELETE", f"{ROOT}/secrets/KEY").problem == "not_found"
    until(lambda: seen() == 0, "a run that sees none")
    assert editor.get(f"{ROOT}/secrets").json["secrets"] == []
    assert "hunter2" not in everything_left(gateway, tmp_path / "logs")
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        assert "eu-west" not in str(list(client[settings.prefix]["app_values"].find()))
    actions = [each.action for each in gateway.ask(lambda storage: storage.audit.find(50))]
    assert actions.count("set_secret") == 2
    assert actions.count("delete_secret") == 1


def test_what_a_run_read_before_a_secret_was_changed_stays_masked_when_it_goes_on(
    topics: Settings, start_services: Start
) -> None:
    settings = with_keys(topics, OLD)
    first, second = "hunter2-first", "hunter2-second-one"
    assert run_headrace(settings, "secrets", "set", APP, "KEY", stdin=first).returncode == 0
    gateway = Installation(settings, start_services(settings, tuple(READS)))
    gateway.apply(
        {
            **TELL,
            "steps": [
                {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"key": "{{ secrets.KEY }}"}}},
                {"id": "hold", "wait_for_event": {"type": "on", "key": "k", "timeout": "1h"}},
                {"id": "note", "use": "log", "with": {"text": "{{ steps.row.row.key }} {{ secrets.KEY }}"}},
            ],
        }
    )
    with gateway.publisher(APP) as publisher:
        publisher.event("go", {}, id="1")
        until(lambda: _statuses(gateway) == ["waiting"], "a run that waits")
        # Another secret, another key, and nothing left that is sealed with the old one.
        assert run_headrace(settings, "secrets", "set", APP, "KEY", stdin=second).returncode == 0
        rotated = with_keys(topics, NEW, OLD)
        done = run_headrace(rotated, "secrets", "rotate", "--json")
        assert json.loads(done.stdout) == {"resealed": 1}
        assert json.loads(run_headrace(rotated, "secrets", "rotate", "--json").stdout) == {"resealed": 0}
        gateway.services.stop()
        alone = with_keys(topics, NEW)
        again = Installation(alone, start_services(alone, tuple(READS)))
        with again.publisher(APP) as publisher_again:
            publisher_again.event("on", {}, key="k", id="2")
        until(lambda: _statuses(again) == ["success"], "the run's end")
    (run,) = again.runs(APP)
    assert run["steps"][-1]["outputs"]["text"] == "*** ***"
    assert "hunter2" not in str(run)


def _statuses(installation: Installation) -> list[str]:
    return [each["status"] for each in installation.runs(APP)]


def test_the_operators_file_goes_before_what_is_stored(topics: Settings, start_services: Start, tmp_path: Path) -> None:
    file = tmp_path / "apps.yaml"
    file.write_text(yaml.safe_dump({"apps": {APP: {"secrets": {"KEY": "of-the-file"}, "env": {"REGION": "file"}}}}))
    settings = with_keys(topics, OLD).model_copy(update={"apps_file": file})
    gateway = Installation(settings, start_services(settings, ("gateway",)))
    editor = client_of(gateway, key_of(gateway, "editor"))
    for path in ("secrets/KEY", "environment/REGION"):
        assert (answer := put(editor, path, "mine")).status == 409
        assert answer.problem == "set_by_file"
    done = run_headrace(settings, "secrets", "set", APP, "KEY", stdin="mine")
    assert (done.returncode, "goes before what is stored" in done.stderr) == (1, True)
    # Stored where the file was not known.
    assert run_headrace(with_keys(topics, OLD), "secrets", "set", APP, "KEY", stdin="mine").returncode == 0

    async def merged() -> Any:
        apps, storage = StoredApps(settings), Storage(settings)
        await apps.load(storage)
        storage.close()
        return apps(APP).secrets["KEY"], apps(APP).env["REGION"]

    assert asyncio.run(merged()) == ("of-the-file", "file")
    assert [(each["name"], each["source"]) for each in editor.get(f"{ROOT}/secrets").json["secrets"]] == [
        ("KEY", "file")
    ]


def test_without_the_right_key_no_service_starts_and_nothing_is_set(topics: Settings) -> None:
    assert run_headrace(with_keys(topics, OLD), "secrets", "set", APP, "KEY", stdin="hunter2-first").returncode == 0
    for settings in (with_keys(topics), with_keys(topics, NEW)):
        for service in ("orchestrator", "gateway"):
            done = run_headrace(settings, "service", service)
            told = done.stdout + done.stderr
            assert (done.returncode, "HEADRACE_SECRETS_KEYS" in told, "hunter2" in told) == (2, True, False), told
        done = run_headrace(settings, "secrets", "set", APP, "KEY", stdin="hunter2-second")
        assert (done.returncode, "HEADRACE_SECRETS_KEYS" in done.stderr) == (1, True), done.stderr
        assert run_headrace(settings, "secrets", "rotate").returncode == 1


def test_a_gateway_without_keys_says_which_setting_it_needs(shared_gateway: Installation) -> None:
    editor = client_of(shared_gateway, key_of(shared_gateway, "editor"))
    answer = put(editor, "secrets/KEY", "hunter2-first")
    assert (answer.status, answer.problem) == (503, "no_secrets_key")
    assert "HEADRACE_SECRETS_KEYS" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("secrets/1KEY", {"value": "hunter2"}),
        ("secrets/a.b", {"value": "hunter2"}),
        ("secrets/$where", {"value": "hunter2"}),
        ("secrets/KEY", {"value": {"$ne": "hunter2"}}),
        ("secrets/KEY", {"value": ""}),
        ("secrets/KEY", {"value": "hunter2" * 10_000}),
        ("secrets/KEY", {"value": "x", "hunter2": "more"}),
        ("secrets/KEY", "hunter2"),
        ("environment/KEY", {"value": 7}),
    ],
)
def test_what_is_no_secret_is_refused_by_field_and_not_quoted(
    shared_gateway: Installation, path: str, body: object
) -> None:
    editor = client_of(shared_gateway, key_of(shared_gateway, "editor"))
    answer = editor.call("PUT", f"{ROOT}/{path}", json.dumps(body), {"Content-Type": "application/json"})
    assert (answer.status, answer.problem) == (422, "bad_shape"), answer.body
    assert b'"hunter2"' not in answer.body.replace(b"body.hunter2", b"")
    assert b"hunter2hunter2" not in answer.body


async def test_a_value_that_was_moved_in_the_database_is_not_used(topics: Settings) -> None:
    settings = with_keys(topics, OLD)
    assert run_headrace(settings, "secrets", "set", "bank", "KEY", stdin="hunter2-bank").returncode == 0
    storage, apps = Storage(settings), StoredApps(settings)
    await apps.load(storage)
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        values = client[settings.prefix]["app_values"]
        (found,) = values.find()
        values.insert_one({**found, "_id": f"{APP}/secret/KEY", "app": APP})
    await apps.refresh(storage)
    storage.close()
    assert (apps("bank").secrets, apps(APP).secrets) == ({"KEY": "hunter2-bank"}, {})


async def test_a_change_with_a_key_that_a_running_service_has_not_leaves_it_what_it_had(topics: Settings) -> None:
    settings = with_keys(topics, OLD)
    assert run_headrace(settings, "secrets", "set", APP, "KEY", stdin="before").returncode == 0
    storage, apps = Storage(settings), StoredApps(settings)
    await apps.load(storage)
    assert run_headrace(with_keys(topics, NEW, OLD), "secrets", "set", APP, "KEY", stdin="after").returncode == 0
    await apps.refresh(storage)
    assert apps(APP).secrets == {"KEY": "before"}
    later = StoredApps(with_keys(topics, NEW, OLD))
    await later.load(storage)
    storage.close()
    assert later(APP).secrets == {"KEY": "after"}


def test_the_commands_of_the_page_do_what_it_says(
    topics: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/apps.md").read_text()
    (block,) = re.findall(r"```console\n(.*?)```", page, re.S)
    settings = with_keys(topics, OLD)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crm-token").write_text("hunter2-token\n")
    done = [
        run_headrace(settings, *shlex.split(line.removeprefix("$ .venv/bin/headrace "))) for line in block.splitlines()
    ]
    assert [each.returncode for each in done] == [0] * 6, done
    assert "CRM_TOKEN" in done[1].stdout
    assert "eu-west" in done[4].stdout
    assert "hunter2" not in str(done)
