"""Loops, parallel lists, calls, delays, state and stops: what each means for the run."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from test_engine import Answers, TickingClock, answer, execute, log, statuses

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.contracts.reserved import CALLED
from headrace.contracts.runs import StepResult
from headrace.engine import HttpAnswer, HttpRequest, SystemClock, compile_plan
from headrace.engine.decisions import DeadLetter

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)


def loop(over: Any, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "each", "loop": {"over": over, **more}, "steps": list(steps)}


def collect(value: Any, id: str = "out", **more: Any) -> dict[str, Any]:
    return {"id": id, "collect": value, **more}


def children(step: StepResult) -> list[StepResult]:
    return step.get("children", [])


def outputs(step: StepResult) -> Any:
    return step.get("outputs")


async def test_a_loop_does_its_steps_for_each_item_and_gives_what_they_gave() -> None:
    outcome = await execute(
        [
            loop("{{ trigger.legs }}", collect("{{ loop.currentItem }}-{{ loop.index }}/{{ loop.count }}", "leg")),
            collect("{{ steps.each.items | pluck('value') }}"),
        ],
        {"legs": ["a", "b", "c"]},
    )
    assert outcome.record.get("collected") == ["a-0/3", "b-1/3", "c-2/3"]
    each = outcome.record["steps"][0]
    assert [(child["id"], child.get("iteration")) for child in children(each)] == [("leg", 0), ("leg", 1), ("leg", 2)]
    assert outputs(each)["summary"] == {
        "processed": 3, "succeeded": 3, "failed": 0, "skipped": 0, "first_failure": None,
    }  # fmt: skip
    assert outcome.record["status"] == "success"


async def test_of_several_steps_an_item_has_the_outputs_by_their_ids() -> None:
    outcome = await execute([loop("{{ [1, 2] }}", collect("{{ item }}", "a"), log("b", "{{ item_index }}"))])
    first, second = outputs(outcome.record["steps"][0])["items"]
    assert (first["a"]["value"], second["a"]["value"]) == (1, 2)
    assert (first["b"]["text"], second["b"]["text"]) == ("0", "1")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a, b ,c", ["a", "b", "c"]),
        ("one\ntwo\n\nthree", ["one", "two", "three"]),
        ("a, b\nc, d", ["a, b", "c, d"]),
        ("[1, 2]", [1, 2]),
        ("single", ["single"]),
    ],
)
async def test_text_is_json_else_lines_else_parts_between_commas(text: str, items: list[Any]) -> None:
    outcome = await execute([loop("{{ trigger.text }}", collect("{{ item }}"))], {"text": text})
    assert [each["value"] for each in outputs(outcome.record["steps"][0])["items"]] == items


@pytest.mark.parametrize(
    ("over", "option"),
    [(["a"], "string"), ("a,b", "array"), (5, None), ({"a": 1}, None), ('{"a": 1, "b": 2}', None)],
)
async def test_a_value_of_the_wrong_kind_is_an_error_that_names_it(over: Any, option: str | None) -> None:
    more = {} if option is None else {"option": option}
    outcome = await execute([loop("{{ trigger.over }}", log("never"), **more), log("after")], {"over": over})
    each = outcome.record["steps"][0]
    assert each["status"] == "incorrect_type"
    assert "is expected" in each.get("error", {})["message"]
    assert (outcome.record["status"], len(outcome.record["steps"])) == ("error", 2)


@pytest.mark.parametrize("over", [[], "", None])
async def test_nothing_to_loop_over_is_a_success(over: Any) -> None:
    outcome = await execute([loop("{{ trigger.over }}", log("never")), log("after")], {"over": over})
    assert statuses(outcome) == [("each", "no_iterations"), ("after", "success")]
    assert outcome.record["status"] == "success"


async def test_more_items_than_max_are_an_error_and_what_was_done_is_kept() -> None:
    outcome = await execute([loop("{{ [1, 2, 3] }}", collect("{{ item }}"), max=2), log("after")])
    each = outcome.record["steps"][0]
    assert each["status"] == "max_iterations"
    assert [item["value"] for item in outputs(each)["items"]] == [1, 2]
    assert outcome.record["status"] == "error"


async def test_the_installation_allows_more_or_fewer_items_than_200() -> None:
    numbers = [loop("{{ range(300) | list }}", collect("{{ item }}")), collect("{{ steps.each.iterations }}", "count")]
    asked = [loop("{{ range(300) | list }}", collect("{{ item }}"), max=250)]
    for steps, allowed, status, told in (
        (numbers, 200, "max_iterations", "200 are allowed here"),
        (numbers, 300, "success", ""),
        (asked, 1_000, "max_iterations", "the loop's `max` is 250"),
        (asked, 100, "max_iterations", "100 are allowed here"),
    ):
        outcome = await execute(steps, max_iterations=allowed, clock=SystemClock())
        each = outcome.record["steps"][0]
        assert each["status"] == status
        assert told in each.get("error", {}).get("message", "")


@pytest.mark.parametrize("most", [0, -1, 100_001])
def test_a_max_outside_of_what_a_run_may_do_is_refused(most: int) -> None:
    with pytest.raises(DocumentError, match=r"steps\.0\.loop\.max"):
        parse_automation(_document([loop("{{ [1] }}", log("a"), max=most)]))


async def test_the_failure_condition_is_seen_before_each_item() -> None:
    outcome = await execute(
        [loop("{{ ['a', 'STOP', 'c'] }}", collect("{{ item }}"), failure="{{ loop.currentItem == 'STOP' }}")]
    )
    each = outcome.record["steps"][0]
    assert each["status"] == "failure_condition"
    assert [item["value"] for item in outputs(each)["items"]] == ["a"]
    assert outcome.record["status"] == "error"


async def test_items_can_be_passed_over_and_the_loop_be_left() -> None:
    outcome = await execute(
        [
            loop(
                "{{ range(10) | list }}",
                collect("{{ item }}", "kept"),
                continue_if="{{ item is odd }}",
                break_if="{{ item >= 4 }}",
            )
        ]
    )
    each = outcome.record["steps"][0]
    assert [item["value"] for item in outputs(each)["items"]] == [0, 2, 4]
    assert outputs(each)["summary"]["skipped"] == 2
    assert outcome.record["status"] == "success"


async def test_no_childs_failure_is_hidden() -> None:
    outcome = await execute([loop("{{ [1, 0, 0] }}", collect("{{ 1 / item }}", "divide")), log("after")])
    each = outcome.record["steps"][0]
    assert each["status"] == "error"
    summary = outputs(each)["summary"]
    assert (summary["succeeded"], summary["failed"], summary["first_failure"]["index"]) == (1, 2, 1)
    assert outputs(each)["success"] is False
    assert statuses(outcome)[-1] == ("after", "success")
    assert outcome.record["status"] == "error"


async def test_a_childs_on_error_stop_ends_the_run() -> None:
    outcome = await execute(
        [loop("{{ [1, 0, 2] }}", collect("{{ 1 / item }}", "divide", on_error="stop")), log("never")]
    )
    assert statuses(outcome) == [("each", "error")]
    assert len(outputs(outcome.record["steps"][0])["items"]) == 2


async def test_the_results_of_the_last_iterations_stay_whole() -> None:
    outcome = await execute([loop("{{ range(10) | list }}", log("a"), keep=3)])
    each = outcome.record["steps"][0]
    assert [child.get("iteration") for child in children(each)] == [7, 8, 9]
    assert len(outputs(each)["items"]) == 10


async def test_loops_in_loops_see_the_one_around_and_have_keys_of_their_own() -> None:
    http = Answers(*(answer(200) for _ in range(4)))
    call = {"id": "call", "use": "http.request", "with": {"url": "http://x/{{ loop.parent.currentItem }}/{{ item }}"}}
    inner = {"id": "inner", "loop": {"over": "{{ [1, 2] }}"}, "steps": [call]}
    outcome = await execute([loop("{{ ['a', 'b'] }}", inner, collect("{{ item }}", "after"))], http=http)
    assert [each.url for each in http.requests] == ["http://x/a/1", "http://x/a/2", "http://x/b/1", "http://x/b/2"]
    keys = [each.headers["Idempotency-Key"] for each in http.requests]
    assert [key.split("/", 2)[2] for key in keys] == [
        f"each.inner.call/{outer}.{number}" for outer in (0, 1) for number in (0, 1)
    ]
    assert [item["after"]["value"] for item in outputs(outcome.record["steps"][0])["items"]] == ["a", "b"]


def test_six_loops_in_each_other_are_refused() -> None:
    step: dict[str, Any] = log("a")
    for depth in range(6):
        step = {"id": f"l{depth}", "loop": {"over": "{{ [1] }}"}, "steps": [step]}
    with pytest.raises(DocumentError, match="5 loops in each other"):
        compile_plan(parse_automation(_document([step])), 1)


async def test_a_loop_lets_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    # The clock ticks a second at each look: every step is a long one.
    await execute([loop("{{ range(10) | list }}", collect("{{ item }}"))], timeout=100000)
    task.cancel()
    assert turns >= 10


async def test_what_a_runs_loops_hold_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.containers.MOST_HELD", 100_000)
    outcome = await execute(
        [loop("{{ range(200) | list }}", collect("{{ 'x' * 1000 }}")), log("after")], timeout=100000
    )
    assert outcome.record["steps"][0].get("error", {})["type"] == "too_large"
    assert statuses(outcome)[-1] == ("after", "success")


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_was_published_before_a_loop_holds_too_much_goes_out(
    monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    monkeypatch.setattr("headrace.engine.containers.MOST_HELD", 1_000)
    tell = {"id": "tell", "use": "event.publish", "with": {"type": "t", "data": "{{ 'x' * 5000 }}"}}
    outcome = await execute([loop("{{ range(9) | list }}", tell, concurrency=concurrency)], timeout=100000)
    each = outcome.record["steps"][0]
    assert each.get("error", {})["type"] == "too_large"
    assert len(outcome.publications) == concurrency


async def test_a_stop_counts_though_the_loop_holds_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.containers.MOST_HELD", 1_000)
    steps = [collect("{{ 'x' * 5000 }}"), {"id": "end", "stop": {"status": "stopped"}}]
    outcome = await execute([loop("{{ [1, 2] }}", *steps), log("never")], timeout=100000)
    assert (outcome.record["status"], len(outcome.record["steps"])) == ("stopped", 1)


async def test_iterations_at_once_see_nothing_of_each_other_whether_they_wait_or_not() -> None:
    add = {"id": "add", "set": {"n": "{{ (state.n | default(0)) + item }}"}}
    outcome = await execute([loop("{{ [1, 2, 3] }}", add, concurrency=3), collect("{{ state.n }}")])
    assert outcome.record.get("collected") == 3


@pytest.mark.parametrize("step", [{"filter": "{{ true }}"}, {"delay": {"for": "4s"}}])
async def test_every_steps_own_timeout_counts(step: dict[str, Any]) -> None:
    outcome = await execute([{"id": "s", "timeout": "1s", "on_error": "contain", **step}, log("after")])
    assert statuses(outcome) == [("s", "timed_out"), ("after", "success")]


async def test_a_part_that_leads_nowhere_is_empty() -> None:
    outcome = await execute([collect("{{ {'a': trigger.nope, 'b': [trigger.nope]} }}")])
    assert outcome.record.get("collected") == {"a": None, "b": [None]}


@pytest.mark.parametrize("name", ["", "success", "error"])
def test_names_that_outputs_have_are_none_for_state(name: str) -> None:
    with pytest.raises(DocumentError, match="not a name for state"):
        compile_plan(parse_automation(_document([{"id": "s", "set": {name: 1}}])), 1)


class Slow:
    """Answers each request when told, so that what is under way at the same time shows."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0

    async def send(self, request: HttpRequest) -> HttpAnswer:
        self.open += 1
        self.most = max(self.most, self.open)
        for _ in range(5):
            await asyncio.sleep(0)
        self.open -= 1
        return HttpAnswer(200, {"content-type": "application/json"}, orjson.dumps({"url": request.url}))


