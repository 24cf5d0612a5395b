"""What kills its worker never reaches an `except`: the records that may have done it are found, and tried alone.

Suspects are the records that may have been under way when the last owner died (`Ledgers` says which). The first time
they are marked as they start, in one write for many, and run together again: most deaths are no record's fault. Those
found marked already run one at a time, with nothing else in the process, each counted just before; the third death
while alone is a dead letter. Coming to an end clears the mark. Whoever only waited when the worker died is not marked:
else each death would send a hundred more innocents to run alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Protocol, TypeVar

import structlog

from headrace.streams import metrics
from headrace.streams.config import SuspectMemory
from headrace.streams.errors import Unavailable
from headrace.streams.records import Partition
from headrace.streams.turns import Turn

MOST_DEATHS = 3
"""While alone. Once can be the machine's fault, twice bad luck."""

MOST_TOGETHER = 100
"""Suspects marked and not through at a time: at the next death so many, and no more, have to run alone. With fewer the
innocent ones take longer to get through together."""

LOOK_AGAIN_S = 0.5
"""How often it is looked whether there is room for more; a commit says so itself, a lost partition does not."""

AGAIN_AFTER_S = 1.0
"""Between tries while the memory is away."""

_T = TypeVar("_T")


class Stage(Protocol):
    """What the quarantine needs of the dispatcher."""

    @property
    def running(self) -> int:
        """How many coroutines are under way."""
        ...

    def enter(self, turn: Turn) -> None:
        """Puts an admitted turn into its lane."""
        ...

    def start(self, turn: Turn) -> None:
        """The turn has its lane: it runs."""
        ...

    def bury(self, turn: Turn, type: str, message: str) -> None:
        """Ends the turn as a dead letter."""
        ...


