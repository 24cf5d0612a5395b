"""The flow of a run: steps in their order, failures where they happen, one record of it all."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.runs import read_run
from headrace.engine import (
    HttpAnswer,
    HttpFailure,
    HttpRequest,
    Orchestrator,
    Outcome,
    Ports,
    RowEffect,
    RowPage,
    RowQuery,
    Started,
    StepCrashed,
    compile_plan,
    encode_record,
)
from headrace.engine.plain import dumps

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)


class TickingClock:
    """A second passes at each look, so that every duration is known; sleeping takes no time."""

    def __init__(self) -> None:
        self.ticks = 0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.ticks)

    def perf(self) -> float:
        self.ticks += 1
        return float(self.ticks)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class NoRows:
    """These runs create no rows; the store's own tests are on MongoDB."""

    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("no row is changed here")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")


class Answers:
    """The other side of HTTP, by script: what a real server can't be made to give at will. See test_http_request."""

    def __init__(self, *answers: HttpAnswer | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status: int, body: bytes = b"", **headers: str) -> HttpAnswer:
    return HttpAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


async def execute(
    steps: list[dict[str, Any]],
    trigger: Any = None,
    http: Any = None,
    clock: Any = None,
    key: str = "k",
    **more: Any,
) -> Outcome:
    allowed = more.pop("max_iterations", 200)
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps, **more}
    )
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": "00000000-0000-5000-8000-000000000000", "app": "shop", "automation": "a", "version": 3,
         "generation": 0, "segment": 0, "attempt": 1, "key": key, "priority": "normal", "trigger": trigger or {}, "cause": cause}
    )  # fmt: skip
    clock = clock or TickingClock()
    ports = Ports(rows=NoRows(), http=http or Answers(), clock=clock, max_iterations=allowed)
    return await Orchestrator(ports).execute(compile_plan(document, 3), Started(job, Location("jobs", 0, 9), AT))