async def test_iterations_at_once_keep_the_order_of_their_results() -> None:
    http = Slow()
    call = {"id": "call", "use": "http.request", "with": {"url": "http://x/{{ item }}"}}
    outcome = await execute(
        [loop("{{ range(7) | list }}", call, concurrency=3), collect("{{ steps.call.data.url }}")], http=http
    )
    assert http.most == 3
    urls = [item["data"]["url"] for item in outputs(outcome.record["steps"][0])["items"]]
    assert urls == [f"http://x/{number}" for number in range(7)]
    assert outcome.record.get("collected") == "http://x/6"


@pytest.mark.parametrize("name", ["failure", "break_if"])
def test_what_looks_at_one_item_after_the_other_is_refused_beside_concurrency(name: str) -> None:
    with pytest.raises(DocumentError, match="leave `concurrency` out"):
        parse_automation(_document([loop("{{ [1] }}", log("a"), concurrency=2, **{name: "{{ true }}"})]))


async def test_parallel_lists_run_at_once_see_nothing_of_each_other_and_are_joined_in_order() -> None:
    http = Slow()

    def branch(name: str) -> dict[str, Any]:
        steps = [
            {"id": f"call_{name}", "use": "http.request", "with": {"url": f"http://x/{name}"}},
            collect("{{ steps.call_a.status }}/{{ steps.call_b.status }}", f"seen_{name}"),
            {"id": f"set_{name}", "set": {name: 1, "last": name}},
        ]
        return {"name": name, "steps": steps}

    outcome = await execute(
        [{"id": "both", "parallel": [branch("a"), branch("b")]}, collect("{{ state }}", "end")], http=http
    )
    assert http.most == 2
    both = outcome.record["steps"][0]
    assert {child["id"]: outputs(child).get("value") for child in children(both) if "seen" in child["id"]} == {
        "seen_a": "200/", "seen_b": "/200",
    }  # fmt: skip
    assert [child.get("strand") for child in children(both)] == ["a", "a", "a", "b", "b", "b"]
    assert outcome.record.get("collected") == {"a": 1, "b": 1, "last": "b"}


