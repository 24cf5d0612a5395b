"""The concurrent shape: one handler call a record, ordered per key, thousands of them waiting at a time.

Three threads. The polling thread reads (`Intake`). The event loop admits records, gives each its turn in its lane and
runs the handler (`Dispatcher`, `Quarantine`). The committing thread turns finished turns into transactions
(`TransactionCycle`), whatever order they finish in (`Ledgers`), while the loop goes on.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial

import structlog
from confluent_kafka import Consumer, Producer

from headrace.streams import metrics
from headrace.streams.commit_metadata import CommitPoint
from headrace.streams.config import GroupMemory, StreamConfig, SuspectMemory, consumer_properties, producer_properties
from headrace.streams.dispatch import Dispatcher
from headrace.streams.intake import Intake
from headrace.streams.ledgers import Ledgers
from headrace.streams.memory import CommittedPartitions
from headrace.streams.outbox import Outbox, Taken
from headrace.streams.quarantine import Quarantine
from headrace.streams.records import Outcome, Partition, Summarise, no_summary
from headrace.streams.transactions import DeadLetter, TransactionCycle
from headrace.streams.turns import Handler, Turn

PUMP_RECORDS = 500
"""Records handled before coroutines get their turn again: some 20 ms of work that never waits."""

HAND_OVER_AFTER_S = 60.0
"""A record that holds its partition back for longer is asked to go on later: twice a step's usual time-out."""

WATCH_S = 1.0
"""How often that is looked at."""

REVOKE_GRACE_S = 1.0
"""What runs gets this long to end by itself when its partition is given away; the callback may wait 5 s in all."""

DRAIN_S = 10.0
"""The same when the process ends: within the 30 s that an orchestrator of containers leaves by default."""


