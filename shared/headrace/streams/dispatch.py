"""From records to finished turns: lanes, limits and blocked partitions. All of it runs in the event loop's thread."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from headrace.streams import metrics
from headrace.streams.config import StreamConfig
from headrace.streams.errors import Unavailable
from headrace.streams.lanes import Lanes
from headrace.streams.ledgers import Ledgers
from headrace.streams.records import Outgoing, Partition, Record
from headrace.streams.transactions import DeadLetter
from headrace.streams.turns import Handler, Turn

MOST_IN_LANE = 1_000
"""More waiting in one lane pause their partition until the lane is below it again. The order of a key is promised, so
its records cannot go elsewhere; that its neighbours wait with it is the price, and a metric counts it."""

RESUME_AFTER_S = 1.0
"""Between tries while a platform part is away: soon enough to go on by itself, rare enough not to add load."""


class Gate(Protocol):
    """Decides whether a turn whose lane is free may start now; one it keeps it starts itself, later."""

    def keeps(self, turn: Turn) -> bool:
        """Whether `turn` has to wait; then the gate calls `Dispatcher.start` again when it need not."""
        ...


class Dispatcher:
    """Admits records, gives each its turn in its lane, and hands finished turns to `finished`."""

    def __init__(
        self,
        config: StreamConfig,
        handler: Handler,
        dead_letter: DeadLetter,
        ledgers: Ledgers,
        finished: Callable[[Turn], None],
        examine: Callable[[Turn], bool],
    ) -> None:
        self._config = config
        self._handler = handler
        self._dead_letter = dead_letter
        self._ledgers = ledgers
        self._finished = finished
        self._examine = examine
        width = config.width
        self._lanes: Lanes[Turn] = Lanes() if width is None else Lanes(lambda turn: width(turn.record))
        self._backlogs: dict[Partition, deque[tuple[Record, int]]] = {}
        self._timers: set[Partition] = set()
        self._startable: deque[Turn] = deque()
        self._is_starting = False
        self._kept: list[Turn] = []
        self._running = 0
        self._in_flight = 0
        self._rank_of = config.ranks
        self._most = [int(config.max_in_flight * share) for share in config.shares]
        self._held = [0] * len(self._most)
        """In flight, by rank."""
        self._bytes = 0
        self._is_suspended = False
        self.gate: Gate | None = None
        self.handler_s = 0.0
        """Seconds spent in the handler, coroutines left out; for whoever counts it to set back."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when there may be room again, or a blocked partition may go on."""
        self._log = structlog.get_logger().bind(group=config.group)

    @property
    def room(self) -> int:
        """How many records may be offered now."""
        if self._is_suspended or self._bytes >= self._config.max_in_flight_bytes:
            return 0
        return self._config.max_in_flight - self._in_flight

    @property
    def rooms(self) -> Sequence[int]:
        """The same by rank: so that what waits for others in one rank leaves room for the others."""
        return [most - held for most, held in zip(self._most, self._held, strict=True)]

    @property
    def running(self) -> int:
        """How many coroutines are under way."""
        return self._running

    @property
    def blocked(self) -> frozenset[Partition]:
        """Partitions that should not be fetched now."""
        return frozenset(self._backlogs)

    def offer(self, record: Record, epoch: int) -> None:
        """Admits a record, or keeps it until its partition is no longer blocked."""
        backlog = self._backlogs.get(record[:2])
        if backlog is not None:
            backlog.append((record, epoch))
        elif not self._admit(record, epoch):
            self._backlogs[record[:2]] = deque(((record, epoch),))

    def unblock(self) -> None:
        """Admits what was kept, as far as it can be by now."""
        for partition in list(self._backlogs):
            backlog = self._backlogs[partition]
            while backlog and self.room > 0 and self._admit(*backlog[0]):
                backlog.popleft()
            if not backlog:
                del self._backlogs[partition]

    def enter(self, turn: Turn) -> None:
        """Puts an admitted turn into its lane."""
        if self._lanes.enter(turn.lane, turn):
            self.start(turn)

    def start(self, turn: Turn) -> None:
        """The turn has its lane: it runs now, or when nothing forbids it any more."""
        # A queue, not a recursion: a lane may hold a thousand that end at once.
        self._startable.append(turn)
        if self._is_starting:
            return
        self._is_starting = True
        try:
            while self._startable:
                self._begin(self._startable.popleft())
        finally:
            self._is_starting = False

    def settle(self, turns: Iterable[Turn]) -> None:
        """These turns need nothing more: they are committed, or nobody waits for them."""
        for turn in turns:
            if not turn.is_settled:
                turn.is_settled = True
                self._in_flight -= 1
                self._held[self._rank_of.get(turn.record.topic, 0)] -= 1
                self._bytes -= turn.size
        metrics.IN_FLIGHT.set(self._in_flight)

    def drop(self, turns: Iterable[Turn], partitions: Mapping[Partition, int]) -> None:
        """The partitions are lost: what waits is forgotten, what runs is cancelled."""
        turns = list(turns)
        for turn in turns:
            turn.is_dropped = True
            if turn.task is not None:
                turn.task.cancel()
        self._lanes.drop(lambda turn: turn.is_dropped)
        for partition, epoch in partitions.items():
            backlog = self._backlogs.get(partition)
            if backlog is not None:
                left = deque(item for item in backlog if item[1] != epoch)
                self._backlogs[partition] = left
                if not left:
                    del self._backlogs[partition]
        self.settle(turn for turn in turns if turn.began is None or turn.task is not None)

    def _admit(self, record: Record, epoch: int) -> bool:
        """False where its partition is blocked by it for now."""
        delay = self._config.delays.get(record.topic)
        if delay is not None and (wait := record.timestamp_ms / 1000 + delay - time.time()) > 0:
            if record[:2] not in self._timers:
                self._timers.add(record[:2])
                asyncio.get_running_loop().call_later(wait, self._is_due, record[:2])
            return False
        turn = Turn(record, epoch)
        if self._lanes.waiting(turn.lane) >= MOST_IN_LANE:
            metrics.LANES_OVERFULL.inc()
            return False
        reading = self._ledgers.read(turn)
        if reading != "read":
            return reading != "full"
        self._in_flight += 1
        self._held[self._rank_of.get(record.topic, 0)] += 1
        self._bytes += turn.size
        if not self._examine(turn):
            self.enter(turn)
        return True

    def _is_due(self, partition: Partition) -> None:
        self._timers.discard(partition)
        self.on_change()

    def _begin(self, turn: Turn) -> None:
        if turn.is_dropped:
            self._leave(turn)
            return
        if self._is_suspended:
            self._kept.append(turn)
            return
        if self.gate is not None and self.gate.keeps(turn):
            return
        turn.began = time.monotonic()
        began = time.perf_counter()
        try:
            made = self._handler(turn.record, turn)
            self.handler_s += time.perf_counter() - began
        except Unavailable as away:
            self._suspend(turn, away)
        except Exception as bug:  # noqa: BLE001 - a bug must cost one record, not the stream; it is logged and kept
            self._end(turn, self._buried(turn, bug))
        else:
            if isinstance(made, Iterable):
                self._end(turn, made)
            else:
                self._running += 1
                turn.task = asyncio.get_running_loop().create_task(made)
                # Not in a coroutine around it: one that is cancelled before its first step never comes to any line.
                turn.task.add_done_callback(lambda task: self._ran(turn, task))

    def _ran(self, turn: Turn, task: "asyncio.Task[Sequence[Outgoing]]") -> None:
        self._running -= 1
        if task.cancelled():
            if turn.is_dropped:
                self._leave(turn)
            else:
                self._end(turn, self._buried(turn, RuntimeError("cancelled by itself")))
        elif (error := task.exception()) is None:
            turn.task = None
            self._end(turn, task.result())
        elif isinstance(error, Unavailable):
            turn.task = None
            self._suspend(turn, error)
        else:
            turn.task = None
            self._end(turn, self._buried(turn, error))
        self.on_change()

    def _end(self, turn: Turn, outputs: Sequence[Outgoing]) -> None:
        if not turn.is_dropped:
            made = sum(len(output.value or b"") for output in outputs)
            turn.outputs = outputs
            turn.size += made
            self._bytes += made
            self._finished(turn)
        self._leave(turn)

    def _leave(self, turn: Turn) -> None:
        for following in self._lanes.leave(turn.lane):
            self.start(following)

    def bury(self, turn: Turn, type: str, message: str) -> None:
        """Ends a turn that has its lane as a dead letter, without running it."""
        metrics.DEAD_LETTERS.labels(type).inc()
        self._end(turn, [self._dead_letter(turn.record, type, message)])

    def _buried(self, turn: Turn, bug: BaseException) -> Sequence[Outgoing]:
        record = turn.record
        self._log.error(
            "handler failed", topic=record.topic, partition=record.partition, at=record.offset, exc_info=bug
        )
        metrics.DEAD_LETTERS.labels("internal_error").inc()
        turn.tally = None
        return [self._dead_letter(record, "internal_error", f"a bug in the service: {type(bug).__name__}")]

    def _suspend(self, turn: Turn, away: Unavailable) -> None:
        turn.began = None
        self._kept.append(turn)
        if self._is_suspended:
            return
        self._is_suspended = True
        metrics.UNAVAILABLE.inc()
        self._log.warning("platform part away, intake stopped", reason=str(away))
        asyncio.get_running_loop().call_later(RESUME_AFTER_S, self._resume)

    def _resume(self) -> None:
        self._is_suspended = False
        kept, self._kept = self._kept, []
        for turn in kept:
            self.start(turn)
        self.on_change()
