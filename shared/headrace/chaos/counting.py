"""What insights answers, once it has had the time to count."""

import asyncio
from collections.abc import Mapping
from typing import cast

from headrace.chaos.checks.counted import miscounted
from headrace.chaos.fleet import Fleet
from headrace.chaos.observations import CountsSeen
from headrace.chaos.reading import read_deltas
from headrace.settings import Settings

COUNTED_WITHIN_S = 60.0
"""A worker that is started again, or gets a dead one's partitions, needs 10 to 20 s until it counts; what then differs
stays so."""

POLL_S = 0.5
"""An answer costs insights some milliseconds."""

SERVICE = "insights"


async def counted(settings: Settings, fleet: Fleet, within_s: float) -> tuple[CountsSeen, ...]:
    """What all living processes answer: as soon as that is what the stats topic has, or after `within_s`.

    Call it when no run ends any more.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    deltas = await asyncio.to_thread(read_deltas, settings)
    while True:
        found = await asyncio.to_thread(_answers, fleet)
        if not miscounted(deltas, found) or loop.time() > deadline:
            return found
        await asyncio.sleep(POLL_S)


def _answers(fleet: Fleet) -> tuple[CountsSeen, ...]:
    return tuple(
        _counts(str(target), cast("Mapping[str, object]", each))
        for target in fleet.targets
        if target.service == SERVICE
        for each in _list(fleet.answer(target, "/insights?span=24h"))
    )


def _list(answer: object) -> list[object]:
    """One that does not answer counts nothing."""
    return cast("list[object]", answer) if isinstance(answer, list) else []


def _counts(process: str, told: Mapping[str, object]) -> CountsSeen:
    ended, total = (cast("Mapping[str, int]", told[name]) for name in ("ended", "total"))
    # Names of automations, as everywhere in the harness: all are of one app.
    return CountsSeen(process, str(told["automation"]).partition("/")[2], total, ended)
