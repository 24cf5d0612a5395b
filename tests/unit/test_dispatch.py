"""Turns that are cut off at any moment give their lane and their room back."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from headrace.streams import Outgoing, Record, StreamConfig, Turn
from headrace.streams.dispatch import Dispatcher
from headrace.streams.ledgers import Ledgers

pytestmark = pytest.mark.unit

HERE = ("t", 0)


def record(offset: int) -> Record:
    return Record(*HERE, offset, 0, b"k", b"", ())


async def test_a_turn_cancelled_before_its_first_step_leaves_its_lane_to_the_next() -> None:
    ledgers = Ledgers(4_000)
    ledgers.assigned(HERE, 1, None)
    gate, finished = asyncio.Event(), list[Turn]()

    async def work() -> Sequence[Outgoing]:
        await gate.wait()
        return []

    dispatcher = Dispatcher(
        StreamConfig({}, "g", ["t"], "c", "t"),
        lambda r, t: work(),
        cast(Any, None),
        ledgers,
        finished.append,
        lambda t: False,
    )
    dispatcher.offer(record(0), 1)
    dispatcher.offer(record(1), 1)
    await asyncio.sleep(0)
    gate.set()
    await asyncio.sleep(0)  # the first ends here, and the second gets a task that has not begun
    turns = ledgers.drop({HERE: 1})
    dispatcher.drop(turns, {HERE: 1})
    for _ in range(5):
        await asyncio.sleep(0)
    assert dispatcher.running == 0
    dispatcher.settle(finished)
    assert dispatcher.room == 4_000
    ledgers.assigned(HERE, 2, None)
    dispatcher.offer(record(1), 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [turn.record.offset for turn in finished][-1] == 1
