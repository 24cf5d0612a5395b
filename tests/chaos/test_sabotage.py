"""A system broken on purpose: the judge must say so, by the check that is there for it."""

import pytest
from chaos_support import do, told

from headrace.chaos.plan import make_plan
from headrace.chaos.report import SeedReport

pytestmark = pytest.mark.chaos

SECONDS = 8.0
"""No faults: what is found was broken by the patch, not by them."""

ORDERED_SECONDS = 18.0
"""Room for a pause of each of the automations that are paused."""


@pytest.fixture(scope="module")
def broken_effects(tmp_path_factory: pytest.TempPathFactory) -> SeedReport:
    """Every promise about outcomes broken, each in a load of its own."""
    ways = ("lose", "flip_status", "skip_fence", "call_twice", "random_rows", "reorder")
    loads = ("pure", "rows", "http", "once", "mixed", "slow", "large")
    return do(make_plan(201, SECONDS, (), loads), tmp_path_factory.mktemp("effects"), 60.0, ways)


@pytest.fixture(scope="module")
def broken_processes(tmp_path_factory: pytest.TempPathFactory) -> SeedReport:
    """A partition that stands still, a process that dies, and one that stays."""
    plan, directory = make_plan(202, SECONDS, (), ("pure",)), tmp_path_factory.mktemp("processes")
    return do(plan, directory, 10.0, ("stick", "leak", "die"))


@pytest.fixture(scope="module")
def broken_time(tmp_path_factory: pytest.TempPathFactory) -> SeedReport:
    """Promises about what waits, is tried again, died or is cancelled."""
    ways = ("go_on", "forget_the_first_life", "keep_timers", "hurry")
    loads = ("retries", "timers", "dead", "cancelled")
    return do(make_plan(204, SECONDS, (), loads), tmp_path_factory.mktemp("time"), 24.0, ways)


@pytest.fixture(scope="module")
def broken_orders(tmp_path_factory: pytest.TempPathFactory) -> SeedReport:
    """Promises about what operators order of whole automations, about clocks, and about what is counted."""
    ways = ("call_while_paused", "tick_while_paused", "miscount_ticks", "count_twice", "give_up")
    plan = make_plan(205, ORDERED_SECONDS, (), ("held", "clocks"))
    return do(plan, tmp_path_factory.mktemp("orders"), 30.0, ways)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("the paused stand still", "called /held/before"),
        ("the paused stand still", "after its pause was known"),
        ("each time ticks once", "ticked 0 times"),
        ("each time ticks once", "ticked 2 times"),
        ("all is counted", "held"),
        ("nothing died by itself", "gave up, and no fault explains it: the changelog cannot be written"),
    ],
)
def test_broken_orders_clocks_and_counts_are_found(check: str, words: str, broken_orders: SeedReport) -> None:
    assert words in str(broken_orders.checks[check].shown), told(broken_orders)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("nothing waits", "its timer is still pending"),
        ("nothing left", "did not come to rest"),
        ("the cancelled end", "after its cancel was confirmed"),
        ("never early", "before its time (retry)"),
        ("one key per step", "several keys"),
    ],
)
def test_broken_time_is_found(check: str, words: str, broken_time: SeedReport) -> None:
    assert words in str(broken_time.checks[check].shown), told(broken_time)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ("one run per event", "lost"),
        ("rows once", "is there 2 times"),
        ("one key per step", "several keys"),
        ("resends explained", "no fault explains it"),
        ("once never twice", "was called 2 times"),
        ("order per lane", "started before its predecessor"),
        ("finals final", "ended in several ways"),
        ("none executed twice", "executed 2 times"),
    ],
)
def test_a_broken_outcome_is_found(check: str, words: str, broken_effects: SeedReport) -> None:
    assert words in str(broken_effects.checks[check].shown), told(broken_effects)


@pytest.mark.parametrize("check", ["nothing left", "no partition stuck", "nothing leaked", "nothing died by itself"])
def test_a_broken_process_is_found(check: str, broken_processes: SeedReport) -> None:
    assert broken_processes.checks[check].violations, told(broken_processes)
