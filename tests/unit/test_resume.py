"""Whatever an automation is made of, and wherever its worker is lost: its effects are as their columns promise, and
nothing is decided anew."""

import asyncio
import os
from collections.abc import Iterator
from itertools import count, pairwise
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resuming import (
    JOB,
    Course,
    Cut,
    Leaving,
    Read,
    World,
    by_key,
    execute,
    repeated,
    run_to_its_end,
    shape,
)

from headrace.contracts import limits
from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import next_segment, read_job
from headrace.contracts.runs import read_run
from headrace.engine import Claim, Journal, Plan, PlatformUnavailable, compile_plan, encode_record, uses
from headrace.engine.decisions import DeadLetter
from headrace.engine.steps import STEPS
from headrace.storage.appends import ENTRY_BYTES

pytestmark = pytest.mark.unit

SEEN = "{{ previous.data.answer | default(state.a) | default(0) }}"
VALUES = st.sampled_from([SEEN, "{{ random() }}", "{{ uuid() }}", "{{ state.a }}", "{{ _error }}", "{{ item }}", 5])
CONDITIONS = st.sampled_from(
    [
        "{{ previous.data.answer | default(0) % 2 == 0 }}",
        "{{ random() < 0.5 }}",
        "{{ state.a | default(0) is number and state.a | default(0) % 2 == 0 }}",
        "{{ not _error }}",
        "{{ item_index | default(0) % 2 == 0 }}",
        True,
    ]
)
LAST = "last"
RARE = "{{ random() < 0.15 }}"


def http(name: str, **more: Any) -> dict[str, Any]:
    return {
        "use": "http.request",
        "retry": {"attempts": 1},
        "with": {"url": f"http://other.example/{name}", "method": "POST", "json": [SEEN, "{{ item }}"]},
        **more,
    }


ONCE = {"on_unknown": "fail"}
SHORT = {"timeout": "1s"}
LEAVES = st.one_of(
    st.just({"use": "test.read"}),
    st.just({"use": "test.read", **SHORT}),
    st.just(http("ask")),
    st.just(http("ask", **SHORT)),
    st.just(http("once", **ONCE, **SHORT)),
    st.just(http("once", **ONCE)),
    VALUES.map(lambda value: {"use": "row.create", "with": {"table": "t", "row": {"v": value, "seen": SEEN}}}),
    VALUES.map(lambda value: {"use": "event.publish", "with": {"type": "x", "data": value}}),
    VALUES.map(lambda value: {"use": "log", "with": {"text": value}}),
    VALUES.map(lambda value: {"set": {"a": value}}),
    VALUES.map(lambda value: {"collect": value}),
    VALUES.map(lambda value: {"call": {"automation": "other", "fields": {"v": value}, "wait": False}}),
    st.just({"delay": {"for": "1s"}}),
    st.just({"delay": {"for": "1m"}}),
)
FAILURES = st.one_of(
    st.just({"use": "log", "with": {"text": "{{ 1 / 0 }}"}}),
    st.just({"use": "row.create", "with": {"table": "t", "row": "{{ {'$': 1} }}"}}),
    st.just(http("flaky")),
    st.just(http("flaky", **ONCE)),
    st.just(http("busy", **ONCE, retry={"attempts": 3, "backoff": "1s"})),
)
ENDS = st.one_of(
    st.just({"stop": {"message": "m"}, "when": RARE}),
    st.just({"stop": {"status": "error", "message": "m"}, "when": RARE}),
    st.just({"filter": "{{ random() > 0.15 }}"}),
)


def with_policy(step: dict[str, Any], policy: str | None, when: Any) -> dict[str, Any]:
    more = {} if policy is None else {"on_error": policy}
    return {**more, **({} if when is None else {"when": when}), **step}


