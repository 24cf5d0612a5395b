"""What a run may hold: values that double, results that add up, and what a loop keeps of its iterations."""

import tracemalloc
from typing import Any

import pytest
from test_engine import execute, log

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.engine import SystemClock, compile_plan
from headrace.engine.holding import ITEMS_HELD, can_see_items

pytestmark = pytest.mark.unit

MOST = 10_000


def outputs(step: Any) -> Any:
    return step.get("outputs")


def loop(count: int, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"id": "each", "loop": {"over": f"{{{{ range({count}) }}}}", "max": MOST}, "steps": list(steps)}


async def run(*steps: dict[str, Any], trigger: Any = None) -> Any:
    return await execute(list(steps), trigger, clock=SystemClock(), max_iterations=MOST, timeout="60s")


@pytest.mark.parametrize("root", ["steps", "stepsById", "stepsByName", "state"])
async def test_what_a_step_gave_stays_as_it_was_when_others_are_done(root: str) -> None:
    outcome = await run(
        {"id": "one", "set": {"a": 1}},
        {"id": "kept", "collect": f"{{{{ {root} }}}}"},
        {"id": "two", "set": {"b": 2}},
        {"id": "read", "set": {"names": "{{ steps.kept.value | list }}", "nested": "{{ steps.kept.value.kept }}"}},
    )
    names = {"state": ["a"], "steps": ["0", "1", "one"]}.get(root, ["one"])
    assert outputs(outcome.record["steps"][3])["names"] == names
    assert outputs(outcome.record["steps"][3])["nested"] is None


async def test_all_steps_as_one_value_are_bounded_as_any_other_value() -> None:
    twenty = [{"id": f"s{i}", "set": {"a": "{{ 'x' * 1000 }}" if i == 0 else "{{ steps }}"}} for i in range(20)]
    outcome = await run(*twenty)
    types = [step["error"]["type"] for step in outcome.record["steps"] if "error" in step]
    assert types
    assert set(types) == {"template_limit"}


@pytest.mark.parametrize(
    "doubled",
    [
        {"set": {"a": "{{ previous }}", "b": "{{ previous }}"}},
        {"collect": {"a": "{{ previous }}", "b": ["{{ previous }}"]}},
        {"set": {"a": "{{ state }}", "b": "{{ state }}"}},
    ],
)
async def test_a_value_that_is_doubled_by_each_step_ends_at_the_limit(doubled: dict[str, Any]) -> None:
    """Without it 25 steps take all of a machine's memory."""
    doubling = [{"id": f"s{i}", **doubled} for i in range(1, 26)]
    outcome = await run({"id": "s0", "set": {"a": "{{ 'x' * 1000 }}"}}, *doubling)
    failed = [step for step in outcome.record["steps"] if "error" in step]
    assert {step["error"]["type"] for step in failed} == {"template_limit"}


async def test_steps_whose_results_add_up_to_too_much_fail_and_say_why() -> None:
    outcome = await run(*[{"id": f"s{i}", "collect": "{{ 'x' * 1000000 }}"} for i in range(80)])
    failed = [step for step in outcome.record["steps"] if "error" in step]
    assert len(failed) == 80 - 68  # 64 MB of a million characters, and the one that goes beyond
    assert failed[0]["error"]["type"] == "too_large"
    assert "67108864" in failed[0]["error"]["message"]


async def test_a_loop_keeps_its_last_items_where_no_template_asks_for_them() -> None:
    outcome = await run(
        loop(MOST, {"id": "n", "collect": "{{ item }}"}), {"id": "end", "collect": "{{ steps.each.iterations }}"}
    )
    found = outputs(outcome.record["steps"][0])
    assert [each["value"] for each in found["items"]] == list(range(MOST - ITEMS_HELD, MOST))
    assert found["iterations"] == found["summary"]["succeeded"] == MOST
    assert outcome.record.get("collected") == MOST


async def test_a_loop_keeps_all_items_where_a_template_asks_for_them() -> None:
    steps = (
        loop(MOST, {"id": "n", "collect": "{{ item }}"}),
        {"id": "end", "collect": "{{ steps.each.items | length }}"},
    )
    assert (await run(*steps)).record.get("collected") == MOST


