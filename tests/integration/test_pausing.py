"""A paused automation's jobs wait, with nothing lost, and go on in their order; a disabled one's events pass by."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from conftest import DEADLINE_S, Installation, until
from dlq_support import audit, held
from pymongo import MongoClient

from headrace.applying import apply
from headrace.contracts.automation import RELEASE_RATE, parse_automation
from headrace.contracts.topics import Topic
from headrace.installation import topics
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.switching import Asked, Switch, switch

pytestmark = pytest.mark.integration

APP = "pause"
PAGE = (Path(__file__).parents[2] / "docs/pausing.md").read_text()


def automation(name: str = "pay", **more: Any) -> dict[str, Any]:
    row = {"id": "note", "use": "row.create", "with": {"table": "notes", "row": {"n": "{{ trigger.data.n }}"}}}
    document = {"name": name, "app": APP, "trigger": {"type": "event", "event": "go"}, "steps": [row]}
    return {**document, **more}


PURE = automation("pure", steps=[{"id": "n", "collect": "{{ trigger.data.n }}"}])
SLOW = automation("slow", steps=[{"id": "wait", "delay": {"for": "15s"}}, automation()["steps"][0]])


def switched(installation: Installation, *arguments: str, code: int = 0) -> str:
    done = installation.headrace("automations", *arguments, "--by", "ann", "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return str(orjson.loads(done.stdout)["state"]) if code == 0 else done.stderr


def noted(installation: Installation) -> int:
    return installation.ask(lambda storage: storage.rows.count(APP, "notes"))


def forget(settings: Settings, gone: Sequence[Topic]) -> None:
    """What retention does: no record is left of all that these topics hold."""
    admin = AdminClient({**settings.kafka})
    ends = [
        TopicPartition(topic.full_name(settings.prefix), number, OFFSET_END)
        for topic in gone
        for number in range(topic.partitions or settings.partitions)
    ]
    for deleted in admin.delete_records(ends).values():
        deleted.result()


def publish(installation: Installation, *numbers: int, key: str = "k") -> None:
    with installation.publisher(APP) as publisher:
        for number in numbers:
            publisher.event("go", {"n": number}, key=key, id=f"e-{number}")


def test_jobs_of_a_paused_automation_wait_and_go_on_in_their_order(installation: Installation) -> None:
    installation.apply(automation(), PURE)
    assert switched(installation, "pause", f"{APP}/pay", "--reason", "the bank is down") == "paused"
    assert switched(installation, "pause", f"{APP}/pure", "--reason", "the bank is down") == "paused"
    publish(installation, *range(20))
    runs = installation.runs(APP)
    assert {(run["status"], run["next"]["what"], run["next"]["why"]) for run in runs} == {
        ("waiting", "pause", "paused by ann: the bank is down")
    }
    assert (len(runs), noted(installation)) == (40, 0)
    # A duplicate of what waits is that, and nothing else.
    publish(installation, 7)
    assert len(installation.runs(APP)) == 40
    for name in ("pay", "pure"):
        assert switched(installation, "resume", f"{APP}/{name}", "--rate", "1000") == "enabled"
    until(lambda: all(run["status"] == "success" for run in installation.runs(APP)), "the end of all runs")
    done = [run for run in installation.runs(APP) if run["automation"] == "pure"]
    order = [run["collected"] for run in sorted(done, key=lambda run: run["finished_at"])]
    assert (order, noted(installation)) == (list(range(20)), 20)
    publish(installation, 20)
    assert [run["status"] for run in installation.runs(APP) if run["event"]["id"] == "e-20"] == ["success"] * 2


def test_what_is_held_outlives_its_events_and_jobs_and_goes_on_at_the_rate(installation: Installation) -> None:
    installation.apply(automation(), PURE)
    for name in ("pay", "pure"):
        switched(installation, "pause", f"{APP}/{name}", "--reason", "a long one")
    publish(installation, *range(20))
    assert len(installation.runs(APP)) == 40
    until(lambda: held(installation) == 40, "all timers to be held")
    forget(installation.settings, [topic for topic in topics(installation.settings) if topic.cleanup == "delete"])
    with MongoClient[dict[str, Any]](installation.settings.mongodb) as client:
        ours = client[installation.settings.prefix]
        # Nothing but their end lets them expire.
        assert (ours["run_heads"].count_documents({}), ours["run_journal"].count_documents({})) == (40, 40)
        for name in ("run_heads", "run_journal"):
            assert ours[name].count_documents({"expires_at": {"$exists": True}}) == 0, name
        rate, most_made_up_s = 8, 1
        for name in ("pay", "pure"):
            switched(installation, "resume", f"{APP}/{name}", "--rate", f"{rate}")
        until(lambda: all(run["status"] == "success" for run in installation.runs(APP)), "the end of all runs")
        runs = installation.runs(APP)
        assert (len(runs), noted(installation)) == (40, 20)
        for name in ("pay", "pure"):
            ends = sorted(run["finished_at"] for run in runs if run["automation"] == name)
            assert (ends[-1] - ends[0]).total_seconds() >= 19 / rate - most_made_up_s, "faster than the rate"
        until(lambda: ours["run_heads"].count_documents({"expires_at": {"$exists": False}}) == 0, "all to expire")


def test_a_new_version_leaves_a_pause_and_the_version_of_what_waits_as_they_are(installation: Installation) -> None:
    installation.apply(automation())
    switched(installation, "pause", f"{APP}/pay", "--reason", "look at it")
    publish(installation, 1)
    installation.apply(automation(description="mended"))
    publish(installation, 2)
    shown = installation.headrace("automations", "show", f"{APP}/pay", "--json")
    found = orjson.loads(shown.stdout)
    assert (found["state"], found["version"], found["reason"], found["by"]) == ("paused", 2, "look at it", "ann")
    assert {(run["status"], run["version"]) for run in installation.runs(APP)} == {("waiting", 1), ("waiting", 2)}
    switched(installation, "resume", f"{APP}/pay")
    until(lambda: noted(installation) == 2, "both rows")
    assert {(run["status"], run["version"]) for run in installation.runs(APP)} == {("success", 1), ("success", 2)}


def test_a_delay_that_ends_during_a_pause_waits_for_its_end_and_a_cancelled_run_does_not(
    installation: Installation,
) -> None:
    installation.apply(SLOW)
    publish(installation, 1, key="a")
    publish(installation, 2, key="b")
    switched(installation, "pause", f"{APP}/slow", "--reason", "too loud")

    until(lambda: held(installation) == 2, "both delays to end")
    assert noted(installation) == 0
    (cancelled,) = [run for run in installation.runs(APP) if run["event"]["id"] == "e-2"]
    done = installation.headrace("runs", "cancel", cancelled["_id"], "--reason", "no more", "--by", "ann")
    assert done.returncode == 0, done.stderr
    until(
        lambda: (
            {run["event"]["id"]: run["status"] for run in installation.runs(APP)}
            == {"e-1": "waiting", "e-2": "cancelled"}
        ),
        "the end of the run that was cancelled",
    )
    switched(installation, "resume", f"{APP}/slow")
    until(lambda: noted(installation) == 1, "the row of the other")
    assert {run["status"] for run in installation.runs(APP)} == {"success", "cancelled"}
    assert [each["action"] for each in audit(installation)] == ["resume", "cancel", "pause"]


async def test_the_rate_of_what_still_catches_up_stays_until_somebody_resumes_at_another(
    topics: Settings, storage: Storage
) -> None:
    async def after(which: Switch, rate: float | None = None) -> float:
        return (await switch(topics, storage, f"{APP}/pay", Asked(which, "ann", "a test", rate))).release_rate

    async def applied(**more: Any) -> float:
        (saved,) = await apply(topics, storage, [parse_automation(automation(**more))], "ann")
        return saved.live.release_rate

    assert await applied() == RELEASE_RATE
    await after("pause")
    assert await after("resume", 5) == 5
    assert await applied(description="another") == 5
    assert [await after("disable"), await after("enable"), await after("resume")] == [5, 5, 5]
    assert await after("resume", 7) == 7
    await after("pause")
    assert await after("resume") == RELEASE_RATE


def test_events_pass_a_disabled_automation_by(installation: Installation) -> None:
    installation.apply(automation())
    assert switched(installation, "disable", f"{APP}/pay", "--reason", "not needed") == "disabled"
    publish(installation, 1)
    assert installation.runs(APP) == []
    assert "enable" in switched(installation, "pause", f"{APP}/pay", "--reason", "x", code=1)
    installation.apply(automation(description="another"))
    publish(installation, 2)
    assert installation.runs(APP) == []
    assert switched(installation, "enable", f"{APP}/pay") == "enabled"
    assert switched(installation, "enable", f"{APP}/pay") == "enabled"
    publish(installation, 3)
    assert [run["event"]["id"] for run in installation.runs(APP)] == ["e-3"]
    newest, _ = audit(installation)
    assert (newest["action"], newest["by"], newest["asked"], newest["count"]) == (
        "enable",
        "ann",
        {"automation": f"{APP}/pay"},
        1,
    )


def test_what_is_paused_is_resumed_before_it_is_disabled_and_nobody_switches_what_is_not_there(
    installation: Installation,
) -> None:
    installation.apply(automation())
    switched(installation, "pause", f"{APP}/pay", "--reason", "x")
    assert "`resume` it first" in switched(installation, "disable", f"{APP}/pay", "--reason", "x", code=1)
    assert "no automation" in switched(installation, "resume", f"{APP}/nobody", code=1)
    done = installation.headrace("automations", "resume", f"{APP}/pay", "--rate", "nan")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_a_scheduler_and_an_orchestrator_that_are_killed_lose_nothing_that_waits(installation: Installation) -> None:
    installation.apply(automation())
    switched(installation, "pause", f"{APP}/pay", "--reason", "x")
    publish(installation, *range(50))
    assert len(installation.runs(APP)) == 50
    switched(installation, "resume", f"{APP}/pay", "--rate", "30")
    until(lambda: noted(installation) > 3, "the first rows")
    for service in ("scheduler", "orchestrator"):
        killed = installation.process(f"{service}-0").stats()
        killed.kill()
        killed.wait(DEADLINE_S)
        installation.services.start_service(service)
    until(lambda: noted(installation) == 50, "all rows")
    runs = installation.runs(APP)
    assert (len(runs), {run["status"] for run in runs}, noted(installation)) == (50, {"success"}, 50)


def test_the_commands_of_the_page_work_in_their_order(installation: Installation, tmp_path: Path) -> None:
    (document,), (block,) = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S) for kind in ("yaml", "console"))
    (tmp_path / "pay.yaml").write_text(document)
    said: dict[str, str] = {}
    for line in block.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert program == ".venv/bin/headrace"
        installation.await_quiet()
        done = installation.headrace(*(str(tmp_path / each) if each == "pay.yaml" else each for each in arguments))
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        said[" ".join(arguments[:2])] = done.stdout
    assert "waiting" in said["runs list"]
    assert "shop/pay is enabled" in said["automations enable"]
    assert all(each in said["audit"] for each in ("pause", "resume", "disable", "enable", "the bank is down", "ann"))
    until(lambda: installation.ask(lambda storage: storage.rows.count("shop", "orders")) == 1, "the row")
