"""A redriven run: resumed it repeats nothing, begun anew it does everything again as other effects."""

from typing import Any

import pytest
from resuming import JOB, World, execute

from headrace.contracts.automation import parse_automation
from headrace.contracts.jobs import Job, redriven
from headrace.engine import Outcome, Plan, StepCrashed, compile_plan
from headrace.engine.containers import Containers
from headrace.engine.run import Run

pytestmark = pytest.mark.unit


def http(id: str, **more: Any) -> dict[str, Any]:
    url = f"http://other.example/{id}"
    return {"id": id, "use": "http.request", "retry": {"attempts": 1}, "with": {"url": url, "method": "POST"}, **more}


ROW = {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"answer": "{{ steps.ask.data.answer }}"}}}
OUT = {"id": "out", "use": "event.publish", "with": {"type": "done", "data": "{{ steps.ask.data.answer }}"}}


def plan_of(*steps: dict[str, Any]) -> Plan:
    trigger = {"type": "event", "event": "*"}
    return compile_plan(parse_automation({"name": "a", "app": "shop", "trigger": trigger, "steps": [*steps]}), 3)


# Of the third request, an odd one, the other side says that it is away.
GIVES_UP = plan_of(http("ask"), ROW, OUT, http("tell"), http("flaky", on_error="retry"))


def again(job: Job, *, is_restart: bool = False, had_outcome: bool = True) -> Job:
    return redriven(job, version=job.version, is_restart=is_restart, had_outcome=had_outcome)


def steps_of(keys: list[str]) -> list[str]:
    return [key.split("/")[2] for key in keys]


async def gave_up(world: World) -> Outcome:
    outcome = await execute(world, GIVES_UP)
    assert outcome.record["status"] == "dead_lettered"
    assert len(outcome.publications) == 1
    return outcome


async def test_a_resumed_run_goes_on_at_the_step_that_failed_and_repeats_nothing() -> None:
    world = World()
    await gave_up(world)
    outcome = await execute(world, GIVES_UP, again(JOB))
    assert outcome.record["status"] == "success"
    assert (outcome.record["generation"], outcome.record["sequence"], outcome.record["attempt"]) == (1, 1, 1)
    assert steps_of(world.sent()) == ["ask", "tell", "flaky", "flaky"]
    assert len(set(world.sent())) == 3
    assert [row.row["answer"] for row in world.rows] == [1]
    assert outcome.publications == ()


async def test_a_restarted_run_does_all_of_it_again_under_other_keys() -> None:
    world = World()
    first = await gave_up(world)
    outcome = await execute(world, GIVES_UP, again(JOB, is_restart=True))
    assert steps_of(world.sent()) == ["ask", "tell", "flaky"] * 2
    assert len(set(world.sent())) == 6
    assert [row.row["answer"] for row in world.rows] == [1, 4]
    assert len({row.origin for row in world.rows}) == len({row.row_id for row in world.rows}) == 2
    ids = {dict(each.headers)["ce_id"] for each in (*first.publications, *outcome.publications)}
    assert len(ids) == 2


async def test_a_restarted_run_that_is_cut_off_or_resumed_recalls_what_it_did_since() -> None:
    world = World()
    await gave_up(world)
    restarted = again(JOB, is_restart=True)
    for job in (restarted, restarted, again(restarted)):
        outcome = await execute(world, GIVES_UP, job)
        assert outcome.record["status"] == "success"
        assert steps_of(world.sent()) == ["ask", "tell", "flaky"] * 2
        assert len(world.rows) == 2


async def test_a_restarted_run_is_not_held_back_by_the_end_that_it_came_to_before() -> None:
    stop = {"id": "stop", "stop": {"status": "success"}}
    beside = [http("one"), http("two")]
    plan = plan_of(
        {"id": "both", "parallel": [{"name": "a", "steps": beside}, {"name": "b", "steps": [http("first"), stop]}]}, ROW
    )
    world = World()
    first = await execute(world, plan)
    sent = len(world.requests)
    second = await execute(world, plan, again(JOB, is_restart=True, had_outcome=False))
    assert len(world.requests) >= sent + 2
    assert second.record["status"] == first.record["status"]
    assert second.record["started_at"] >= first.record["started_at"]


async def test_what_a_run_published_before_it_crashed_goes_out_once_it_is_redriven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job of a crash is a dead letter without an outcome: nothing that it had published is out."""
    plan = plan_of(
        http("ask"), OUT, http("tell"), {"id": "way", "branch": [{"name": "x", "else": True, "steps": [ROW]}]}
    )
    world, job = World(), JOB
    with monkeypatch.context() as broken:
        broken.setattr(Containers, "execute_branch_step", _crash)
        for _ in range(2):
            with pytest.raises(StepCrashed):
                await execute(world, plan, job)
            job = again(job, had_outcome=False)
    outcome = await execute(world, plan, job)
    assert (outcome.record["status"], outcome.record["generation"]) == ("success", 2)
    assert steps_of(world.sent()) == ["ask", "tell"]
    assert len(outcome.publications) == 1


async def _crash(_self: Containers, _run: Run, *_what: object) -> None:
    raise RuntimeError("a bug")
