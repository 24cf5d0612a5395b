"""One plan from start to end: a stack, its services, load, faults, quiet, and what was seen of it all."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil

from headrace.chaos.administrators import Administrators
from headrace.chaos.counting import COUNTED_WITHIN_S, counted
from headrace.chaos.faults import Injector, until
from headrace.chaos.fleet import Fleet
from headrace.chaos.judge import judge
from headrace.chaos.live import make_live
from headrace.chaos.loads import LOADS, clocks
from headrace.chaos.loads.base import Answer, ExpectedRun, events_of
from headrace.chaos.loads.step_package import EXIT_CODE, install
from headrace.chaos.loads.waiting import may_time_out
from headrace.chaos.observations import CountsSeen, FaultSeen, GaveUpSeen, Observations, ProcessSeen
from headrace.chaos.operators import Operators, Wish
from headrace.chaos.plan import Plan, Target
from headrace.chaos.publishing import Publishing
from headrace.chaos.quiet import Quiet
from headrace.chaos.reading import read_dead_letters, read_deltas, read_jobs, read_runs, read_ticks, read_timers
from headrace.chaos.report import SeedReport
from headrace.chaos.server import Recorder
from headrace.chaos.system import System
from headrace.chaos.threads import now_us
from headrace.embedded import StackError
from headrace.installation import topic_specs
from headrace.service import EXIT_FAILED
from headrace.settings import Settings
from headrace.storage.inspection import Inspection, StoredRow, StoredRun
from headrace.streams.admin import make_topics

QUIET_DEADLINE_S = 180.0
"""A system that works comes to rest in some seconds. Longer takes what waits in a retry tier, and what was under way
when poison killed its worker: it runs alone, one record after the other, slow ones too."""

READY_TIMEOUT_S = 60.0
"""A service is ready in 2 s; six that start together on a loaded machine take more."""

RESTART_S = 1.0
"""A process that died is started again after this, as any supervisor would."""

WATCH_S = 0.1
"""How often is looked for processes that died."""

HEALTH_S = 5.0
"""How often is looked for processes that say that they are stalled: as a container's liveness probe does."""

ARRIVALS_S = 0.5
"""How often is looked for processes that have become ready: a request to each that has not yet."""

Tell = Callable[[str], None]