def steps(ends: bool, timeouts: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    policies = st.sampled_from([None, "contain", "stop", "retry"] if ends else ["contain"])
    leaf = st.one_of(LEAVES, LEAVES, FAILURES, *([ENDS] if ends else []))
    whens = st.none() | st.none() | CONDITIONS
    step = st.builds(with_policy, leaf, policies, whens)
    limits = st.sampled_from([None, "2s", "5s"] if timeouts else [None])

    def holders(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        lists = st.lists(inner, min_size=1, max_size=4)
        branch = st.builds(
            lambda when, yes, no: {
                "branch": [{"name": "yes", "when": when, "steps": yes}, {"name": "no", "else": True, "steps": no}]
            },
            CONDITIONS,
            lists,
            lists,
        )
        overs = st.sampled_from(
            ["{{ [1, 2, 3] }}", "{{ range(0, previous.data.answer | default(2) % 4) | list }}", "a,b"]
        )
        loop = st.builds(
            lambda over, inside, **more: {
                "loop": {"over": over, "keep": 200, **{k: v for k, v in more.items() if v}},
                "steps": inside,
            },
            overs,
            lists,
            failure=st.sampled_from([None, None, RARE]),
            break_if=st.none() | CONDITIONS,
            continue_if=st.none() | CONDITIONS,
            max=st.sampled_from([None, None, 2]),
        )
        at_once = st.builds(
            lambda over, inside, continue_if, n: {
                "loop": {
                    "over": over,
                    "keep": 200,
                    "concurrency": n,
                    **({"continue_if": continue_if} if continue_if else {}),
                },
                "steps": inside,
            },
            overs,
            lists,
            st.none() | CONDITIONS,
            st.sampled_from([2, 5]),
        )
        parallel = st.builds(
            lambda strands: {"parallel": [{"name": f"s{i}", "steps": each} for i, each in enumerate(strands)]},
            st.lists(lists, min_size=1, max_size=3),
        )
        timed = st.builds(
            lambda step, timeout: {**step, **({} if timeout is None else {"timeout": timeout})},
            st.one_of(branch, loop, at_once, parallel),
            limits,
        )
        return st.builds(with_policy, timed, policies, whens)

    return st.lists(st.recursive(step, holders, max_leaves=8), min_size=1, max_size=5)


def numbered(found: list[dict[str, Any]], numbers: Iterator[int]) -> list[dict[str, Any]]:
    """The same with ids."""
    made: list[dict[str, Any]] = []
    for step in found:
        copied = {"id": f"s{next(numbers)}", **step}
        if "steps" in step:
            copied["steps"] = numbered(step["steps"], numbers)
        for kind in ("branch", "parallel"):
            if kind in step:
                copied[kind] = [{**each, "steps": numbered(each["steps"], numbers)} for each in step[kind]]
        made.append(copied)
    return made


def plan_of(found: list[dict[str, Any]], **more: Any) -> Plan:
    numbers = count(1)
    document = {
        "name": "a",
        "app": "shop",
        "trigger": {"type": "event", "event": "*"},
        # There is an effect, or no run would be owned.
        "steps": [*numbered(found, numbers), {"id": LAST, "use": "row.create", "with": {"table": "t", "row": {}}}],
        **more,
    }
    return compile_plan(parse_automation(document), 3)


@pytest.fixture(autouse=True, scope="module")
def _steps_of_the_test() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uses, "STEPS", {**STEPS, Read.use: Read()})
        yield


CUTS = st.lists(st.builds(Cut, st.integers(1, 14), st.booleans(), st.booleans()), max_size=4)
ENDINGS = st.frozensets(st.integers(1, 4), max_size=2)
LEAVINGS = st.builds(Leaving, st.frozensets(st.integers(1, 30), max_size=3), ENDINGS, ENDINGS)
MANY = settings(
    max_examples=int(os.environ.get("HEADRACE_TEST_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check_effects(world: World, course: Course, once: set[str]) -> None:
    """Each effect as its column promises, and the path is the one that was first decided."""
    final = by_key(course.last)
    origins = [row.origin for row in world.rows]
    assert repeated(origins) == []
    sent = world.sent()
    for key in set(sent):
        calls = [number for number, each in enumerate(sent) if each == key]
        for earlier, later in pairwise(calls):
            heard = world.heard.get(earlier)
            assert heard == 429 or key not in once_of(sent, once), f"{key} is called again after {heard}, not once"
            # What failed is tried again with what those before it gave, who may have been done again as well.
            if heard not in (429, 503):
                first, second = world.requests[earlier], world.requests[later]
                assert (first.url, first.body) == (second.url, second.body), f"{key} asks for another thing"
    for row in world.rows:
        assert final[row.origin].get("outputs", {})["row"] == row.row  # pyright: ignore
    noted: dict[str, Any] = {}
    for item in world.noted():
        if item.get("again"):
            noted.pop(item["key"], None)
        elif "result" in item:
            noted.setdefault(item["key"], item["result"])
    for key, result in noted.items():
        assert key in final, f"{key} was done, and the record does not know it"
        if "children" not in final[key]:
            assert final[key].get("outputs") == result.get("outputs"), key
            assert final[key]["status"] == result["status"]
    assert set(sent) <= set(final), "a call was made, and the record does not know it"
    published = [
        (result.get("outputs") or {}).get("id") or key  # pyright: ignore
        for key, result in final.items()
        if result["use"] in ("event.publish", "call") and result["status"] == "success"
    ]
    assert len(course.publications) == len(published)
    ids = [dict(each.headers)["ce_id"] for each in course.publications]
    assert repeated([str(each) for each in ids]) == []


def once_of(keys: list[str], once: set[str]) -> set[str]:
    """Those of the keys whose steps are made at most once."""
    return {key for key in keys if key.split("/")[2].rpartition(".")[2] in once}


def made_once(found: list[dict[str, Any]]) -> set[str]:
    def walk(made: list[dict[str, Any]]) -> Iterator[str]:
        for step in made:
            if step.get("on_unknown") == "fail":
                yield step["id"]
            yield from walk(step.get("steps", []))
            for kind in ("branch", "parallel"):
                for each in step.get(kind, []):
                    yield from walk(each["steps"])

    return set(walk(numbered(found, count(1))))


@MANY
@given(
    steps(ends=True, timeouts=True),
    CUTS,
    LEAVINGS,
    st.integers(0, 99),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from(["120s", "20s", "6s"]),
)
def test_cut_off_anywhere_effects_are_as_promised_and_nothing_is_decided_anew(
    found: list[dict[str, Any]], cuts: list[Cut], leaving: Leaving, seed: int, longest: float, timeout: str
) -> None:
    leaving = Leaving(leaving.looks, leaving.uncommitted, leaving.dead)
    world = World(list(cuts), shuffle=Random(seed), longest=longest)
    course = run_to_its_end(world, plan_of(found, timeout=timeout), leaving)
    check_effects(world, course, made_once(found))


@MANY
@given(steps(ends=False, timeouts=False), CUTS, LEAVINGS, st.integers(0, 99))
def test_where_the_world_answers_the_same_a_run_cut_off_ends_as_one_that_was_not(
    found: list[dict[str, Any]], cuts: list[Cut], leaving: Leaving, seed: int
) -> None:
    plan = plan_of(found)
    uncut = run_to_its_end(World(varies=False), plan)
    leaving = Leaving(leaving.looks, leaving.uncommitted, leaving.dead)
    world = World(list(cuts), varies=False, shuffle=Random(seed))
    course = run_to_its_end(world, plan, leaving)
    check_effects(world, course, made_once(found))
    if any(result.get("error", {}).get("type") == "unknown_outcome" for result in by_key(course.last).values()):
        return
    assert shape(course.last.record["steps"]) == shape(uncut.last.record["steps"])
    assert course.last.record["status"] == uncut.last.record["status"]
    assert course.last.record.get("collected") == uncut.last.record.get("collected")
    # What goes out with a hand-over goes out before what strands beside it publish later.
    in_order = list if len(course.outcomes) == 1 else sorted
    assert in_order(each.value for each in course.publications) == in_order(each.value for each in uncut.publications)


def test_a_record_of_loops_in_each_other_is_bounded_and_the_outer_steps_stay() -> None:
    inner: list[dict[str, Any]] = [{"id": f"leaf{i}", "use": "log", "with": {"text": "x" * 500}} for i in range(3)]
    for depth in range(4):
        inner = [{"id": f"l{depth}", "loop": {"over": "{{ range(8) | list }}", "keep": 200}, "steps": inner}]
    document = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": inner}
    plan = compile_plan(parse_automation(document), 3)
    outcome = run_to_its_end(World(), plan).last
    encoded = encode_record(outcome.record)
    assert len(encoded) < limits.RUN_RECORD
    record = read_run(encoded)
    assert [step["id"] for step in record["steps"]] == ["l3"]
    assert len(record["steps"][0].get("children", [])) == 8


def test_loops_in_each_other_end_before_they_fill_the_memory() -> None:
    inner: list[dict[str, Any]] = [{"id": "leaf", "set": {"a": 1}}]
    for depth in range(3):
        inner = [{"id": f"l{depth}", "loop": {"over": "{{ range(200) | list }}", "keep": 0}, "steps": inner}]
    document = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": inner}
    outcome = run_to_its_end(World(), compile_plan(parse_automation(document), 3)).last
    assert outcome.record["status"] == "error"
    assert "too_many_steps" in str(outcome.record["error"])


async def test_an_entry_larger_than_a_document_is_kept_in_pieces() -> None:
    steps = [
        *({"id": f"much{j}", "set": {f"v{j}{i}": "{{ 'x' * 1000000 }}" for i in range(7)}} for j in range(3)),
        {"id": "row", "use": "row.create", "with": {"table": "t", "row": {}}},
        {"id": "end", "collect": "{{ state.v26 | length }}"},
    ]
    document = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps}
    plan = compile_plan(parse_automation(document), 3)
    for call in range(1, 5):
        world = World([Cut(call)])
        with pytest.raises(PlatformUnavailable):
            await execute(world, plan)
        outcome = await execute(world, plan)
        assert max(map(len, world.entries)) < ENTRY_BYTES
        assert outcome.record.get("collected") == 1_000_000
        assert len(world.rows) == 1


def test_after_a_write_that_failed_no_strand_makes_its_call() -> None:
    """The strand beside waits for the journal, to announce its call, when the write before it fails."""
    once = {**http("once", **ONCE), "id": "once"}
    reads = [{"id": f"r{i}", **http("ask")} for i in range(2)]
    steps = [{"id": "both", "parallel": [{"name": "a", "steps": reads}, {"name": "b", "steps": [once]}]}]
    for seed in range(50):
        for call in range(1, 9):
            world = World([Cut(call, kills=False)], shuffle=Random(seed))
            run_to_its_end(world, plan_of(steps))
            assert len([key for key in world.sent() if "once" in key]) <= 1


async def test_what_a_strand_gave_up_on_is_what_the_dead_letter_says() -> None:
    steps = [
        {
            "parallel": [
                {"name": "a", "steps": [{**http("flaky"), "on_error": "retry"}]},
                {"name": "b", "steps": [{"use": "log", "with": {"text": "{{ 1 / 0 }}"}}]},
            ]
        }
    ]
    outcome = await execute(World(), plan_of(steps))
    assert isinstance(outcome.decision, DeadLetter)
    assert outcome.decision.error["type"] == "http_status"


async def test_a_loop_that_is_tried_again_does_again_what_failed_in_it_and_nothing_else() -> None:
    flaky = {**http("flaky"), "on_error": "contain"}
    loop = {"loop": {"over": "{{ [1, 2, 3] }}"}, "on_error": "retry", "steps": [flaky]}
    world = World()
    plan = plan_of([loop])
    first = await execute(world, plan)
    assert first.record["status"] == "dead_lettered"
    again = await execute(world, plan, read_job(next_segment(JOB)))
    assert [key.rpartition("/")[2] for key in world.sent()] == ["0", "1", "2", "0", "2"]
    assert again.record["steps"][0].get("outputs", {})["iterations"] == 3  # pyright: ignore


@pytest.mark.parametrize(("began", "resumed"), [(3, 2), (2, 3)])
async def test_a_resumed_loop_has_the_limit_to_its_items_with_which_it_began(began: int, resumed: int) -> None:
    plan = plan_of([{"loop": {"over": "{{ [1, 2, 3] }}"}, "steps": [http("ask")]}])
    world = World([Cut(4)])
    with pytest.raises(PlatformUnavailable):
        await execute(world, plan, max_iterations=began)
    outcome = await execute(world, plan, max_iterations=resumed)
    assert outcome.record["steps"][0]["status"] == ("success" if began == 3 else "max_iterations")
    assert len(set(world.sent())) == began


def at_every_call(found: list[dict[str, Any]], **world: Any) -> Iterator[tuple[World, Course]]:
    """The run cut off at each of its calls, before and after, by a kill and by a failure."""
    plan = plan_of(found)
    for call in range(1, 12):
        for after in (False, True):
            for kills in (False, True):
                cut = World([Cut(call, after, kills)], **world)
                yield cut, run_to_its_end(cut, plan)


def test_what_was_read_is_written_down_before_another_is_told_of_it() -> None:
    found = [{"use": "test.read"}, http("ask")]
    for world, course in at_every_call(found):
        check_effects(world, course, set())
    told_beside = [{"parallel": [{"name": "a", "steps": found}, {"name": "b", "steps": found}]}]
    for seed in range(20):
        for world, course in at_every_call(told_beside, shuffle=Random(seed)):
            check_effects(world, course, set())


def test_a_call_made_at_most_once_that_was_refused_is_made_again_and_one_whose_fate_is_unknown_never() -> None:
    found = [{"use": "test.read"}, http("busy", **ONCE, retry={"attempts": 3, "backoff": "1s"})]
    tries: set[int] = set()
    for world, course in at_every_call(found):
        check_effects(world, course, made_once(found))
        assert len(world.uncertain()) <= 1
        tries.add(len(world.sent()))
        asked = by_key(course.last)[f"{JOB.run_id}/0/s2/0"]
        assert asked["status"] == "success" or asked.get("error", {}).get("type") == "unknown_outcome"
    assert tries >= {1, 2}


@pytest.mark.parametrize("lost", [Cut(4, after=True), Cut(5)])
def test_a_worker_lost_while_it_waits_for_another_try_leaves_a_call_that_is_known_to_have_done_nothing(
    lost: Cut,
) -> None:
    """The read, the intent, the call, its withdrawal, and then the next intent."""
    found = [{"use": "test.read"}, http("busy", **ONCE, retry={"attempts": 3, "backoff": "1s"})]
    world = World([lost])
    course = run_to_its_end(world, plan_of(found))
    assert course.resumed == 1
    assert by_key(course.last)[f"{JOB.run_id}/0/s2/0"]["status"] == "success"
    assert len(world.sent()) == 2


@pytest.mark.parametrize("policy", [{}, {"on_error": "retry"}])
def test_a_call_that_is_made_once_is_not_made_again_because_it_failed(policy: dict[str, Any]) -> None:
    world = World()
    course = run_to_its_end(world, plan_of([http("flaky", **ONCE, **policy)]))
    assert len(world.sent()) == 1
    assert course.last.record["status"] == "error"
    # The run goes on by default; where it was to be tried again, it ends.
    assert len(course.last.record["steps"]) == (1 if policy else 2)


def test_what_conditions_of_a_loop_draw_does_not_depend_on_what_a_resumed_run_draws_no_more() -> None:
    inside = [{"use": "test.read"}, {"set": {"a": "{{ random() }}"}}, http("ask")]
    items = "{{ range(0, 9) | list }}"
    loop = {"loop": {"over": items, "keep": 200, "failure": RARE, "continue_if": RARE, "break_if": RARE}}
    found = [{**loop, "steps": inside}, {**loop, "steps": [{"use": "log", "with": {"text": "x"}}, http("ask")]}]
    uncut = run_to_its_end(World(varies=False), plan_of(found))
    for _, course in at_every_call(found, varies=False):
        assert shape(course.last.record["steps"]) == shape(uncut.last.record["steps"])


def test_a_strand_begins_nothing_after_another_ended_the_run_however_often_it_is_resumed() -> None:
    found: list[dict[str, Any]] = [
        {
            "parallel": [
                {"name": "a", "steps": [http("ask"), http("ask"), http("ask")]},
                {"name": "b", "steps": [{"stop": {"message": "m"}}]},
            ]
        }
    ]
    for world, course in at_every_call(found):
        assert course.last.record["status"] == "stopped"
        assert {key.split("/")[2] for key in world.sent()} <= {"s1.s2"}


def test_a_call_under_way_when_a_strand_beside_it_ends_the_run_is_made_again_and_its_answer_is_in_the_record() -> None:
    """The strand that ends the run comes first: in a resumed run it is at its end before the call begins."""
    ends = {"name": "a", "steps": [{"use": "test.read"}, {"stop": {"message": "m"}}]}
    calls = {"name": "b", "steps": [http("ask"), http("ask")]}
    items = "{{ [0, 1, 2] }}"
    by_item = [{"stop": {"message": "m"}, "when": "{{ item == 0 }}"}, http("ask")]
    loop = {"loop": {"over": items, "concurrency": 3}, "steps": [{"use": "test.read"}, *by_item]}
    lost = 0
    for found in ([{"parallel": [ends, calls]}], [loop]):
        for seed in range(3):
            for world, course in at_every_call(found, shuffle=Random(seed), longest=1.0):
                check_effects(world, course, set())
                assert course.last.record["status"] == "stopped"
                unanswered = {key for number, key in enumerate(world.sent()) if number not in world.heard}
                lost += len(unanswered)
                answered = by_key(course.last)
                assert {answered[key]["status"] for key in unanswered} <= {"success"}
    assert lost > 5


def test_a_call_that_waits_for_another_try_when_the_run_is_ended_beside_it_is_made_again_after_a_loss_too() -> None:
    busy = http("busy", **ONCE, retry={"attempts": 3, "backoff": "1s"})
    ends = {"name": "a", "steps": [{"use": "test.read"}, {"use": "test.read"}, {"stop": {"message": "m"}}]}
    found = [{"parallel": [ends, {"name": "b", "steps": [busy]}]}]
    for seed in range(5):
        for world, course in at_every_call(found, shuffle=Random(seed), longest=1.0):
            check_effects(world, course, made_once(found))


def test_a_call_beside_which_nothing_ends_the_run_costs_no_entry_before_it() -> None:
    calls = [{"name": name, "steps": [http("ask")]} for name in ("a", "b")]
    for more, entries in ([], 3), ([{"name": "c", "steps": [{"filter": True}]}], 5):
        world = World()
        run_to_its_end(world, plan_of([{"parallel": [*calls, *more]}]))
        written = [item for item in world.noted() if "decision" not in item and item["key"]]
        assert len([item for item in written if "result" not in item]) == (2 if more else 0)
        assert len(world.entries) <= entries


FAILING = {"use": "log", "with": {"text": "{{ 1 / 0 }}"}}


def test_what_was_done_after_a_step_that_is_done_again_stays_and_goes_out_though_the_run_ends_before_it() -> None:
    """Beside each other all of them fail as a whole, and are to be done again; then the first to fail ends the rest."""
    row = {"use": "row.create", "with": {"table": "t", "row": {}}}
    inner = [FAILING, {"use": "event.publish", "with": {"type": "x"}}, row]
    items = "{{ [1, 2, 3] }}"
    one_by_one = {"loop": {"over": items}, "steps": inner, "on_error": "retry"}
    at_once = {"loop": {"over": items, "concurrency": 2}, "steps": inner, "on_error": "retry"}
    # Slow when it is first done, at its end at once when it is done again.
    reads = [{"use": "test.read"}] * 3
    quick = [*reads, {"loop": {"over": "a"}, "steps": [FAILING], "on_error": "retry"}]
    for first, second in (([one_by_one], [one_by_one]), ([at_once], [one_by_one]), (quick, [at_once])):
        step = {"parallel": [{"name": "a", "steps": first}, {"name": "b", "steps": second}]}
        for seed in range(20):
            for uncommitted in (frozenset[int](), frozenset({1})):
                world = World(shuffle=Random(seed))
                course = run_to_its_end(world, plan_of([step]), Leaving(uncommitted=uncommitted))
                check_effects(world, course, set())


def test_how_a_step_failed_that_was_to_be_done_again_is_in_the_record_of_a_run_that_ended_before() -> None:
    ends = {"name": "a", "steps": [{"use": "test.read"}, http("ask"), {**FAILING, "on_error": "stop"}]}
    found = [{"parallel": [ends, {"name": "b", "steps": [http("flaky")]}]}]
    world = World()
    course = run_to_its_end(world, plan_of(found))
    check_effects(world, course, set())
    assert [outcome.record["status"] for outcome in course.outcomes] == ["dead_lettered", "error"]
    flaky = by_key(course.last)[f"{JOB.run_id}/0/s1.s5/0"]
    assert flaky.get("error", {}).get("type") == "http_status"
    assert len([key for key in world.sent() if "s5" in key]) == 1


def test_what_is_cut_off_by_a_time_is_cut_off_for_good_wherever_the_worker_is_lost() -> None:
    slow = [{"use": "test.read"}, http("ask"), http("once", **ONCE), http("ask"), http("ask")]
    timed = {"branch": [{"name": "w", "else": True, "steps": slow}], "timeout": "3s", "on_error": "contain"}
    beside = {"parallel": [{"name": "a", "steps": slow}, {"name": "b", "steps": [timed]}], "timeout": "5s"}
    cut_off = 0
    for found in ([timed], [{**beside, "on_error": "contain"}]):
        for seed in range(2):
            for world, course in at_every_call(found, shuffle=Random(seed), longest=2.0):
                check_effects(world, course, made_once(found))
                cut_off += "timed_out" in str(shape(course.last.record["steps"]))
                assert course.last.record["steps"][-1]["id"] == LAST
    assert cut_off > 20


async def test_a_condition_that_fails_ends_its_loop_and_cuts_off_no_item_beside_it() -> None:
    loop = {"over": "{{ [2, 1, 0, 3] }}", "concurrency": 3, "continue_if": "{{ 1 / item == 9 }}"}
    world = World()
    outcome = await execute(world, plan_of([{"loop": loop, "steps": [http("ask"), http("once", **ONCE)]}]))
    each = outcome.record["steps"][0]
    assert each.get("error", {}).get("type") == "template_error"
    assert [(child.get("iteration"), child["status"]) for child in each.get("children", [])] == [
        (0, "success"), (0, "success"), (1, "success"), (1, "success"),
    ]  # fmt: skip
    assert len(world.sent()) == 4


class FailsOnce:
    """A store whose first write fails while a second one waits for it; only that one is counted after."""

    def __init__(self) -> None:
        self.written = 0

    async def append(self, claim: Any, number: int, entry: bytes) -> None:
        self.written += 1
        await asyncio.sleep(0)
        raise PlatformUnavailable("away")


async def test_whoever_waits_for_a_write_that_fails_is_told_so() -> None:
    store = FailsOnce()
    journal = Journal(cast(Any, store), Claim("r", Location("e", 0, 0), Location("j", 0, 0), 0, 0, "w"), ())
    first, second = await asyncio.gather(journal.announce("a"), journal.announce("b"), return_exceptions=True)
    assert isinstance(first, PlatformUnavailable)
    assert isinstance(second, PlatformUnavailable)
    assert store.written == 1
