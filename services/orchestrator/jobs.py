"""A batch of jobs to their run records: runs that never wait are executed straight away, the others together."""

import asyncio
from collections import Counter as TallyCounter
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime

from prometheus_client import Counter

from headrace.contracts.cloudevents import Location
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, read_job
from headrace.contracts.runs import RunStatus
from headrace.contracts.topics import RUNS
from headrace.engine import Orchestrator, Outcome, Plan, Started, StepCrashed, encode_record
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.streams import Outgoing, Record
from services.orchestrator.plans import Plans, UnusablePlan

RUNS_MADE = Counter("headrace_runs_total", "Runs executed, by status", ["status"])
ACTIVE_SECONDS = Counter("headrace_run_active_seconds_total", "Seconds from start to end of all runs")


class JobRunner:
    """The runtime's handler. Jobs of one key start in their order, one after the other; keys run side by side."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        plans: Plans,
        orchestrator: Orchestrator,
        dead_letter: DeadLetterWriter,
    ) -> None:
        self._loop = loop
        self._plans = plans
        self._orchestrator = orchestrator
        self._dead_letter = dead_letter
        self._statuses: TallyCounter[RunStatus] = TallyCounter()
        self._active_s = 0.0
        self._runs = RUNS.full_name(settings.prefix)

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """For each job its run record and publications, or the dead letter that says why it has none.

        Raises Unavailable; then all of the batch is executed again, under the same step keys.
        """
        self._statuses.clear()
        self._active_s = 0.0
        outputs: list[list[Outgoing]] = [[] for _ in records]
        lanes: dict[bytes | None, list[tuple[int, Started]]] = {}
        for index, record in enumerate(records):
            try:
                started = _started(record)
            except ContractError as error:
                outputs[index] = [self._dead_letter(record, error.type, error.message)]
            else:
                lanes.setdefault(record.key, []).append((index, started))
        waiting: list[list[tuple[int, Started]]] = []
        for lane in lanes.values():
            if not self._at_once(lane, records, outputs):
                waiting.append(lane)
        if waiting:
            self._loop.run(self._side_by_side(waiting, records, outputs))
        # Counted once a batch: a metric's increment takes a lock.
        for status, count in self._statuses.items():
            RUNS_MADE.labels(status).inc(count)
        ACTIVE_SECONDS.inc(self._active_s)
        return outputs

    def _at_once(
        self, lane: list[tuple[int, Started]], records: Sequence[Record], outputs: list[list[Outgoing]]
    ) -> bool:
        """Executes a lane of runs that never wait, without a task switch; False if it holds another."""
        plans = [self._plans.cached(started.job) for _, started in lane]
        if any(plan is None or plan.awaits for plan in plans):
            return False
        for (index, started), plan in zip(lane, plans, strict=True):
            if plan is not None:
                outputs[index] = _driven(self._execute(plan, started, records[index]))
        return True

    async def _side_by_side(
        self, lanes: list[list[tuple[int, Started]]], records: Sequence[Record], outputs: list[list[Outgoing]]
    ) -> None:
        work = (self._in_order(lane, records, outputs) for lane in lanes)
        # All lanes come to their end before the batch is given up: none is cancelled in the middle of an effect.
        for end in await asyncio.gather(*work, return_exceptions=True):
            if end is not None:
                raise end

    async def _in_order(
        self, lane: list[tuple[int, Started]], records: Sequence[Record], outputs: list[list[Outgoing]]
    ) -> None:
        for index, started in lane:
            try:
                plan = self._plans.cached(started.job) or await self._plans.load(started.job)
            except UnusablePlan as error:
                outputs[index] = [self._dead_letter(records[index], error.type, error.message)]
            else:
                outputs[index] = await self._execute(plan, started, records[index])

    async def _execute(self, plan: Plan, started: Started, record: Record) -> list[Outgoing]:
        try:
            outcome = await self._orchestrator.execute(plan, started)
        except StepCrashed as crash:
            return [self._dead_letter(record, crash.type, crash.message)]
        self._statuses[outcome.record["status"]] += 1
        self._active_s += outcome.record["duration_ms"] / 1000
        return self._outgoing(started.job, outcome)

    def _outgoing(self, job: Job, outcome: Outcome) -> list[Outgoing]:
        made = [Outgoing(self._runs, job.run_id.encode(), encode_record(outcome.record))]
        made += [Outgoing(each.topic, each.key, each.value, each.headers) for each in outcome.publications]
        return made


def _started(record: Record) -> Started:
    job = read_job(record.value)
    location = Location(record.topic, record.partition, record.offset)
    return Started(job, location, datetime.fromtimestamp(record.timestamp_ms / 1000, UTC))


def _driven(execution: Coroutine[object, None, list[Outgoing]]) -> list[Outgoing]:
    try:
        execution.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a plan that promised never to wait has waited")
