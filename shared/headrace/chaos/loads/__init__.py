"""The loads by name, and which of them today's automation document can express."""

from collections.abc import Mapping, Sequence

from headrace.chaos.loads.base import Load
from headrace.chaos.loads.cancelled import CANCELLED
from headrace.chaos.loads.clocks import CLOCKS
from headrace.chaos.loads.deadly import LARGE, POISON
from headrace.chaos.loads.failing import DEAD, RETRIES
from headrace.chaos.loads.mixed import MIXED
from headrace.chaos.loads.ordered import HELD, RECALLED
from headrace.chaos.loads.plain import HTTP, ONCE, PURE, ROWS, SLOW
from headrace.chaos.loads.waiting import TIMERS, WAITS
from headrace.contracts.automation import DocumentError, parse_automation

_ALL = (
    PURE,
    ROWS,
    HTTP,
    ONCE,
    MIXED,
    SLOW,
    POISON,
    LARGE,
    RETRIES,
    TIMERS,
    WAITS,
    DEAD,
    CANCELLED,
    RECALLED,
    HELD,
    CLOCKS,
)

LOADS: Mapping[str, Load] = {load.name: load for load in _ALL}
"""All of them; all run by default."""


def usable(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those of `names` whose automations this system's document model takes, and why it refuses the others."""
    refused: dict[str, str] = {}
    for name in names:
        try:
            for document in LOADS[name].documents("http://127.0.0.1"):
                parse_automation(document)
        except DocumentError as error:
            refused[name] = str(error)
    return [name for name in names if name not in refused], refused