async def test_a_list_that_ends_the_run_keeps_the_others_from_their_next_step() -> None:
    http = Slow()
    slow = [{"id": f"call{n}", "use": "http.request", "with": {"url": f"http://x/{n}"}} for n in range(3)]
    lists = [{"name": "a", "steps": slow}, {"name": "b", "steps": [{"id": "no", "filter": False}]}]
    outcome = await execute([{"id": "both", "parallel": lists}, log("never")], http=http)
    assert [child["id"] for child in children(outcome.record["steps"][0])] == ["call0", "no"]
    assert (outcome.record["status"], len(outcome.record["steps"])) == ("stopped", 1)


async def test_a_failure_in_one_list_is_contained_and_told() -> None:
    lists = [{"name": "good", "steps": [log("a")]}, {"name": "bad", "steps": [collect("{{ 1 / 0 }}", "b")]}]
    outcome = await execute([{"id": "both", "parallel": lists}, log("after")])
    assert outputs(outcome.record["steps"][0]) == {"success": False, "failed": ["bad"]}
    assert outcome.record["status"] == "error"
    assert statuses(outcome)[-1] == ("after", "success")


async def test_state_is_set_and_seen() -> None:
    first, second = {"id": "s", "set": {"n": "{{ trigger.n + 1 }}"}}, {"id": "t", "set": {"m": "{{ state.n * 2 }}"}}
    outcome = await execute([first, second, collect("{{ state }}")], {"n": 1})
    assert outcome.record.get("collected") == {"n": 2, "m": 4}