class ConcurrentProcessor:
    """Runs a handler over a stream, one record a call: every outcome is produced, and its offset committed, once.

    `run_in_loop` runs a coroutine to its end in the process's event loop. `memory` is never called in the loop's
    thread once that runs; `suspects` always is. `summarise` makes what is produced once a transaction.
    """

    def __init__(
        self,
        config: StreamConfig,
        handler: Handler,
        dead_letter: DeadLetter,
        memory: GroupMemory,
        suspects: SuspectMemory,
        run_in_loop: Callable[[Coroutine[object, object, None]], None],
        summarise: Summarise = no_summary,
    ) -> None:
        self._config = config
        self._run_in_loop = run_in_loop
        self._stop = threading.Event()
        self._committed_before = CommittedPartitions(memory, self._stop)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_pump_due = False
        self._is_flush_due = False
        self._is_draining = False
        self._beat = time.monotonic()
        self._busy_since: float | None = None
        self._ledgers = Ledgers(config.max_in_flight)
        self._outbox = Outbox(config.max_batch, config.max_batch_bytes)
        self._quarantine = Quarantine(config.group, suspects, self._spawn, self._pump_soon)
        self._dispatcher = Dispatcher(
            config, handler, dead_letter, self._ledgers, self._finished, self._quarantine.examine
        )
        self._dispatcher.gate = self._quarantine
        self._dispatcher.on_change = self._pump_soon
        self._quarantine.stage = self._dispatcher
        self._intake = Intake(
            Consumer(consumer_properties(config)),
            config.group,
            config.topics,
            self._committed_before.__contains__,
            # Twice what may be in flight: a buffer that fills up pauses, and a pause throws away what the client has
            # fetched ahead. With a quarter of it work A was a quarter slower.
            capacity=2 * config.max_in_flight,
            capacity_bytes=2 * config.max_batch_bytes,
            listener=self,
            ranks=config.ranks,
        )
        self._cycle = TransactionCycle(
            lambda: Producer(producer_properties(config)), self._intake, dead_letter, self._stop, summarise
        )
        self._is_over = False
        self._no_more_commits = asyncio.Event()
        self._late_failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._committer = threading.Thread(target=self._commit_all, name="committer", daemon=True)
        self._log = structlog.get_logger().bind(group=config.group)

    @property
    def ready(self) -> bool:
        """Whether it has joined its group and got partitions at least once."""
        return self._intake.joined.is_set()

    def stalled_s(self) -> float:
        """Seconds since the poll loop, the event loop or a commit last made progress: liveness is progress."""
        now, busy = time.monotonic(), self._busy_since
        busy_s = 0.0 if busy is None else now - max(busy, self._cycle.asked_at)
        return max(now - self._intake.last_beat, now - self._beat, busy_s)

    def stop(self) -> None:
        """Asks `run` to let what is under way finish, commit it and leave the group. Callable from a signal handler."""
        self._stop.set()
        self._call(self._end_run)

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed when the stream cannot go on."""
        self._committed_before.load()
        self._cycle.prepare()
        if not self._stop.is_set():
            self._run_in_loop(self._main())

    # The polling thread's events (intake.Listener).

    def assigned(self, partition: Partition, epoch: int, committed: CommitPoint | None) -> None:
        """A partition came."""
        self._ledgers.assigned(partition, epoch, committed)

    def revoking(self, partitions: Mapping[Partition, int], wait_s: float) -> None:
        """Lets what is under way there end, and commits it, as far as the time allows."""
        if not self._is_over:
            done = threading.Event()
            self._call(lambda: self._spawn(self._let_go(partitions, REVOKE_GRACE_S, done)))
            done.wait(wait_s)

    def lost(self, partitions: Mapping[Partition, int]) -> None:
        """Whatever is left there is forgotten and cancelled."""
        turns = self._ledgers.drop(partitions)
        self._call(lambda: self._dispatcher.drop(turns, partitions))

    def available(self) -> None:
        """There are records."""
        self._call(self._pump_soon)

    # The event loop.

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._spawn(self._watch())
        self._intake.start()
        self._committer.start()
        if self._stop.is_set():
            self._end_run()
        try:
            await self._ended
            self._is_draining = True
            await self._let_go(self._ledgers.epochs(), DRAIN_S, threading.Event())
        finally:
            self._is_draining = True
            # Whatever waits for Kafka in the committing thread gives up after some tries.
            self._stop.set()
            for task in tuple(self._tasks):
                task.cancel()
            self._outbox.close()
            await asyncio.to_thread(self._committer.join)
            self._is_over = True
            await asyncio.to_thread(self._intake.close)
            self._cycle.close()
            self._loop = None
        if self._late_failure is not None:
            raise self._late_failure

    def _end_run(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
        else:
            self._late_failure = self._late_failure or error

    def _call(self, work: Callable[[], object]) -> None:
        """In the loop's thread, soon; nothing once the loop has ended."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._safely, work)

    def _safely(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it ends the run, with its traceback
            self._fail(error)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _pump_soon(self) -> None:
        if not self._is_pump_due and not self._is_draining and self._loop is not None:
            self._is_pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Takes what there is room for, and gives it its turn."""
        self._is_pump_due = False
        if not self._is_draining:
            self._safely(self._take)

    def _take(self) -> None:
        dispatcher, quarantine = self._dispatcher, self._quarantine
        if not quarantine.is_closed:
            dispatcher.unblock()
        room = 0 if quarantine.is_closed else dispatcher.room
        more = False
        if room > 0:
            most = min(room, PUMP_RECORDS)
            batch = self._intake.take(most, self._config.max_batch_bytes, 0, dispatcher.rooms)
            for record, epoch in batch.records:
                dispatcher.offer(record, epoch)
            quarantine.examine_now()
            if batch.records:
                metrics.HANDLER_SECONDS.observe(dispatcher.handler_s)
                dispatcher.handler_s = 0.0
            more = bool(batch.records)
            if batch.positions:
                self._advance(batch.positions)
        blocked = dispatcher.blocked
        self._intake.hold(blocked)
        metrics.BLOCKED.set(len(blocked))
        if more:
            self._outbox.flush_if_late()
            self._pump_soon()
        else:
            self._outbox.flush()

    def _advance(self, positions: Mapping[Partition, tuple[int, int]]) -> None:
        blocked = self._dispatcher.blocked
        self._ledgers.advance({each: at for each, at in positions.items() if each not in blocked})
        if self._ledgers.have_moved:
            self._outbox.nudge()

    def _finished(self, turn: Turn) -> None:
        self._outbox.put(turn)
        if not self._is_flush_due and not self._is_pump_due and self._loop is not None:
            # Whatever else ends in this round of the loop goes with it.
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if not self._is_pump_due:
            self._outbox.flush()

    async def _let_go(self, partitions: Mapping[Partition, int], grace_s: float, done: threading.Event) -> None:
        """What runs there may end within `grace_s`, what waits is left to the next owner, what ended is committed."""
        turns = self._ledgers.close(partitions)
        for turn in turns:
            turn.is_dropped = turn.is_dropped or turn.began is None
        running = {turn.task: turn for turn in turns if turn.task is not None}
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                running[task].is_dropped = True
                task.cancel()
        committed = asyncio.Event()
        self._outbox.nudge(committed)
        waits = [asyncio.ensure_future(each.wait()) for each in (committed, self._no_more_commits)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        done.set()

    async def _watch(self) -> None:
        """Looks at what holds each partition back."""
        while True:
            self._beat = now = time.monotonic()
            for turn in self._ledgers.oldest():
                held = 0.0 if turn.began is None else now - turn.began
                metrics.HEAD_OF_LINE.labels(turn.record.topic).set(held)
                if held > HAND_OVER_AFTER_S and not turn.hand_over:
                    turn.hand_over = True
                    metrics.HAND_OVERS.inc()
                    topic, partition, offset = turn.record[:3]
                    self._log.warning("holds its partition back", topic=topic, partition=partition, at=offset)
            await asyncio.sleep(WATCH_S)

    # The committing thread.

    def _commit_all(self) -> None:
        try:
            while (taken := self._outbox.take()) is not None:
                self._busy_since = time.monotonic()
                is_decided = self._commit(taken.turns)
                self._busy_since = None
                self._call(partial(self._committed, taken, is_decided))
        except Exception as error:  # noqa: BLE001 - it ends the run, with its traceback
            self._call(lambda error=error: self._fail(error))
        finally:
            self._call(self._no_more_commits.set)

    def _commit(self, turns: Sequence[Turn]) -> bool:
        """False if it was asked to stop before the fate of all was decided."""
        outcomes = [Outcome(turn.record, turn.epoch, turn.outputs, turn.tally) for turn in turns]
        if outcomes:
            metrics.BATCH_RECORDS.observe(len(outcomes))
        is_decided = self._cycle.commit(outcomes, self._ledgers)
        self._committed_before.add(self._cycle.reached)
        return is_decided

    def _committed(self, taken: Taken, is_decided: bool) -> None:
        self._dispatcher.settle(taken.turns)
        if is_decided:  # else the next owner reads them again, and their marks must still be there
            self._quarantine.committed(taken.turns)
        for barrier in taken.barriers:
            barrier.set()
        if self._ledgers.have_moved:
            self._outbox.nudge()
        self._pump_soon()
