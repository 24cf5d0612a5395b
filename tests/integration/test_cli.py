"""The command line as scripts and people meet it."""

import socket
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from conftest import Installation, run_headrace
from pydantic import SecretStr

from headrace.cli.output import Failed
from headrace.cli.runs import _find
from headrace.contracts.runs import RunRecord
from headrace.settings import Settings, load_settings
from headrace.storage import Storage

pytestmark = pytest.mark.integration

AUTOMATION = """
name: greet
app: shop
trigger: {type: event, event: hello}
steps:
  - {id: say, use: log, with: {text: "hello {{ trigger.data.name }}"}}
"""


def test_apply_is_live_when_it_returns_and_changes_nothing_the_second_time(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(AUTOMATION)
    answers = [orjson.loads(installation.headrace("apply", "-f", str(file), "--json").stdout) for _ in range(2)]
    assert answers == [
        [{"automation": "shop/greet", "version": 1, "change": change, "state": "enabled"}]
        for change in ("new", "unchanged")
    ]
    file.write_text(AUTOMATION.replace("hello {{", "good day {{"))
    assert orjson.loads(installation.headrace("apply", "-f", str(file), "--json").stdout)[0]["version"] == 2
    installation.headrace("events", "publish", "hello", '{"name": "Ann"}', "--app", "shop")
    (run,) = installation.runs("shop")
    assert (run["version"], run["steps"][0]["inputs"]["text"]) == (2, "good day Ann")


def test_runs_are_listed_by_filters_and_shown_step_by_step(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "greet.yaml"
    file.write_text(AUTOMATION)
    installation.headrace("apply", "-f", str(file))
    published = installation.headrace("events", "publish", "hello", "-", "--app", "shop", "--json", stdin='{"name": 1}')
    assert orjson.loads(published.stdout)["topic"] == f"{installation.settings.prefix}.events"
    installation.await_quiet()
    (run,) = orjson.loads(installation.headrace("runs", "list", "--app", "shop", "--json").stdout)
    assert orjson.loads(installation.headrace("runs", "list", "--status", "error", "--json").stdout) == []
    shown = installation.headrace("runs", "show", run["_id"])
    assert "hello 1" in shown.stdout
    assert "say (log): success" in shown.stdout
    assert "datetime" not in shown.stdout
    assert orjson.loads(installation.headrace("runs", "show", run["_id"], "--json").stdout)["app"] == "shop"
    (line,) = installation.headrace("runs", "list", columns=40).stdout.splitlines()[1:]
    assert line.split()[0] == run["_id"]
    tail = installation.headrace("events", "tail", "--from-beginning", "--count", "1")
    assert orjson.loads(tail.stdout)["ce_type"] == "hello"


def test_the_largest_document_that_is_accepted_goes_live(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(AUTOMATION + f"  - {{id: long, collect: '{'x' * 1_048_000}'}}\n")
    done = installation.headrace("apply", "-f", str(file), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(AUTOMATION + f"  - {{id: long, collect: '{'x' * 1_049_000}'}}\n")
    done = installation.headrace("apply", "-f", str(file))
    assert done.returncode == 1
    assert "1048576 are accepted" in done.stderr
    (live,) = orjson.loads(installation.headrace("automations", "list", "--json").stdout)
    assert live["version"] == 1


async def test_a_run_is_found_by_the_first_characters_of_its_id_if_no_other_begins_so(storage: Storage) -> None:
    ids = ["1b4e28ba-2fa1", "1b4e28ba-2fb2", "1b4e28bb-0000"]
    await storage.runs.apply([_record(id) for id in ids], datetime(2013, 1, 1, tzinfo=UTC))
    assert await storage.runs.ids_from("1b4e28ba", limit=2) == ids[:2]
    assert await storage.runs.ids_from("1b4e28bb", limit=2) == ids[2:]
    found = await _find(storage, "1b4e28ba-2fa")
    assert found is not None
    assert found["_id"] == ids[0]
    assert await _find(storage, "1b4e28b") is None
    assert await _find(storage, "1b4e28bc") is None
    with pytest.raises(Failed, match=f"{ids[0]}, {ids[1]}"):
        await _find(storage, "1b4e28ba")


def _record(id: str) -> RunRecord:
    at = datetime(2013, 1, 1, tzinfo=UTC)
    return {
        "format": 1, "run_id": id, "app": "shop", "automation": "a", "version": 1, "status": "success",
        "generation": 0, "sequence": 1, "attempt": 1, "key": "k", "steps": [], "error": None,
        "event": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": at},
        "job": {"topic": "j", "partition": 0, "offset": 0},
        "event_time": at, "started_at": at, "finished_at": at, "duration_ms": 1.0,
    }  # fmt: skip


MISTAKES = [
    (("runs", "show", "nothing"), 1, "no run 'nothing'"),
    (("runs", "list", "--status", "odd"), 2, "unknown status 'odd'"),
    (("automations", "show", "shop/none"), 1, "no automation 'shop/none'"),
    (("events", "publish", "hello", "{", "--app", "shop"), 2, "not JSON"),
    (("events", "publish", "headrace.secret", "{}", "--app", "shop"), 2, "headrace."),
    (("events", "publish", "hello", "{}", "--app", "No Such"), 2, "app"),
    (("apply", "-f", "no-such-file.yaml"), 1, "no such file"),
    (("service", "nonsense"), 2, "unknown service 'nonsense'"),
    (("groups", "reset", "nobody"), 2, "--to-latest"),
    (("groups", "reset", "nobody", "--to-latest"), 1, "never"),
    (("runs", "list", "--limit", "many"), 2, "integer"),
    (("nonsense",), 2, "nonsense"),
    (("runs", "cancel", "--app", "shop", "--automation", "typo", "--reason", "x"), 1, "no automation shop/typo"),
    (("runs", "cancel", "nothing", "--reason", " "), 2, "say why"),
    (("automations", "pause", "shop/a", "--reason", ""), 2, "say why"),
    (("automations", "disable", "shop/a", "--reason", ""), 2, "say why"),
    (("dlq", "redrive", "t/0/1", "--value", "no-such-file"), 2, "--value"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_sentence_and_an_exit_code(
    topics: Settings, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = run_headrace(topics, *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\napp: shop\n", "trigger"),
        ("- [", "broken.yaml"),
        (AUTOMATION.replace("use: log", "use: lgo"), "lgo"),
        (AUTOMATION.replace("trigger.data.name }}", "trigger.data.name"), "template"),
        (AUTOMATION.replace("app: shop", "app: Shop!"), "app"),
        ("", "no automation"),
    ],
)
def test_a_mistake_in_an_automation_is_named_with_its_file_and_place(
    topics: Settings, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    done = run_headrace(topics, "apply", "-f", str(file))
    assert done.returncode == 1
    assert words in done.stderr
    assert "broken.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_stack_a_command_says_how_to_get_one(tmp_path: Path) -> None:
    done = run_headrace(
        load_settings(state_dir=tmp_path / "none", kafka_bootstrap_servers=None, mongodb_uri=None), "runs", "list"
    )
    assert done.returncode == 1
    assert "headrace up" in done.stderr


def test_a_service_refuses_topics_that_are_not_as_they_must_be(settings: Settings) -> None:
    done = run_headrace(settings, "service", "recorder")
    assert done.returncode == 1
    assert "is missing" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [("up",), ("service", "recorder"), ("runs", "list")])
def test_a_wrong_setting_is_wrong_usage_in_every_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    done = run_headrace(settings.model_copy(update={"partitions": "none"}), *command)
    assert done.returncode == 2
    assert "HEADRACE_PARTITIONS" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_service_that_cannot_reach_mongodb_says_so_and_fails(topics: Settings) -> None:
    away = topics.model_copy(update={"mongodb_uri": SecretStr("mongodb://127.0.0.1:1")})
    done = run_headrace(away, "service", "recorder")
    assert done.returncode == 1
    assert "MongoDB is away" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_named_with_its_setting(topics: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_headrace(topics.model_copy(update={"ops_port": port}), "service", "trigger_matcher")
    assert done.returncode == 2
    assert f"HEADRACE_OPS_PORT: 127.0.0.1:{port} cannot be served" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_finds_nothing_wrong_with_the_stack_of_the_tests(topics: Settings) -> None:
    done = run_headrace(topics, "doctor", "--json")
    checks = orjson.loads(done.stdout)
    assert [check for check in checks if not check["ok"]] == []
    assert {"Kafka transactions", "Kafka recovery", "MongoDB replica set"} <= {check["name"] for check in checks}


def test_doctor_names_a_remedy_for_a_cluster_that_is_not_there(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    done = run_headrace(away, "doctor", "--json")
    assert done.returncode == 1
    (failed,) = [check for check in orjson.loads(done.stdout) if not check["ok"]]
    assert failed["name"] == "Kafka"
    assert "KAFKA_BOOTSTRAP_SERVERS" in failed["remedy"]