async def test_a_loop_whose_items_nobody_asks_for_may_go_on_beyond_what_a_run_may_hold() -> None:
    each = loop(3_000, log("much", "{{ 'x' * 20000 }}"))
    assert (await run(each)).record["status"] == "success"
    asked = await run(each, {"id": "end", "collect": "{{ steps.each.items | length }}"})
    assert asked.record["steps"][0].get("error", {}).get("type") == "too_large"


async def test_the_first_failure_and_all_counts_are_told_of_iterations_that_are_kept_no_more() -> None:
    outcome = await run(
        loop(3_000, {"id": "n", "collect": "{{ 1 / (item - 7) if item < 10 or item > 2990 else 1 / 0 }}"})
    )
    summary = outputs(outcome.record["steps"][0])["summary"]
    assert (summary["processed"], summary["failed"]) == (3_000, 1 + 2_981)
    assert summary["first_failure"]["index"] == 7


@pytest.mark.parametrize(
    ("template", "sees"),
    [
        ("{{ steps.each.items }}", True),
        ("{{ steps['each']['items'][0] }}", True),
        ("{{ steps[trigger.name].items }}", True),
        ("{{ stepsById.each }}", True),
        ("{{ steps }}", True),
        ("{{ previous }}", True),
        ("{{ previous.items }}", True),
        ("{% for step in stepsByName %}{% endfor %}", True),
        ("{{ steps.each.get('items') }}", True),
        ("{% set previous = previous %}{{ previous['items'] }}", True),
        ("{% for steps in [steps] %}{{ steps.each['items'] }}{% endfor %}", True),
        ("{% set other = 1 %}{{ other }}", False),
        ("{{ steps.each.summary.failed }}", False),
        ("{{ previous.iterations }}", False),
        ("{{ trigger.items }}", False),
        ("items", False),
    ],
)
def test_who_may_ask_for_items_is_known_from_the_templates(template: str, sees: bool) -> None:
    steps: list[Any] = [loop(3, log("n")), {"id": "out", "collect": {"a": [template]}}]
    head = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}}
    assert can_see_items(parse_automation({**head, "steps": steps})) is sees


def test_a_condition_may_ask_for_items_as_a_field() -> None:
    condition = {"all": [{"field": "steps.each.items", "op": "is_not_empty"}]}
    steps: list[Any] = [loop(3, log("n")), {"id": "out", "filter": condition}]
    head = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}}
    assert can_see_items(parse_automation({**head, "steps": steps}))


async def test_ten_times_the_items_take_hardly_more_memory() -> None:
    """Bytes that Python's allocator counts beside the items themselves: the same in every run."""
    each = {"id": "each", "loop": {"over": "{{ trigger.all }}", "max": MOST}}

    async def peak(count: int) -> int:
        trigger = {"text": "x" * 1_000, "all": list(range(count))}
        tracemalloc.start()
        try:
            await run({**each, "steps": [log("n", "{{ trigger.text }}-{{ item }}")]}, trigger=trigger)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(10)
    assert await peak(MOST) <= 1.2 * await peak(1_000)


@pytest.mark.parametrize(
    "template",
    ["{{ " + " + ".join(["1"] * 985) + " }}", "{{ trigger" + ".a" * 30_000 + " }}", "{{ 1" + "|string" * 9_000 + " }}"],
)
def test_a_template_that_is_nested_too_deeply_is_refused_in_words(template: str) -> None:
    steps = [{"id": "s", "collect": template}]
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": steps}
    )
    with pytest.raises(DocumentError, match="nested"):
        compile_plan(document, 1)


@pytest.mark.parametrize(
    "last",
    [
        {"use": "event.publish", "with": {"type": "x", "data": {"deep": "{{ state.x }}"}}},
        {"call": {"automation": "other", "fields": {"deep": "{{ state.x }}"}}},
    ],
)
async def test_what_no_job_can_hold_is_not_published(last: dict[str, Any]) -> None:
    deeper = {"id": "l", "set": {"x": "{{ [state.x] }}"}}
    outcome = await run(loop(250, deeper), {"id": "out", **last})
    error = outcome.record["steps"][1]["error"]
    assert error["type"] == "bad_input"
    assert "nested too deeply" in error["message"]
    assert not outcome.publications
