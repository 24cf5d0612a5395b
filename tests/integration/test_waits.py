"""On real servers a run that waits for an event or for another run goes on with what came, once, whoever is killed."""

from typing import Any

import pytest
from conftest import DEADLINE_S, Installation, until

from headrace.contracts.resumptions import write_resumption
from headrace.contracts.waits import Arrival, Wait, answer_of, read_wait_record

pytestmark = pytest.mark.integration

APP = "waiting"
GO = {"type": "event", "event": "go"}
WAIT = {"id": "paid", "wait_for_event": {"type": "paid", "key": "{{ trigger.data.n }}", "timeout": "2d"}}
AFTER = {"id": "after", "use": "row.create", "with": {"table": "t", "row": {"by": "{{ steps.paid.data.by }}"}}}


def automation(name: str, trigger: dict[str, Any], *steps: dict[str, Any]) -> dict[str, object]:
    return {"name": name, "app": APP, "trigger": trigger, "steps": list(steps)}


def rows(installation: Installation) -> int:
    return installation.ask(lambda storage: storage.rows.count(APP, "t"))


def test_an_event_answers_each_run_that_waits_for_its_key_whether_it_came_before_or_after_the_wait(
    installation: Installation,
) -> None:
    installation.apply(automation("waits", GO, WAIT, AFTER))
    with installation.publisher(APP) as publisher:
        for n in (1, 2):
            publisher.event("go", {"n": n})
        publisher.event("paid", {"by": "early"}, key="1")  # as a rule before its wait is known
        (first, second) = installation.runs(APP)
        assert {first["status"], second["status"]} <= {"waiting", "success"}
        publisher.event("paid", {"by": "late"}, key="2")
        for _ in range(2):
            publisher.event("paid", {"by": "again"}, key="2", id="twice")
    until(lambda: rows(installation) == 2, "both rows behind their waits")
    runs = installation.runs(APP)
    assert [run["status"] for run in runs] == ["success"] * 2
    assert {run["steps"][0]["outputs"]["data"]["by"] for run in runs} == {"early", "late"}
    assert rows(installation) == 2


def test_an_event_that_comes_while_the_scheduler_is_dead_is_not_lost_and_its_copies_find_nothing_to_resume(
    installation: Installation,
) -> None:
    installation.apply(automation("waits", GO, WAIT, AFTER))
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 7})
        (run,) = installation.runs(APP)
        assert (run["status"], run["next"]["what"]) == ("waiting", "event")
        killed = installation.process("scheduler-0").stats()
        killed.kill()
        killed.wait(DEADLINE_S)
        publisher.event("paid", {"by": "ann"}, key="7")
        installation.services.start_service("scheduler")
        until(lambda: rows(installation) == 1, "the row behind the wait")
    topic = f"{installation.settings.prefix}.waits"
    records = [read_wait_record(value) for value in installation.read(topic)]
    (wait,) = [each for each in records if isinstance(each, Wait)]
    (came,) = [each for each in records if isinstance(each, Arrival)]
    # Whoever reads the topic anew, without the wait's end, would answer so again.
    resumption = answer_of(wait, 0, came)
    headers = {"headrace_resumes": resumption.run_id}
    installation.produce("jobs.normal", write_resumption(resumption), headers, resumption.record_key)
    (ended,) = installation.runs(APP)
    assert (ended["status"], ended["sequence"], rows(installation)) == ("success", 3, 1)


def test_a_call_that_is_awaited_gives_what_the_other_run_came_to(installation: Installation) -> None:
    call = {"id": "child", "call": {"automation": "child", "fields": {"n": "{{ trigger.data.n }}"}, "wait": True}}
    child = automation("child", {"type": "manual"}, {"id": "out", "collect": "{{ trigger.fields.n * 2 }}"})
    installation.apply(
        {**child, "fields": {"n": "number"}},
        automation("parent", GO, call, {"id": "out", "collect": "{{ steps.child.collected }}"}),
    )
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 21})

    def parent() -> Any:
        return next(run for run in installation.runs(APP) if run["automation"] == "parent")

    until(lambda: parent()["status"] != "waiting", "the parent's end")
    assert (parent()["status"], parent().get("collected")) == ("success", 42)
    called = next(run for run in installation.runs(APP) if run["automation"] == "child")
    assert parent()["steps"][0]["outputs"]["run_id"] == called["_id"]
