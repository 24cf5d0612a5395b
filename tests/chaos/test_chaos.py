"""Fixed seeds: faults into a real stack under every load, and no promise broken."""

from pathlib import Path
from typing import get_args

import pytest
from chaos_support import do, told

from headrace.chaos.loads import LOADS, usable
from headrace.chaos.orders import What
from headrace.chaos.plan import FAULTS, SERVICES, FaultKind, make_plan

pytestmark = pytest.mark.chaos

SECONDS = 28.0
"""Room for three or four faults; with start, quiet and end a seed takes a minute, and all of them less than five."""

QUIET_S = 90.0
"""In which all must be done: a wait of 30 s for nothing, a retry tier of 5 s and a poisoned worker's second and third
death are in it."""

EFFECTS = ("pure", "rows", "http", "once", "mixed", "slow", "large")
TIME = ("retries", "timers", "waits", "dead", "cancelled", "recalled", "held", "clocks")

SEEDS: dict[int, tuple[tuple[FaultKind, ...], tuple[str, ...]]] = {
    # Of the schedulers one is killed and comes back, and later one does not.
    497: (("kill", "kill-stay", "scale"), (*TIME, "mixed", "once")),
    903: (("pause", "cut", "half-open", "delay"), EFFECTS),
    3: (("broker", "mongod", "rolling"), (*EFFECTS, "timers", "dead")),
    # Suspects run alone, one after the other: among few and fast ones poison is found within the minute. Of insights
    # both processes are killed.
    143: (("kill",), ("pure", "rows", "poison")),
}
"""Together they have every kind of fault, load and order, and meet every service."""


def test_the_seeds_have_every_fault_load_service_and_order() -> None:
    assert {kind for kinds, _ in SEEDS.values() for kind in kinds} == set(FAULTS)
    assert {load for _, loads in SEEDS.values() for load in loads} == set(LOADS)
    plans = [make_plan(seed, SECONDS, kinds, loads) for seed, (kinds, loads) in SEEDS.items()]
    assert {fault.target.service for plan in plans for fault in plan.faults if fault.target} == set(SERVICES)
    assert {order.what for plan in plans for order in plan.orders} == set(get_args(What))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_done_twice_or_out_of_order_under_faults(seed: int, tmp_path: Path) -> None:
    kinds, wanted = SEEDS[seed]
    loads, refused = usable(wanted)
    assert not refused
    report = do(make_plan(seed, SECONDS, kinds, loads), tmp_path, QUIET_S)
    assert report.faults
    assert report.violations == 0, told(report)
