"""A run that waits for long holds no worker: it leaves, and goes on where it was."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resuming import AT, JOB, World, execute, run_to_its_end
from test_resume import plan_of

from headrace.contracts.jobs import next_attempt, read_job
from headrace.contracts.runs import ErrorInfo
from headrace.engine.decisions import DeadLetter, GaveUp, Park, Retry, after_giving_up

pytestmark = pytest.mark.unit

TELL = {"id": "tell", "use": "http.request", "with": {"url": "http://x/tell"}}
PAUSE = {"id": "pause", "delay": {"for": "10m"}}
ERROR: ErrorInfo = {"type": "http_status", "message": "503", "retryable": True}
TIERS = (5.0, 60.0, 600.0)


def course_of(*steps: dict[str, Any]) -> Any:
    world = World()
    return world, run_to_its_end(world, plan_of([*steps]))


def test_a_long_delay_parks_the_run_and_says_until_when() -> None:
    outcome = course_of(TELL, PAUSE)[1].outcomes[0]
    due = AT + timedelta(minutes=10)
    assert outcome.decision == Park(due, "pause")
    assert (outcome.record["status"], outcome.record["sequence"]) == ("waiting", 1)
    assert outcome.record.get("next") == {"what": "timer", "why": "step pause waits", "due": due}
    assert [step["id"] for step in outcome.record["steps"]] == ["tell"]


def test_a_short_one_holds_its_worker() -> None:
    (outcome,) = course_of({"id": "pause", "delay": {"for": "5s"}})[1].outcomes
    assert outcome.record["status"] == "success"


def test_what_was_done_before_is_not_done_again_and_the_delay_ends_when_it_first_said() -> None:
    pause = {"id": "pause", "delay": {"until": "{{ now | add_time(minutes=10) }}"}}
    world, course = course_of(TELL, pause, {**TELL, "id": "after"})
    assert [each.record["status"] for each in course.outcomes] == ["waiting", "success"]
    assert len(world.requests) == 2
    assert course.last.record["steps"][1]["outputs"] == {"success": True, "until": AT + timedelta(minutes=10)}


def test_a_run_began_when_its_first_job_came_and_now_is_when_it_went_on() -> None:
    times = {"id": "times", "collect": {"began": "{{ run.started_at }}", "now": "{{ now }}"}}
    _, course = course_of({**times, "id": "before"}, PAUSE, times)
    before, after = (course.last.record["steps"][place]["outputs"]["value"] for place in (0, 2))  # pyright: ignore
    assert before == {"began": AT, "now": AT}
    assert after["began"] == AT
    assert after["now"] > AT


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-05:00", "{{ now | add_time(days=367) }}"])
def test_a_delay_until_beyond_a_year_fails_and_the_run_goes_on(until: str) -> None:
    outcome = asyncio.run(execute(World(), plan_of([{"id": "pause", "delay": {"until": until}}, TELL])))
    assert [each["status"] for each in outcome.record["steps"]][:2] == ["error", "success"]
    error = outcome.record["error"]
    assert error is not None
    assert (error["type"], error["message"][:37]) == ("bad_input", "delay.until: more than 366 days ahead")


def test_whoever_resumes_the_run_finds_its_job_in_the_journal() -> None:
    world, course = course_of(TELL, PAUSE, {"id": "out", "collect": "{{ trigger.n }}"})
    assert course.last.record.get("collected") == 7
    jobs = [item["job"] for entry in world.entries for item in orjson.loads(entry)["items"] if "job" in item]
    assert [(job["run_id"], job["trigger"]) for job in jobs] == [(JOB.run_id, {"n": 7})]


def test_lists_at_once_wait_for_the_first_moment_and_none_waits_twice() -> None:
    waits = [{"name": name, "steps": [{**PAUSE, "id": name, "delay": {"for": name[1:]}}]} for name in ("d1m", "d10m")]
    _, course = course_of({"id": "both", "parallel": waits})
    dues = [each.decision.until - AT for each in course.outcomes[:-1]]
    assert dues == [timedelta(minutes=1), timedelta(minutes=10)]
    assert course.last.record["status"] == "success"


def test_each_item_of_a_loop_waits_for_itself() -> None:
    loop = {"id": "each", "loop": {"over": "a,b,c"}, "steps": [{**PAUSE, "delay": {"for": "1m"}}, TELL]}
    world, course = course_of(loop)
    assert [each.record["status"] for each in course.outcomes] == ["waiting"] * 3 + ["success"]
    assert len(world.requests) == 3


def test_a_delay_beyond_its_own_timeout_fails_at_that_time() -> None:
    _, course = course_of({**PAUSE, "timeout": "2m"})
    step = course.last.record["steps"][0]
    assert [each.record["status"] for each in course.outcomes] == ["waiting", "error"]
    assert course.outcomes[0].decision.until == AT + timedelta(minutes=2)
    assert (step["status"], step["error"]["type"]) == ("timed_out", "timeout")


@pytest.mark.parametrize(
    ("attempt", "asked", "tier"),
    [(1, None, 5), (2, None, 60), (3, None, 600), (1, 5, 5), (1, 6, 60), (1, 600, 600), (2, 1, 60), (3, 1, 600)],
)
def test_the_nth_failure_waits_in_the_nth_tier_or_as_long_as_the_other_side_asks(
    attempt: int, asked: float | None, tier: float
) -> None:
    decision = after_giving_up(GaveUp("call", ERROR, asked), attempt, TIERS, AT)
    assert isinstance(decision, Retry)
    assert decision.tier == tier
    assert decision.retried.due == AT + timedelta(seconds=tier)


@pytest.mark.parametrize(
    ("attempt", "asked", "tiers", "why"),
    [
        (4, None, TIERS, "attempt 4 of 4 failed at step call"),
        (1, 601, TIERS, "step call is asked to wait 601 s, longer than the last retry tier"),
        (1, None, (), "attempt 1 of 1 failed at step call"),
    ],
)
def test_after_the_last_tier_the_run_waits_for_a_person(
    attempt: int, asked: float | None, tiers: tuple[float, ...], why: str
) -> None:
    decision = after_giving_up(GaveUp("call", ERROR, asked), attempt, tiers, AT)
    assert decision == DeadLetter(ERROR, why)


@given(tiers=st.lists(st.integers(1, 86_400), unique=True, max_size=6).map(sorted), asked=st.none() | st.floats(0, 1e6))
def test_every_ladder_comes_to_its_end_and_never_waits_less_than_asked(tiers: list[int], asked: float | None) -> None:
    job, waited = JOB, 0
    while isinstance(decision := after_giving_up(GaveUp("call", ERROR, asked), job.attempt, tiers, AT), Retry):
        assert decision.tier >= (asked or 0)
        job, waited = read_job(next_attempt(job, decision.retried)), waited + 1
        assert job.attempt == waited + 1
        assert [each.attempt for each in job.retries] == list(range(1, job.attempt))
    assert waited <= len(tiers)
    assert isinstance(decision, DeadLetter)
