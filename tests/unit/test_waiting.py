"""A run that waits for an event, or for the end of another run, holds no worker, and goes on with what came."""

import asyncio
from datetime import timedelta
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import (
    AT,
    JOB,
    Came,
    Cut,
    Leaving,
    LoopClock,
    VirtualLoop,
    World,
    answer_to,
    by_key,
    execute,
    run_to_its_end,
    shape,
)
from test_resume import plan_of

from headrace.contracts.jobs import derived_uuid, next_segment, read_job, run_id
from headrace.contracts.reserved import CALLED, ENDED, read_start
from headrace.engine import Cancellation, Outcome
from headrace.engine.decisions import Hold, Leave, Park
from headrace.engine.publications import own_event

pytestmark = pytest.mark.unit

TELL = {"id": "tell", "use": "http.request", "with": {"url": "http://x/tell"}}
CALL = {"id": "child", "call": {"automation": "other", "fields": {"n": "{{ trigger.n }}"}, "wait": True}}


def child_of(path: str) -> str:
    """The run that the call with this path starts."""
    return run_id(
        "shop", "other", own_event(JOB, derived_uuid(f"{JOB.run_id}/0/{path}/0"), CALLED, AT, subject="other")
    )


CHILD = child_of("child")


def waiting(id: str = "paid", key: Any = "{{ trigger.n }}", **more: Any) -> dict[str, Any]:
    return {"id": id, "wait_for_event": {"type": "paid", "key": key, "timeout": "2d", **more}}


def paid(seconds: float, data: Any = None, key: str = "7", id: str = "") -> Came:
    return Came(seconds, "paid", key, data, id)


def ended(status: str, child: str = CHILD, **more: Any) -> Came:
    data = {"automation": "other", "run_id": child, "status": status, "error": None, "collected": None, **more}
    return Came(60, ENDED, child, data)


def course_of(*steps: dict[str, Any], events: list[Came] | None = None) -> Any:
    world = World()
    return world, run_to_its_end(world, plan_of([*steps]), events=events)


def results(course: Any) -> dict[str, Any]:
    return {step["id"]: step for step in course.last.record["steps"]}


def test_a_run_that_waits_parks_and_says_for_what_and_how_long() -> None:
    outcome = course_of(TELL, waiting(), events=[])[1].outcomes[0]
    decision = outcome.decision
    assert isinstance(decision, Park)
    (awaited,) = decision.events
    assert (awaited.step, awaited.type, awaited.key, awaited.after) == (f"{JOB.run_id}/0/paid/0", "paid", "7", -1)
    assert awaited.until == decision.until == AT + timedelta(days=2)
    assert awaited.since <= AT
    assert (outcome.record["status"], [step["id"] for step in outcome.record["steps"]]) == ("waiting", ["tell"])
    told = outcome.record.get("next")
    assert told is not None
    assert (told["what"], told.get("due")) == ("event", decision.until)
    assert "an event paid with key 7" in told["why"]


def test_the_event_is_the_output_and_nothing_is_done_again() -> None:
    world, course = course_of(
        TELL, waiting(), {"id": "out", "collect": "{{ steps.paid }}"}, events=[paid(60, {"a": 1})]
    )
    assert [each.record["status"] for each in course.outcomes] == ["waiting", "success"]
    event = {"id": "0", "source": "bank", "type": "paid", "time": AT + timedelta(seconds=60)}
    assert results(course)["paid"]["outputs"] == {"success": True, "data": {"a": 1}, "event": event}
    assert course.last.record.get("collected") == results(course)["paid"]["outputs"]
    assert len(world.requests) == 1


