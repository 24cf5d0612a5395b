"""Suspects: marked before they run together, counted before they run alone, and a dead letter after the third death."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

import pytest

from headrace.streams import Record, Turn, quarantine
from headrace.streams.quarantine import MOST_DEATHS, Quarantine

pytestmark = pytest.mark.unit


class Memory:
    """Marks that outlive workers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.marked: list[int] = []
        """How many were marked in each write."""

    async def found(self, ids: Sequence[str]) -> Mapping[str, int]:
        return {id: self.counts[id] for id in ids if id in self.counts}

    async def mark(self, ids: Sequence[str]) -> None:
        self.marked.append(len(ids))
        for id in ids:
            self.counts.setdefault(id, 0)

    async def count(self, id: str) -> int:
        self.counts[id] += 1
        return self.counts[id]

    async def take_back(self, id: str) -> None:
        self.counts[id] -= 1

    async def clear(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.counts.pop(id, None)


class Stage:
    """A dispatcher that starts whatever the gate lets through; `deadly` offsets kill the worker when they start."""

    def __init__(self, memory: Memory, deadly: frozenset[int] = frozenset()) -> None:
        self.running = 0
        self.started: list[int] = []
        self.buried: list[tuple[int, str]] = []
        self.most = 0
        self._open = 0
        self._deadly = deadly
        self._tasks: set[asyncio.Task[None]] = set()
        self.died = asyncio.Event()
        self.gate = Quarantine("group", memory, self.spawn, lambda: None)
        self.gate.stage = self

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def enter(self, turn: Turn) -> None:
        self.start(turn)

    def start(self, turn: Turn) -> None:
        if self.died.is_set() or self.gate.keeps(turn):
            return
        self.started.append(turn.record.offset)
        self._open += 1
        self.most = max(self.most, self._open)
        if turn.record.offset in self._deadly:
            self.died.set()
            return
        asyncio.get_running_loop().call_soon(self._end, turn)

    def bury(self, turn: Turn, type: str, message: str) -> None:
        self.buried.append((turn.record.offset, type))
        self._open += 1
        self._end(turn)

    def _end(self, turn: Turn) -> None:
        if self.died.is_set():
            return
        self._open -= 1
        turn.is_settled = True
        self.gate.committed([turn])

    async def life(self, offsets: Sequence[int]) -> None:
        """One worker's: it reads these suspects, until all are through or it dies."""
        turns = [Turn(Record("in", 0, offset, 0, b"%d" % offset, b"", []), 1) for offset in offsets]
        for turn in turns:
            turn.is_suspect = True
            assert self.gate.examine(turn)
        self.gate.examine_now()
        await _until(lambda: self.died.is_set() or (all(turn.is_settled for turn in turns) and not self._tasks))
        for task in list(self._tasks):
            task.cancel()
        self.left = [turn.record.offset for turn in turns if not turn.is_settled]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        # Only the tasks of the loop itself are waited for: each round of it is one step.
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_record_that_kills_is_found_and_all_others_come_through() -> None:
    memory, left, deaths = Memory(), list(range(30)), 0
    through: list[int] = []
    buried: list[tuple[int, str]] = []
    while left:
        stage = Stage(memory, frozenset({7}))
        await stage.life(left)
        buried += stage.buried
        through += [offset for offset in left if offset not in stage.left]
        left = stage.left
        deaths += stage.died.is_set()
        assert deaths <= 2 + MOST_DEATHS
    assert sorted(through) == list(range(30))
    assert buried == [(7, "kills_worker")]
    assert deaths == 1 + MOST_DEATHS
    assert memory.counts == {}


async def test_at_a_first_death_all_run_together_again_after_they_were_marked() -> None:
    memory = Memory()
    stage = Stage(memory)
    await stage.life(range(50))
    assert memory.marked == [50]
    assert stage.most > 1
    assert stage.started == list(range(50))
    assert memory.counts == {}


async def test_those_marked_before_run_one_at_a_time_with_nothing_beside_them() -> None:
    memory = Memory()
    memory.counts = {f"group in/0/{offset}": 0 for offset in range(20)}
    stage = Stage(memory)
    await stage.life(range(20))
    assert stage.most == 1
    assert sorted(stage.started) == list(range(20))


async def test_no_more_than_a_window_is_marked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MOST_TOGETHER", 10)
    memory = Memory()
    stage = Stage(memory)
    await stage.life(range(35))
    assert max(memory.marked) <= 10
    assert sum(memory.marked) == 35
    assert stage.started == list(range(35))


async def test_a_death_alone_is_not_counted_when_the_partition_was_given_away() -> None:
    memory = Memory()
    memory.counts = {"group in/0/5": 0}
    stage = Stage(memory)
    stage.start = lambda turn: None if stage.gate.keeps(turn) else stage.started.append(turn.record.offset)  # type: ignore[method-assign]
    turn = Turn(Record("in", 0, 5, 0, b"5", b"", []), 1)
    turn.is_suspect = True
    assert stage.gate.examine(turn)
    stage.gate.examine_now()
    await _until(lambda: stage.started == [5])
    assert memory.counts == {"group in/0/5": 1}
    turn.is_dropped = True
    await _until(lambda: memory.counts == {"group in/0/5": 0})


async def test_those_that_only_waited_when_the_worker_died_are_not_marked() -> None:
    memory = Memory()
    memory.counts = {f"group in/0/{offset}": 0 for offset in range(5)}
    stage = Stage(memory, frozenset({2}))
    await stage.life(range(50))
    assert stage.died.is_set()
    assert stage.started == [0, 1, 2]
    assert set(memory.counts) == {f"group in/0/{offset}" for offset in (2, 3, 4)}