class Run:
    """The pieces of one run of a plan. Made, used and closed by `run_plan`."""

    def __init__(self, plan: Plan, system: System, recorder: Recorder, extra: Mapping[str, str]) -> None:
        directory = system.settings.state_dir
        self.plan = plan
        self.settings = system.settings
        self.recorder = recorder
        self.system = system
        path = install(directory / "steps")
        python_path = ":".join(part for part in (str(path.absolute()), extra.get("PYTHONPATH", "")) if part)
        ways = {target: way.environment for target, way in system.ways.items()}
        self.fleet = Fleet(self.settings, ways, {**extra, "PYTHONPATH": python_path}, directory / "logs")
        self.injector = Injector(system, self.fleet)
        self.events = [event for load in plan.loads for event in events_of(plan.seed, load)]
        redriven = [run for event in self.events for run in LOADS[event.load].expected(event) if run.redriven]
        self.operators = Operators(self.settings, plan.seed, redriven, self._wishes(), recorder.mend)
        has_clock = any(load.name == clocks.NAME for load in plan.loads)
        self.administrators = Administrators(self.settings, plan.orders, has_clock)
        self.quiet = Quiet(self.settings, recorder.count, self._people_are_busy)
        self.died: list[ProcessSeen] = []
        self.gave_up: list[GaveUpSeen] = []
        self.unconfirmed: frozenset[str] = frozenset()
        self.records = 0
        self.late: frozenset[str] = frozenset()
        self.counts: tuple[CountsSeen, ...] = ()
        self._deadly = any(LOADS[load.name].deadly for load in plan.loads)

    async def prepare(self) -> None:
        """Services ready, automations live."""
        self.fleet.start_all()
        for target in self.fleet.targets:
            await until(lambda target=target: self._is_ready(target), f"{target} to be ready", READY_TIMEOUT_S)
        self.fleet.arrived()
        names = [load.name for load in self.plan.loads]
        directory = self.settings.state_dir / "automations"
        make_live(directory, names, self.recorder.address, self.fleet.environment())

    def _people_are_busy(self) -> bool:
        return self.operators.is_busy or self.administrators.is_busy

    def _is_ready(self, target: Target) -> bool:
        if fallen := self.fleet.fallen():
            raise StackError(f"{fallen[0].target} {fallen[0].seen.what}")
        return self.fleet.ready(target)

    async def drive(self, deadline_s: float) -> bool:
        """Load and faults, then quiet: whether everything was done before the deadline."""
        works = (
            self._watch(),
            self._watch_arrivals(),
            self._look_at_health(),
            self.operators.work(),
            self.administrators.work(),
        )
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(work) for work in works]
        publishing = Publishing(self.settings, self.plan.hush)
        try:
            async with asyncio.TaskGroup() as group:
                for load in self.plan.loads:
                    group.create_task(publishing.run([event for event in self.events if event.load == load.name]))
                await self._faults()
                publishing.go_on()
            self.administrators.load_is_over()
            self.unconfirmed = await asyncio.to_thread(publishing.unconfirmed)
            self.records, self.late = publishing.records, publishing.late
            quiet = await self.quiet.wait(deadline_s, self._check(tasks))
            # While it is watched: what counts may have to be started again.
            within_s = min(COUNTED_WITHIN_S, deadline_s) if quiet else 0.0
            self.counts = await counted(self.settings, self.fleet, within_s)
        finally:
            publishing.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return quiet

    async def _faults(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for fault in self.plan.faults:
            await asyncio.sleep(max(0.0, began + fault.at - loop.time()))
            await self.injector.inject(fault)

    async def _look_at_health(self) -> None:
        """Writes down who says that it is stalled: an outage is no reason to be restarted, again and again."""
        known: set[ProcessSeen] = set()
        while True:
            await asyncio.sleep(HEALTH_S)
            found = set(await asyncio.to_thread(self.fleet.stalled))
            self.died += found - known
            known |= found

    async def _watch(self) -> None:
        """Starts again what died, and writes down why it may have."""
        while True:
            for fallen in self.fleet.fallen():
                by_poison = fallen.target.service == "orchestrator" and fallen.code in (EXIT_CODE, -9)
                if self._deadly and by_poison:
                    self.injector.seen.append(FaultSeen("poison", str(fallen.target), fallen.alive, fallen.at))
                elif fallen.target.service == "insights" and fallen.code == EXIT_FAILED and fallen.reason:
                    end = GaveUpSeen(str(fallen.target), fallen.seen.pid, fallen.alive, fallen.at, fallen.reason)
                    self.gave_up.append(end)
                else:
                    self.died.append(fallen.seen)
                await asyncio.sleep(RESTART_S)
                if fallen.target not in self.fleet.targets:
                    self.fleet.start(fallen.target)
            await asyncio.sleep(WATCH_S)

    async def _watch_arrivals(self) -> None:
        """Writes down who joins its group: what was under way on the partitions that it gets is done again."""
        while True:
            for target, began in await asyncio.to_thread(self.fleet.arrived):
                if target.service == "orchestrator":
                    self.injector.seen.append(FaultSeen("start", str(target), began, now_us()))
            await asyncio.sleep(ARRIVALS_S)

    @staticmethod
    def _check(tasks: "Sequence[asyncio.Task[None]]") -> Callable[[], None]:
        def check() -> None:
            for task in tasks:
                if task.done():
                    task.result()

        return check

    def _wishes(self) -> list[Wish]:
        asked = [(event, LOADS[event.load].cancelled_after_s(event)) for event in self.events]
        return [
            Wish(event.at + after, run.id)
            for event, after in asked
            if after is not None
            for run in LOADS[event.load].expected(event)
        ]

    def expected(self) -> tuple[ExpectedRun, ...]:
        """What must have come of the events, and of the clock's times until it was withdrawn."""
        runs = [
            may_time_out(run) if event.id in self.late else run
            for event in self.events
            for run in LOADS[event.load].expected(event)
        ]
        for clock in self.administrators.clocks:
            runs += [clocks.run_of(time) for time in clocks.times(clock.since, clock.until)]
        return tuple(runs)

    def uncertain(self) -> frozenset[str]:
        """Events that Kafka may not have, and the clock's last times, which may not have come before it was withdrawn:
        something may have come of them or not."""
        last = [
            clocks.tick_id(time)
            for clock in self.administrators.clocks
            for time in clocks.times(clock.sure_until, clock.until)
        ]
        return self.unconfirmed.union(last)


def run_plan(
    plan: Plan,
    asked: Settings,
    directory: Path,
    *,
    extra: Mapping[str, str] | None = None,
    deadline_s: float = QUIET_DEADLINE_S,
    tell: Tell = lambda _: None,
) -> SeedReport:
    """Does the plan on a fresh stack in `directory` and judges it.

    `extra` is added to the environment of every service. Call it in the main thread and outside an event loop. All that
    was started has ended when it returns or raises; the data stay. Raises StackError, and PartStaysAway.
    """
    began = time.monotonic()
    answers: dict[str, Answer] = {}
    for load in plan.loads:
        answers |= LOADS[load.name].answers
    with ExitStack() as closing:
        recorder = Recorder(answers)
        closing.callback(recorder.close)
        recorder.start()
        system = closing.enter_context(System(asked, directory, plan.proxied, tell))
        parts = system.pids
        make_topics(system.settings.kafka, topic_specs(system.settings))
        run = Run(plan, system, recorder, extra or {})
        closing.callback(run.fleet.stop)
        tell("services: starting")
        quiet, stored = asyncio.run(_execute(run, deadline_s, tell))
        seen = _topics(run, quiet, stored)
    leaked = [*run.fleet.leaked(), *_living(parts)]
    findings = judge(_with(seen, leaked))
    return SeedReport.of(plan, seen, findings, run.quiet, run.records, len(run.events), time.monotonic() - began)


class _Stored(NamedTuple):
    runs: Sequence[StoredRun]
    rows: Sequence[StoredRow]
    open_heads: Sequence[str]


async def _execute(run: Run, deadline_s: float, tell: Tell) -> tuple[bool, _Stored]:
    await run.prepare()
    tell(f"load and faults: {run.plan.seconds:.0f} s")
    quiet = await run.drive(deadline_s)
    tell(f"quiet after {run.quiet.seconds:.1f} s" if quiet else f"not quiet: lag {run.quiet.lags()}")
    inspection = Inspection(run.settings)
    try:
        return quiet, _Stored(await inspection.runs(), await inspection.rows(), await inspection.open_heads())
    finally:
        inspection.close()


def _topics(run: Run, quiet: bool, stored: _Stored) -> Observations:
    return Observations(
        expected=run.expected(),
        uncertain=run.uncertain(),
        jobs=tuple(read_jobs(run.settings)),
        runs=tuple(read_runs(run.settings)),
        dead_letters=tuple(read_dead_letters(run.settings)),
        stored_runs=tuple(stored.runs),
        rows=tuple(stored.rows),
        calls=tuple(run.recorder.calls()),
        never_twice=frozenset(path for load in run.plan.loads for path in LOADS[load.name].never_twice),
        faults=tuple(run.injector.seen),
        after_faults=run.quiet.at_start,
        at_end=run.quiet.at_end,
        quiet=quiet,
        timers=tuple(read_timers(run.settings)),
        open_heads=tuple(stored.open_heads),
        cancels=tuple(run.operators.cancels),
        redrives=run.operators.redrives,
        pauses=tuple(pause for load in run.plan.loads for pause in LOADS[load.name].pauses),
        recalls=tuple(run.administrators.recalls),
        holds=tuple(run.administrators.holds),
        clocks=tuple(run.administrators.clocks),
        ticks=tuple(read_ticks(run.settings)),
        deltas=tuple(read_deltas(run.settings)),
        counts=run.counts,
        died=tuple(run.died),
        gave_up=tuple(run.gave_up),
    )


def _with(seen: Observations, leaked: Sequence[ProcessSeen]) -> Observations:
    return replace(seen, leaked=tuple(leaked))


def _living(pids: Sequence[int]) -> list[ProcessSeen]:
    """The platform's parts that outlived their end."""
    return [ProcessSeen("a part of the platform", pid, "still runs") for pid in pids if psutil.pid_exists(pid)]