class PausedMeanwhile(Leaving):
    """Asks the run to leave as soon as it is resumed with what it waited for."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __call__(self) -> Leave | None:
        return Hold("paused by ann: the bank is down") if self._world.claims == 2 else None


def test_a_run_whose_automation_is_paused_takes_what_it_was_resumed_with_before_it_leaves() -> None:
    world = World()
    plan = plan_of([waiting(), {"id": "out", "collect": "{{ steps.paid.data }}"}])
    course = run_to_its_end(world, plan, PausedMeanwhile(world), events=[paid(60, 1)])
    assert [(each.record["status"], (each.record.get("next") or {}).get("what")) for each in course.outcomes] == [
        ("waiting", "event"), ("waiting", "pause"), ("success", None),
    ]  # fmt: skip
    assert [step["id"] for step in course.outcomes[1].record["steps"]] == ["paid"]
    assert course.last.record.get("collected") == 1


def test_an_event_that_is_not_meant_keeps_nobody_beside_it_from_leaving() -> None:
    world = World()
    beside = {"name": "b", "steps": [{"id": "nap", "delay": {"for": "1m"}}, TELL]}
    both = {"id": "both", "parallel": [{"name": "a", "steps": [waiting(match="{{ data == 2 }}")]}, beside]}
    course = run_to_its_end(world, plan_of([both]), PausedMeanwhile(world), events=[paid(58, 1), paid(200, 2)])
    # The first event comes two seconds before the other list goes on.
    assert [(each.record.get("next") or {}).get("what") for each in course.outcomes[:2]] == ["event", "pause"]
    assert course.last.record["status"] == "success"


def test_what_came_since_the_runs_start_counts_whatever_it_waited_for_before() -> None:
    pause = {"id": "pause", "delay": {"for": "1h"}}
    _, course = course_of(pause, waiting(), events=[paid(60, 1)])
    assert results(course)["paid"]["outputs"]["data"] == 1
    assert [each.record["status"] for each in course.outcomes] == ["waiting", "waiting", "success"]


def test_an_event_that_does_not_match_is_passed_over_for_later_ones() -> None:
    wait = waiting(match="{{ data.by != 'me' and event.type == 'paid' and trigger.n == 7 }}")
    _, course = course_of(wait, events=[paid(60, {"by": "me"}), paid(61, {"by": "me"}), paid(62, {"by": "you"})])
    assert results(course)["paid"]["outputs"]["data"] == {"by": "you"}
    assert [answer.at for answer in course.answers] == [0, 1, 2]
    _, course = course_of(wait)
    assert results(course)["paid"]["error"]["type"] == "timeout"


@pytest.mark.parametrize("late_s", [0, 100])
def test_an_event_that_came_in_time_counts_also_where_its_run_is_late_with_one_that_is_not_meant(late_s: float) -> None:
    wait = waiting(match="{{ data == 2 }}") | {"timeout": "1m"}
    events = [paid(10, 1), paid(20, 1), paid(30, 2), paid(80, 2)]
    course = run_to_its_end(World(), plan_of([wait]), events=events, late_s=late_s)
    assert results(course)["paid"]["outputs"]["data"] == 2
    assert [answer.at for answer in course.answers] == [0, 1, 2]
    course = run_to_its_end(World(), plan_of([wait]), events=[events[0], events[3]], late_s=late_s)
    assert results(course)["paid"]["error"]["type"] == "timeout"


def test_behind_each_event_that_is_not_meant_the_run_looks_for_another_however_slowly_it_is_told() -> None:
    wait = waiting(match="{{ data == 4 }}") | {"timeout": "1m"}
    events = [paid(n, n) for n in range(5)]

    async def told_slowly() -> Outcome:
        world, plan, job, answer = World(), plan_of([wait]), JOB, None
        for late_s in (55, 9, 9, 9, 9):
            outcome = await execute(world, plan, job, answer=answer)
            assert isinstance(outcome.decision, Park)
            found = answer_to(outcome.decision.events[0], events)
            assert found is not None
            await asyncio.sleep(late_s)
            assert LoopClock().now() < outcome.decision.until, "its timer does not come before the answer"
            answer, job = found[0], read_job(next_segment(job))
        return await execute(world, plan, job, answer=answer)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        record = runner.run(told_slowly()).record
    assert record["steps"][0].get("outputs", {})["data"] == 4  # pyright: ignore


@pytest.mark.parametrize("leaving", [{"uncommitted": {1}}, {"dead": {1}}, {"uncommitted": {1, 2}}])
def test_an_event_that_came_in_time_counts_also_where_what_waited_for_it_was_lost(leaving: dict[str, Any]) -> None:
    wait = waiting() | {"timeout": "1m"}
    course = run_to_its_end(World(), plan_of([wait]), Leaving(**leaving), events=[paid(30, 1)], late_s=100)
    assert results(course)["paid"]["outputs"]["data"] == 1
    course = run_to_its_end(World(), plan_of([wait]), Leaving(**leaving), events=[paid(80, 1)], late_s=100)
    assert results(course)["paid"]["error"]["type"] == "timeout"


def test_an_event_that_came_in_time_counts_also_where_its_run_is_late_with_one_of_another_step() -> None:
    lists = [{"name": key, "steps": [{**waiting(f"p{key}", key), "timeout": "1m"}]} for key in ("1", "2", "3")]
    both = {"id": "both", "parallel": lists}
    events = [paid(10, "a", "1"), paid(20, "b", "2")]
    course = run_to_its_end(World(), plan_of([both]), events=events, late_s=100)
    found = {step["id"]: step["status"] for step in course.last.record["steps"][0].get("children", [])}
    assert found == {"p1": "success", "p2": "success", "p3": "timed_out"}


def test_a_match_that_cannot_be_decided_is_the_steps_failure() -> None:
    _, course = course_of(waiting(match="{{ data.at | add_time(days=1) > now }}"), events=[paid(1, {"at": "never"})])
    assert results(course)["paid"]["status"] == "error"
    assert len(course.outcomes) == 2


def test_the_event_that_started_the_run_is_not_the_one_that_it_waits_for() -> None:
    cause = JOB.cause
    events = [Came(0, "paid", "7", "trigger", cause.id, cause.source), paid(5, "next", id=cause.id)]
    _, course = course_of(waiting(), events=events)
    assert results(course)["paid"]["outputs"]["data"] == "next"


@pytest.mark.parametrize("own", [None, "1h"])
def test_a_wait_that_is_over_fails_as_timed_out_at_its_time(own: str | None) -> None:
    wait = waiting() if own is None else {**waiting(), "timeout": own}
    _, course = course_of(wait, events=[paid(3 * 86_400)])
    assert (results(course)["paid"]["status"], results(course)["paid"]["error"]["type"]) == ("timed_out", "timeout")
    assert course.outcomes[0].decision.until - AT == (timedelta(days=2) if own is None else timedelta(hours=1))
    assert course.last.record["status"] == "error"


def test_a_wait_that_is_tried_again_has_its_time_again() -> None:
    _, course = course_of({**waiting(), "on_error": "retry"}, events=[paid(3 * 86_400, "late")])
    assert results(course)["paid"]["outputs"]["data"] == "late"


@pytest.mark.parametrize(("key", "words"), [("", "it is empty"), ("x" * 1025, "at most 1024 bytes")])
def test_a_key_that_no_event_has_is_a_mistake(key: str, words: str) -> None:
    _, course = course_of(waiting(key=key))
    assert words in results(course)["paid"]["error"]["message"]


def test_an_event_is_taken_by_one_step_of_a_run_and_its_duplicate_too() -> None:
    votes = [paid(60, "a", id="v1"), paid(61, "a", id="v1"), paid(62, "b", id="v2"), paid(63, "c", id="v3")]
    loop = {"id": "each", "loop": {"over": [1, 2, 3]}, "steps": [waiting("vote")]}
    _, course = course_of(loop, events=votes)
    taken = [step["outputs"]["data"] for step in course.last.record["steps"][0].get("children", [])]
    assert taken == ["a", "b", "c"]


def test_lists_at_once_wait_for_events_and_moments_together() -> None:
    pause = {"id": "pause", "delay": {"for": "1h"}}
    lists = [{"name": each["id"], "steps": [each]} for each in (waiting("one", "1"), waiting("two", "2"), pause)]
    _, course = course_of({"id": "all", "parallel": lists}, events=[paid(60, 2, "2"), paid(7200, 1, "1")])
    first = course.outcomes[0].decision
    assert [each.key for each in first.events] == ["1", "2"]
    assert first.until == AT + timedelta(hours=1)
    assert [each.record["status"] for each in course.outcomes] == ["waiting"] * 3 + ["success"]
    children = course.last.record["steps"][0].get("children", [])
    assert [step["outputs"].get("data") for step in children] == [1, 2, None]


async def test_a_run_is_cancelled_while_it_waits() -> None:
    world, plan = World(), plan_of([TELL, waiting(), {**TELL, "id": "after"}])
    await execute(world, plan)
    cancellation = Cancellation()
    cancellation.ask("ann", "too late")
    outcome = await execute(world, plan, read_job(next_segment(JOB)), cancellation=cancellation)
    assert outcome.record["status"] == "cancelled"
    assert len(world.requests) == 1


async def test_an_awaited_call_starts_its_child_with_who_waits_and_parks() -> None:
    outcome = await execute(World(), plan_of([CALL]))
    (event,) = outcome.publications
    start = read_start(orjson.loads(event.value))
    assert (start.automation, start.fields) == ("other", {"n": 7})
    assert start.parent is not None
    assert (start.parent.run_id, start.parent.awaits) == (JOB.run_id, True)
    assert isinstance(outcome.decision, Park)
    assert [(each.type, each.key) for each in outcome.decision.events] == [(ENDED, CHILD)]


@pytest.mark.parametrize("status", ["success", "stopped"])
def test_an_awaited_call_gives_what_its_child_collected(status: str) -> None:
    _, course = course_of(CALL, events=[ended(status, collected={"sum": 3})])
    outputs = {"success": True, "automation": "shop/other", "run_id": CHILD, "status": status, "error": None}
    assert results(course)["child"]["outputs"] == {**outputs, "collected": {"sum": 3}}
    assert results(course)["child"]["inputs"] == {"automation": "other", "fields": {"n": 7}}
    assert len(course.publications) == 1


def test_a_child_that_failed_fails_its_caller() -> None:
    error = {"type": "http_status", "message": "503", "retryable": True}
    _, course = course_of(CALL, events=[ended("error", error=error, collected=1)])
    step = results(course)["child"]
    assert step["error"] == {
        "type": "call_failed",
        "message": "the called run ended as error: http_status: 503",
        "retryable": False,
    }
    assert (step["outputs"]["run_id"], step["outputs"]["status"], step["outputs"]["collected"]) == (CHILD, "error", 1)


FLOWS = [
    [TELL, waiting(), {**TELL, "id": "after"}],
    [CALL, {**TELL, "id": "after"}],
    [{"id": "each", "loop": {"over": [1, 2]}, "steps": [waiting("vote"), TELL]}],
    [
        {
            "id": "all",
            "parallel": [
                {"name": "a", "steps": [waiting("one"), TELL]},
                {"name": "b", "steps": [waiting("two"), {**TELL, "id": "tell2"}]},
                {"name": "c", "steps": [CALL]},
            ],
        },
        {**TELL, "id": "after"},
    ],
]
EVENTS = [paid(30, "a"), paid(31, "b"), ended("success", collected=1), ended("success", child_of("all.child"))]


@pytest.mark.parametrize("flow", FLOWS, ids=["wait", "call", "loop", "parallel"])
@given(
    cuts=st.lists(st.builds(Cut, st.integers(1, 6), st.booleans(), st.booleans()), max_size=3),
    uncommitted=st.frozensets(st.integers(1, 6), max_size=2),
    looks=st.frozensets(st.integers(1, 12), max_size=2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_wherever_it_is_cut_off_it_comes_to_what_it_would_have_come_to(
    flow: list[dict[str, Any]], cuts: list[Cut], uncommitted: frozenset[int], looks: frozenset[int], seed: int
) -> None:
    plan = plan_of(flow)
    undisturbed = run_to_its_end(World(varies=False), plan, events=EVENTS)
    assert undisturbed.last.record["status"] == "success"
    world = World(cuts=list(cuts), varies=False, shuffle=Random(seed))
    course = run_to_its_end(world, plan, Leaving(looks, uncommitted), events=EVENTS)
    assert shape(course.last.record["steps"]) == shape(undisturbed.last.record["steps"])
    by_key(course.last)
    started = [each for each in course.publications if dict(each.headers)["ce_type"] == CALLED.encode()]
    assert len(started) == len(undisturbed.publications), "a called automation is started once"