@pytest.mark.parametrize("status", ["success", "stopped", "error"])
async def test_stop_ends_the_run_with_its_status_and_message(status: str) -> None:
    stop = {"id": "s", "stop": {"status": status, "message": "no {{ trigger.what }} left"}}
    outcome = await execute([stop, log("never")], {"what": "seat"})
    assert outcome.record["status"] == status
    assert outputs(outcome.record["steps"][0])["message"] == "no seat left"
    assert len(outcome.record["steps"]) == 1
    if status == "error":
        assert (outcome.record["error"] or {}).get("message") == "no seat left"


async def test_a_call_publishes_the_start_of_the_other_automation_and_names_its_run() -> None:
    call = {"id": "child", "call": {"automation": "notify", "fields": {"flight": "{{ trigger.flight }}"}}}
    outcome = await execute([call, collect("{{ steps.child.run_id }}")], {"flight": "UA1"})
    (published,) = outcome.publications
    headers = dict(published.headers)
    body = orjson.loads(published.value)
    assert published.topic == "headrace.events"
    assert headers["ce_type"] == CALLED.encode()
    assert (body["automation"], body["fields"]) == ("notify", {"flight": "UA1"})
    assert body["parent"]["run_id"] == outcome.record["run_id"]
    assert isinstance(outcome.record.get("collected"), str)


async def test_a_short_delay_lets_time_pass() -> None:
    clock = TickingClock()
    outcome = await execute([{"id": "d", "delay": {"for": "3s"}}, log("after")], clock=clock)
    assert outcome.record["status"] == "success"
    assert clock.slept
    assert all(0 < slept <= 3 for slept in clock.slept)