def log(id: str, text: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": id, "use": "log", "with": {"text": text}, **more}


def statuses(outcome: Outcome) -> list[tuple[str, str]]:
    return [(step["id"], step["status"]) for step in outcome.record["steps"]]


BROKEN = "{{ 1 / 0 }}"


async def test_steps_run_in_order_and_see_what_came_before_by_id_position_and_name() -> None:
    outcome = await execute(
        [
            {"id": "one", "name": "First", "collect": "{{ trigger.n }}"},
            log("two", "{{ steps.one.value }} {{ steps.1.value }} {{ steps['First'].value }} {{ previous.value }}"),
        ],
        {"n": 7},
    )
    assert outcome.record["steps"][1].get("inputs") == {"text": "7 7 7 7"}
    assert outcome.record["status"] == "success"
    assert outcome.record.get("collected") == 7


async def test_a_false_filter_stops_the_run_and_nothing_after_it_happens() -> None:
    outcome = await execute([{"id": "f", "filter": "{{ trigger.n > 5 }}"}, log("never")], {"n": 5})
    assert statuses(outcome) == [("f", "stopped")]
    assert outcome.record["status"] == "stopped"


@pytest.mark.parametrize(("n", "way"), [(200, "severe"), (100, "minor"), (10, "rest")])
async def test_a_branch_takes_the_first_way_that_holds_and_steps_may_follow(n: int, way: str) -> None:
    branch = [
        {"name": "severe", "when": "{{ trigger.n > 180 }}", "steps": [log("a")]},
        {"name": "minor", "when": "{{ trigger.n > 60 }}", "steps": [log("b")]},
        {"name": "rest", "else": True, "steps": [log("c")]},
    ]
    outcome = await execute([{"id": "level", "branch": branch}, log("after", "{{ steps.level.branch }}")], {"n": n})
    level, after = outcome.record["steps"]
    assert [child["id"] for child in level.get("children", [])] == [{"severe": "a", "minor": "b", "rest": "c"}[way]]
    assert after.get("inputs") == {"text": way}


async def test_a_branch_without_a_way_that_holds_says_so_and_the_run_goes_on() -> None:
    outcome = await execute(
        [{"id": "b", "branch": [{"name": "x", "when": "{{ false }}", "steps": [log("a")]}]}, log("z")]
    )
    assert statuses(outcome) == [("b", "no_condition_met"), ("z", "success")]
    assert outcome.record["status"] == "success"


async def test_a_filter_inside_a_branch_stops_the_whole_run() -> None:
    branch = [{"name": "x", "else": True, "steps": [{"id": "f", "filter": "{{ false }}"}]}]
    outcome = await execute([{"id": "b", "branch": branch}, log("never")])
    assert statuses(outcome) == [("b", "stopped")]
    assert outcome.record["status"] == "stopped"


async def test_a_failure_is_contained_and_the_run_goes_on_and_is_an_error() -> None:
    outcome = await execute([log("bad", BROKEN), log("after", "{{ _error }} {{ steps.bad.success }}")])
    assert statuses(outcome) == [("bad", "error"), ("after", "success")]
    assert outcome.record["steps"][1].get("inputs") == {"text": "true false"}
    assert outcome.record["status"] == "error"
    assert outcome.record["error"] is not None
    assert outcome.record["error"]["type"] == "template_error"


@pytest.mark.parametrize("where", ["step", "automation"])
async def test_on_error_stop_ends_the_run_where_it_failed(where: str) -> None:
    at_step, at_automation = ({"on_error": "stop"}, {}) if where == "step" else ({}, {"on_error": "stop"})
    outcome = await execute([log("bad", BROKEN, **at_step), log("never")], **at_automation)
    assert statuses(outcome) == [("bad", "error")]
    assert outcome.record["status"] == "error"


async def test_a_steps_when_skips_it_and_the_record_says_so() -> None:
    outcome = await execute([log("a", when="{{ trigger.n == 1 }}"), log("b", when="{{ trigger.n == 2 }}")], {"n": 2})
    assert statuses(outcome) == [("a", "skipped"), ("b", "success")]


async def test_one_record_has_all_that_explains_the_run() -> None:
    outcome = await execute([log("a", "hello"), {"id": "b", "collect": "{{ 1 }}"}])
    record = read_run(encode_record(outcome.record))
    assert (record["app"], record["automation"], record["version"], record["key"]) == ("shop", "a", 3, "k")
    assert (record["generation"], record["sequence"], record["attempt"]) == (0, 1, 1)
    assert record["job"] == {"topic": "jobs", "partition": 0, "offset": 9}
    assert record["started_at"] == AT
    assert record["finished_at"] == AT + timedelta(milliseconds=record["duration_ms"])
    assert [step["duration_ms"] for step in record["steps"]] == [1_000.0, 1_000.0]


async def test_a_run_made_again_makes_the_same_record() -> None:
    steps = [log("a", "{{ uuid() }} {{ random() }} {{ now }}"), log("b", "{{ uuid() }}")]
    one, other = [(await execute(steps)).record for _ in range(2)]
    assert one == other
    assert one["steps"][0].get("inputs") != one["steps"][1].get("inputs")


async def test_the_runs_time_is_bounded_and_the_record_shows_how_far_it_came() -> None:
    outcome = await execute([log(f"s{n}") for n in range(50)], timeout="10s")
    assert outcome.record["status"] == "timed_out"
    assert 1 < len(outcome.record["steps"]) < 10
    assert outcome.record["error"] is not None
    assert outcome.record["error"]["type"] == "run_timeout"


async def test_a_value_too_large_for_a_record_is_cut_with_a_marker_that_says_so() -> None:
    outcome = await execute([{"id": "a", "collect": "{{ 'x' * 100000 }}"} for _ in range(1)])
    encoded = encode_record(outcome.record)
    assert len(encoded) < 100_000
    assert b"100" in encoded
    many = await execute([{"id": f"s{n}", "collect": "{{ 'x' * 60000 }}"} for n in range(40)])
    assert len(encode_record(many.record)) < 1 << 20


@pytest.mark.parametrize("number", [1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 63) - 1])
async def test_an_integer_that_mongodb_cannot_hold_is_kept_as_text(number: int) -> None:
    values = {"n": number, "deep": [{"n": number}]}
    outcome = await execute([{"id": "a", "collect": "{{ trigger.v }}"}, log("b", "{{ trigger.v.n }}")], {"v": values})
    stored = orjson.loads(encode_record(outcome.record))
    assert stored["collected"] == {"n": str(number), "deep": [{"n": str(number)}]}
    assert outcome.record.get("collected") == values


