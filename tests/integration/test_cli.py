"""The command line as scripts and people meet it."""

from pathlib import Path

import orjson
import pytest
from conftest import Installation, run_headrace

from headrace.settings import Settings, load_settings

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
        [{"automation": "shop/greet", "version": 1, "change": change}] for change in ("new", "unchanged")
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
    assert orjson.loads(installation.headrace("runs", "show", run["_id"], "--json").stdout)["app"] == "shop"
    tail = installation.headrace("events", "tail", "--from-beginning", "--count", "1")
    assert orjson.loads(tail.stdout)["ce_type"] == "hello"


MISTAKES = [
    (("runs", "show", "nothing"), 1, "no run 'nothing'"),
    (("runs", "list", "--status", "odd"), 1, "unknown status 'odd'"),
    (("automations", "show", "shop/none"), 1, "no automation 'shop/none'"),
    (("events", "publish", "hello", "{", "--app", "shop"), 1, "not JSON"),
    (("events", "publish", "headrace.secret", "{}", "--app", "shop"), 1, "headrace."),
    (("events", "publish", "hello", "{}", "--app", "No Such"), 1, "app"),
    (("apply", "-f", "no-such-file.yaml"), 1, "no such file"),
    (("service", "nonsense"), 1, "unknown service 'nonsense'"),
    (("runs", "list", "--limit", "many"), 2, "integer"),
    (("nonsense",), 2, "nonsense"),
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
    assert done.returncode == 2
    assert "is missing" in done.stdout + done.stderr
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
