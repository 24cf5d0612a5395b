"""A seed is a plan: the same each time, within the limits that make it a fair one."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.chaos.loads import LOADS, clocks, usable
from headrace.chaos.loads.base import APP, LoadEvent, events_of
from headrace.chaos.loads.waiting import may_time_out
from headrace.chaos.orders import PAUSED, RECALLED, make_orders
from headrace.chaos.plan import (
    DUPLICATE_EVERY,
    FAULTS,
    FIRST_FAULT_S,
    NETWORK,
    PARTS,
    RATES,
    SLOTS,
    TAIL_S,
    Part,
    make_outage,
    make_plan,
)
from headrace.contracts.ticks import Tick, tick_event

pytestmark = pytest.mark.unit

seeds = st.integers(min_value=0, max_value=2**32)
lengths = st.floats(min_value=1, max_value=300, allow_nan=False)
kinds = st.lists(st.sampled_from(FAULTS), unique=True)
loads = st.lists(st.sampled_from(sorted(LOADS)), unique=True, min_size=1)


@given(seeds, lengths, kinds, loads)
def test_the_same_seed_gives_the_same_plan_and_the_same_events(
    seed: int, seconds: float, kinds: list[str], loads: list[str]
) -> None:
    first, second = (make_plan(seed, seconds, kinds, loads) for _ in range(2))  # pyright: ignore[reportArgumentType]
    assert first == second
    assert [events_of(seed, load) for load in first.loads] == [events_of(seed, load) for load in second.loads]


@given(seeds, lengths, kinds)
def test_faults_follow_each_other_within_the_load_and_leave_a_living_process(
    seed: int, seconds: float, kinds: list[str]
) -> None:
    plan = make_plan(seed, seconds, kinds, ["pure"])  # pyright: ignore[reportArgumentType]
    assert {fault.kind for fault in plan.faults} <= {*kinds, "kill"}
    for earlier, later in zip(plan.faults, plan.faults[1:], strict=False):
        assert earlier.ends < later.at
    assert all(fault.at >= FIRST_FAULT_S and fault.ends <= seconds - TAIL_S for fault in plan.faults)
    killed = [fault.target for fault in plan.faults if fault.kind == "kill-stay"]
    for number, fault in enumerate(plan.faults):
        if fault.kind == "kill-stay":
            later = [each.target for each in plan.faults[number + 1 :] if each.kind not in ("rolling", "scale")]
            assert fault.target not in later
    assert len(set(killed)) == len(killed)
    gone = Counter(fault.target.service for fault in plan.faults if fault.kind == "kill-stay" and fault.target)
    assert all(count < SLOTS for count in gone.values())
    assert all(fault.target in plan.proxied for fault in plan.faults if fault.kind in NETWORK)


@given(seeds)
def test_every_kind_comes_before_any_comes_twice(seed: int) -> None:
    first = [fault.kind for fault in make_plan(seed, 1_000, FAULTS, ["pure"]).faults][: len(FAULTS)]
    assert sorted(first) == sorted(FAULTS)


@given(seeds, lengths)
def test_whatever_is_paused_is_resumed_before_it_is_paused_again(seed: int, seconds: float) -> None:
    orders = make_orders(seed, seconds, [*PAUSED, RECALLED])
    assert orders == make_orders(seed, seconds, [*PAUSED, RECALLED]) == tuple(sorted(orders, key=lambda each: each.at))
    for name in PAUSED:
        mine = [(order.what, order.rate > 0) for order in orders if order.automation == name]
        assert mine == [("pause", False), ("resume", True)] * (len(mine) // 2)
    assert {order.what for order in orders if order.automation == RECALLED} <= {"cancel"}
    assert all(order.at < seconds for order in orders if order.what != "resume")


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_of_half_a_minute_has_one_of_each_order(seed: int) -> None:
    found = {(order.what, order.automation) for order in make_plan(seed, 28, (), list(LOADS)).orders}
    assert found == {("cancel", RECALLED), *((what, name) for name in PAUSED for what in ("pause", "resume"))}
    assert make_plan(seed, 28, (), ["pure"]).orders == ()


def test_the_clock_s_times_are_those_after_it_went_live_and_up_to_its_end() -> None:
    second = clocks.SECOND_US
    assert clocks.times(10 * second, 16 * second) == [12 * second, 14 * second, 16 * second]
    assert clocks.times(11 * second + 1, 13 * second) == [12 * second]
    assert clocks.times(14 * second, 15 * second) == []
    assert clocks.latest(13 * second) == 12 * second
    run = clocks.run_of(1_800_000_000 * second)
    tick = tick_event(APP, Tick(automation=clocks.NAME, scheduled=datetime(2027, 1, 15, 8, tzinfo=UTC)))
    assert (run.event, run.source) == (tick.id, tick.source)


@pytest.mark.parametrize("part", PARTS)
def test_an_outage_is_one_fault_with_load_around_it_and_no_load_that_cannot_be_published(part: Part) -> None:
    plan = make_outage(7, part, 600, ["pure", "waits"])
    (fault,) = plan.faults
    assert (fault.kind, fault.duration, plan.seconds) == (part, 600, 600 + 2 * fault.at)
    last = max(event.at for load in plan.loads for event in events_of(7, load))
    if part == "mongod":
        assert plan.hush is None
        assert last > fault.ends
    else:
        assert plan.hush is not None
        assert plan.hush[0] < fault.at
        assert plan.hush[1] == fault.ends
        # What is due from the hush on comes as much later as it is long.
        assert plan.hush[0] < last < 2 * fault.at


@pytest.mark.parametrize("name", [name for name in LOADS if RATES[name]])
def test_every_tenth_event_comes_twice_and_each_has_an_expectation(name: str) -> None:
    plan = make_plan(7, 100, (), [name])
    events = events_of(7, plan.loads[0])
    assert [event.number for event in events if event.again_at is not None] == [*range(0, len(events), DUPLICATE_EVERY)]
    assert all(event.again_at is None or event.again_at > event.at for event in events)
    runs = [run for event in events for run in LOADS[name].expected(event)]
    assert len({run.id for run in runs}) == len(runs) >= len(events)
    assert len({event.customer for event in events}) > 1


def test_one_poison_among_innocents_and_it_never_comes_twice() -> None:
    events = events_of(7, make_plan(7, 100, (), ["poison"]).loads[0])
    (deadly,) = [event for event in events if LOADS["poison"].data(event)["how"]]
    assert deadly.again_at is None
    assert [run.event for event in events for run in LOADS["poison"].expected(event) if run.dead] == [deadly.id]


def test_a_load_that_the_document_model_refuses_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = LOADS["pure"]
    monkeypatch.setitem(
        LOADS,  # pyright: ignore[reportArgumentType]
        "odd",
        type(odd)("odd", lambda _: [{"name": "odd"}], odd.data, odd.expected),
    )
    names, refused = usable(["pure", "odd"])
    assert names == ["pure"]
    assert "app" in refused["odd"]


def test_a_run_that_is_told_late_may_have_timed_out_and_then_made_no_row() -> None:
    told = next(run for run in LOADS["waits"].expected(LoadEvent("waits", 0, 0.0, None, "c", 0.5, 9)))
    eased = may_time_out(told)
    assert (told.statuses, eased.statuses) == ({"success"}, {"success", "error"})
    assert (eased.rows, eased.late_rows) == ((), told.rows)


def test_events_know_how_many_they_are() -> None:
    assert LoadEvent("a", 3, 0.0, None, "c", 0.5, 9).id == "a-3"