@pytest.mark.parametrize("number", [1 << 63, (1 << 64) - 1, 1 << 64, (1 << 63) - 1, -(1 << 63) - 1])
async def test_a_whole_number_is_the_same_in_a_record_an_event_and_a_request(number: int) -> None:
    kept = number if -(1 << 63) <= number < 1 << 63 else str(number)
    publish = {"id": "p", "use": "event.publish", "with": {"type": "x", "data": {"n": "{{ trigger.v }}"}}}
    outcome = await execute([publish, {"id": "a", "collect": "{{ trigger.v }}"}], {"v": number})
    assert orjson.loads(encode_record(outcome.record))["collected"] == kept
    assert orjson.loads(outcome.publications[0].value) == {"n": kept}
    assert orjson.loads(dumps([number, {"n": number}])) == [kept, {"n": kept}]


@pytest.mark.parametrize("number", [(1 << 63) - 1, -(1 << 63), 0.1234567890123456789, "9" * 30])
async def test_what_mongodb_can_hold_is_kept_as_it_is(number: object) -> None:
    outcome = await execute([{"id": "a", "collect": "{{ trigger.v }}"}], {"v": number})
    assert orjson.loads(encode_record(outcome.record))["collected"] == number


async def test_a_published_event_goes_to_the_runs_own_app_and_leaves_with_the_record() -> None:
    publish = {
        "id": "p",
        "use": "event.publish",
        "with": {"type": "order.late", "key": "7", "data": {"n": "{{ trigger.n }}"}},
    }
    outcome = await execute([publish, log("bad", BROKEN, on_error="stop")], {"n": 1})
    (made,) = outcome.publications
    assert (made.topic, made.key, orjson.loads(made.value)) == ("headrace.events", b"7", {"n": 1})
    assert dict(made.headers)["ce_app"] == b"shop"
    again = await execute([publish], {"n": 1})
    assert dict(again.publications[0].headers)["ce_id"] == dict(made.headers)["ce_id"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"type": "headrace.finished", "data": {}},
        {"type": "x", "topic": "headrace.jobs.high", "data": {}},
        {"type": "x", "topic": "other", "data": {}},
    ],
)
async def test_an_app_publishes_neither_reserved_types_nor_to_topics_it_was_not_given(inputs: dict[str, Any]) -> None:
    try:
        outcome = await execute([{"id": "p", "use": "event.publish", "with": inputs}])
    except DocumentError:
        return
    assert outcome.record["steps"][0]["status"] == "error"
    assert outcome.publications == ()


async def test_an_event_is_published_with_a_key_that_the_matcher_accepts() -> None:
    long = {"type": "x", "key": "{{ 'ü' * 600 }}", "data": {}}
    refused = await execute([{"id": "p", "use": "event.publish", "with": long}])
    assert refused.record["steps"][0]["status"] == "error"
    by_the_job = await execute([{"id": "p", "use": "event.publish", "with": {"type": "x"}}], key="\\xff" * 1_000)
    assert by_the_job.publications[0].key == b"\\xff" * 256


CALL = {
    "id": "call",
    "use": "http.request",
    "with": {"url": "http://example.com/x", "method": "POST", "json": {"a": 1}},
}