@pytest.mark.parametrize(
    "step",
    [
        {"delay": {"for": "10m"}},
        {"delay": {"until": "2014-01-01T00:00:00Z"}},
        {"wait_for_event": {"type": "x", "key": "k", "timeout": "2d"}},
        {"call": {"automation": "b", "wait": True}},
    ],
)
async def test_what_would_park_the_run_says_that_a_run_without_a_journal_cannot(step: dict[str, Any]) -> None:
    outcome = await execute([{"id": "p", **step}])
    assert (outcome.record["error"] or {}).get("type") == "cannot_park"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"delay": {"for": "soon"}}, r"delay\.for: expected a duration"),
        ({"delay": {"until": "never"}}, r"delay\.until: expected a time"),
        ({"wait_for_event": {"type": "x", "key": "k", "timeout": "8d"}}, r"timeout: longer than the retention"),
        ({"wait_for_event": {"type": "headrace.x", "key": "k", "timeout": "8s"}}, r"type: types that begin with"),
        ({"wait_for_event": {"type": "x", "key": "{{ data.n }}", "timeout": "8s"}}, r"wait_for_event\.key"),
        ({"filter": True, "retry": {}}, r"retry: only a step of the table"),
        ({"set": {"a": "{{ nope }}"}}, r"set\.a"),
        ({"loop": {"over": "{{ nope }}"}, "steps": [log("x")]}, r"loop\.over"),
        ({"call": {"automation": "b", "fields": {"x": "{{ 1 +"}}}, r"call\.fields\.x"),
    ],
)
def test_mistakes_are_named_with_their_path(step: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        compile_plan(parse_automation(_document([{"id": "s", **step}])), 1)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"delay": {}}, "either `for` or `until`"),
        ({"delay": {"for": "1s", "until": "x"}}, "either `for` or `until`"),
        ({"parallel": []}, "parallel"),
        (
            {"parallel": [{"name": "a", "steps": [log("x")]}, {"name": "a", "steps": [log("y")]}]},
            "lists have the name 'a'; the first is at steps.0.parallel.0.name",
        ),
        ({"set": {}}, "set"),
        ({"loop": {"over": "x"}}, "steps"),
        ({"loop": {"over": "x", "maxx": 1}, "steps": [log("x")]}, "did you mean `max`"),
    ],
)
def test_a_document_without_sense_is_refused(step: dict[str, Any], words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        parse_automation(_document([{"id": "s", **step}]))


@pytest.mark.parametrize("policy", ["contain", "stop", "retry", None])
async def test_on_error_decides_what_becomes_of_the_run(policy: str | None) -> None:
    more = {} if policy is None else {"on_error": policy}
    outcome = await execute([collect("{{ 1 / 0 }}", "bad", **more), log("after")])
    ended = {"contain": "error", "stop": "error", "retry": "dead_lettered", None: "error"}[policy]
    assert outcome.record["status"] == ended
    assert (len(outcome.record["steps"]) == 2) is (policy in ("contain", None))
    assert isinstance(outcome.decision, DeadLetter) is (policy == "retry")


@pytest.mark.parametrize(("on", "tries"), [(["http_status"], 2), (["timeout"], 1)])
async def test_an_author_can_say_which_failures_are_worth_another_try(on: list[str], tries: int) -> None:
    http = Answers(answer(404), answer(404))
    retry = {"attempts": 2, "on": on, "backoff": "4s", "jitter": 0.5}
    clock = TickingClock()
    call = {"id": "call", "use": "http.request", "with": {"url": "http://x/"}, "retry": retry}
    await execute([call], http=http, clock=clock)
    assert len(http.requests) == tries
    assert all(2 <= slept <= 4 for slept in clock.slept)


async def test_a_failure_of_an_outside_call_that_may_pass_is_left_for_later_wherever_it_is() -> None:
    http = Answers(*(answer(503) for _ in range(3)))
    call = {"id": "call", "use": "http.request", "with": {"url": "http://x/"}}
    inside = {"id": "both", "parallel": [{"name": "a", "steps": [loop("{{ [1] }}", call)]}]}
    outcome = await execute([inside, log("never")], http=http)
    assert outcome.record["status"] == "dead_lettered"
    assert isinstance(outcome.decision, DeadLetter)
    assert outcome.decision.error["type"] == "http_status"
    assert statuses(outcome) == [("both", "error")]


def _document(steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "a", "app": "b", "trigger": {"type": "event", "event": "*"}, "steps": steps}
