"""Fixed seeds: faults into a real stack under every load, and no promise broken."""

from pathlib import Path

import pytest
from chaos_support import do, told

from headrace.chaos.loads import LOADS, usable
from headrace.chaos.plan import FaultKind, make_plan

pytestmark = pytest.mark.chaos

SECONDS = 30.0
"""Room for three or four faults; with start, quiet and end a seed takes a minute, and all of them less than five."""

QUIET_S = 90.0
"""In which all must be done: a retry tier of 5 s and a poisoned worker's second and third death are in it."""

SEEDS: dict[int, tuple[FaultKind, ...]] = {
    101: ("kill", "kill-stay", "scale"),
    102: ("pause", "cut", "half-open", "delay"),
    103: ("broker", "mongod", "rolling"),
}
"""Chosen so that together they have every kind of fault."""


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_done_twice_or_out_of_order_under_faults(seed: int, tmp_path: Path) -> None:
    loads, refused = usable(list(LOADS))
    assert not refused
    report = do(make_plan(seed, SECONDS, SEEDS[seed], loads), tmp_path, QUIET_S)
    assert report.faults
    assert report.violations == 0, told(report)