async def test_a_call_is_tried_again_under_the_same_key_and_every_attempt_is_in_the_record() -> None:
    http = Answers(
        answer(503),
        HttpFailure("connection", "refused", retryable=True),
        answer(200, b'{"ok": true}', content_type="application/json"),
    )
    clock = TickingClock()
    outcome = await execute([CALL, log("seen", "{{ steps.call.data.ok }}")], http=http, clock=clock)
    call, seen = outcome.record["steps"]
    assert (call["status"], len(call.get("attempts", []))) == ("success", 3)
    assert seen.get("inputs") == {"text": True} or seen.get("inputs") == {"text": "true"}
    assert len({request.headers["Idempotency-Key"] for request in http.requests}) == 1
    assert len(clock.slept) == 2


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (404, 1), (429, 3), (500, 3), (503, 3)])
async def test_only_what_may_pass_is_tried_again(status: int, tries: int) -> None:
    http = Answers(*(answer(status) for _ in range(3)))
    outcome = await execute([CALL], http=http)
    assert len(http.requests) == tries
    assert outcome.record["steps"][0]["status"] == "error"
    assert outcome.record["status"] == ("error" if tries == 1 else "dead_lettered")


NO_CONNECTION = HttpFailure("connection", "refused", retryable=True, nothing_sent=True)
BROKE_OFF = HttpFailure("connection", "broken", retryable=True)


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (answer(429), 2),
        (answer(503, retry_after="2"), 2),
        (NO_CONNECTION, 2),
        (answer(503), 1),
        (answer(500), 1),
        (answer(504), 1),
        (answer(404), 1),
        (BROKE_OFF, 1),
        (HttpFailure("timeout", "silent", retryable=True), 1),
    ],
)
async def test_a_call_made_at_most_once_is_made_again_where_it_is_certain_that_nothing_was_done(
    first: Any, tries: int
) -> None:
    http = Answers(first, answer(200))
    outcome = await execute([{**CALL, "on_unknown": "fail", "on_error": "contain"}], http=http)
    call = outcome.record["steps"][0]
    assert len(http.requests) == tries
    assert call["status"] == ("success" if tries == 2 else "error")
    assert len(call.get("attempts", [None])) == tries


async def test_after_a_redirect_nobody_is_certain() -> None:
    http = Answers(answer(303, location="http://example.com/done"), answer(429), answer(200))
    outcome = await execute([{**CALL, "on_unknown": "fail"}], http=http)
    assert len(http.requests) == 2
    assert outcome.record["steps"][0].get("error", {}).get("type") == "http_status"


async def test_an_authors_retry_holds_for_a_call_made_at_most_once_too() -> None:
    retry = {"attempts": 4, "backoff": "1s", "jitter": 0}
    http, clock = Answers(*(answer(429) for _ in range(4))), TickingClock()
    await execute([{**CALL, "on_unknown": "fail", "retry": retry}], http=http, clock=clock)
    assert clock.slept == [1.0, 2.0, 4.0]
    other = Answers(answer(429))
    await execute([{**CALL, "on_unknown": "fail", "retry": {**retry, "on": ["timeout"]}}], http=other)
    assert len(other.requests) == 1


async def test_retry_after_is_honoured() -> None:
    http, clock = Answers(answer(429, retry_after="7"), answer(200)), TickingClock()
    await execute([CALL], http=http, clock=clock)
    assert clock.slept == [7.0]


async def test_a_bug_in_a_step_leaves_the_run_without_a_record() -> None:
    with pytest.raises(StepCrashed, match="a bug of Headrace") as crash:
        await execute([CALL], http=Answers(KeyError("the author's data")))
    assert "author's data" not in crash.value.message


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"id": "a", "use": "lgo", "with": {}}, "log"),
        ({"id": "a", "use": "log", "with": {"txt": "x"}}, "txt"),
        ({"id": "a", "use": "log", "with": {}}, "text"),
        ({"id": "a", "use": "http.request", "with": {"url": "ftp://x"}}, "http"),
        ({"id": "a", "use": "log", "with": {"text": "{{ nowhere.x }}"}}, "nowhere"),
        ({"id": "a", "filter": "{{ 1 + }}"}, "filter"),
    ],
)  # fmt: skip
async def test_what_can_never_run_is_refused_when_it_is_compiled(step: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words) as refused:
        await execute([step])
    assert str(refused.value).startswith("steps.0")