class Quarantine:
    """The dispatcher's gate. `on_release` is called when records may be offered again."""

    def __init__(
        self,
        group: str,
        memory: SuspectMemory,
        spawn: Callable[[Coroutine[object, object, None]], None],
        on_release: Callable[[], None],
    ) -> None:
        self._group = group
        self._memory = memory
        self._spawn = spawn
        self._on_release = on_release
        self._unexamined: list[Turn] = []
        self._under_examination: set[Partition] = set()
        self._is_examining = False
        self._together: set[Turn] = set()
        self._room = asyncio.Event()
        self._alone: deque[Turn] = deque()
        self._running_alone: Turn | None = None
        self._waiting: list[Turn] = []
        self._starting: list[Turn] = []
        self._log = structlog.get_logger().bind(group=group)
        self.stage: Stage | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing new may be read: somebody is, or is about to be, alone."""
        return bool(self._alone) or self._running_alone is not None

    def examine(self, turn: Turn) -> bool:
        """True if the turn waits for its examination, and enters its lane after it."""
        # Behind a suspect, whoever comes waits too: the order of its lane could not be kept otherwise.
        if not turn.is_suspect and turn.partition not in self._under_examination:
            return False
        self._under_examination.add(turn.partition)
        self._unexamined.append(turn)
        return True

    def examine_now(self) -> None:
        """Looks up those that were given to `examine`, in one read and one write, as far as there is room for them."""
        if self._unexamined and not self._is_examining:
            self._is_examining = True
            self._spawn(self._examine_all())

    def keeps(self, turn: Turn) -> bool:
        """Keeps a turn that must run alone, and every other while one does."""
        if turn is self._running_alone:
            return False
        if turn.deaths is not None:
            self._alone.append(turn)
            if len(self._alone) == 1 and self._running_alone is None:
                self._spawn(self._run_alone())
            return True
        if self.is_closed:
            self._waiting.append(turn)
            return True
        if turn.is_suspect and not turn.is_marked:
            self._starting.append(turn)
            if len(self._starting) == 1:
                self._spawn(self._mark())
            return True
        return False

    def committed(self, turns: list[Turn]) -> None:
        """These turns came to their end: their marks are cleared."""
        ids = [self._id(turn) for turn in turns if turn.is_suspect]
        if ids:
            self._spawn(self._patiently(lambda: self._memory.clear(ids)))
        self._room.set()
        for turn in turns:
            if turn.committed is not None:
                turn.committed.set()

    async def _examine_all(self) -> None:
        # One after the other: a later group must not enter the lanes before an earlier one.
        while self._unexamined:
            await self._examine(await self._next())
        self._is_examining = False
        self._under_examination.clear()
        self._on_release()

    async def _next(self) -> list[Turn]:
        """The first of those that wait, with no more suspects among them than there is room for."""
        while True:
            self._together = {turn for turn in self._together if not (turn.is_settled or turn.is_dropped)}
            room = MOST_TOGETHER - len(self._together)
            if room > 0:
                break
            self._room.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), LOOK_AGAIN_S)
        suspects = [at for at, turn in enumerate(self._unexamined) if turn.is_suspect]
        taken = suspects[room] if len(suspects) > room else len(self._unexamined)
        turns, self._unexamined = self._unexamined[:taken], self._unexamined[taken:]
        self._together |= {turn for turn in turns if turn.is_suspect}
        return turns

    async def _examine(self, turns: list[Turn]) -> None:
        suspects = {self._id(turn): turn for turn in turns if turn.is_suspect}
        found = await self._patiently(lambda: self._memory.found(list(suspects)))
        for id, deaths in found.items():
            suspects[id].deaths = deaths
        if found:
            self._log.warning("records under way at a second death run alone", records=len(found))
        stage = self._staged()
        for turn in turns:
            if not turn.is_dropped:
                stage.enter(turn)

    async def _mark(self) -> None:
        """Marks those that are about to start, and starts them."""
        while self._starting:
            turns, self._starting = self._starting, []
            ids = [self._id(turn) for turn in turns if not turn.is_dropped]
            await self._patiently(lambda ids=ids: self._memory.mark(ids))
            metrics.SUSPECTS.labels("marked").inc(len(ids))
            stage = self._staged()
            for turn in turns:
                turn.is_marked = True
                stage.start(turn)

    async def _run_alone(self) -> None:
        stage = self._staged()
        while self._alone:
            turn = self._running_alone = self._alone.popleft()
            # The others come to their end, each within its step's time-out. A pause of this is rare and needs no event.
            while stage.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if not turn.is_dropped:
                await self._try_alone(turn, stage)
            else:
                stage.start(turn)  # leaves its lane
            self._running_alone = None
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            stage.start(turn)
        self._on_release()

    async def _try_alone(self, turn: Turn, stage: Stage) -> None:
        starts = await self._patiently(lambda: self._memory.count(self._id(turn)))
        metrics.SUSPECTS.labels("alone").inc()
        turn.committed = asyncio.Event()
        if starts > MOST_DEATHS:
            self._log.error("a record has killed its worker", record=self._id(turn), deaths=starts - 1)
            stage.bury(turn, "kills_worker", f"its worker died {starts - 1} times while it ran alone")
        else:
            stage.start(turn)
        # Only what is committed is not counted again after the next one's death.
        while not turn.committed.is_set() and not turn.is_dropped:
            try:
                await asyncio.wait_for(turn.committed.wait(), LOOK_AGAIN_S)
            except TimeoutError:
                continue
        if not turn.committed.is_set():
            # Its partition was given away: it did not kill its worker.
            await self._patiently(lambda: self._memory.take_back(self._id(turn)))

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await ask()
            except Unavailable as away:
                metrics.UNAVAILABLE.inc()
                self._log.warning("the memory of suspects is away", reason=str(away))
                await asyncio.sleep(AGAIN_AFTER_S)

    def _id(self, turn: Turn) -> str:
        return f"{self._group} {turn.record.topic}/{turn.record.partition}/{turn.record.offset}"

    def _staged(self) -> Stage:
        if self.stage is None:
            raise RuntimeError("a quarantine needs its stage before it examines")
        return self.stage
