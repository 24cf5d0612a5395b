"""A job to its run record: at once where the run never waits, under a claim where it has effects."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import get_args
from uuid import uuid4

from prometheus_client import Counter

from headrace.contracts.cloudevents import Location
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, next_segment, read_job
from headrace.contracts.runs import RunStatus
from headrace.contracts.topics import RETRIES, RUNS
from headrace.engine import (
    Claim,
    Journal,
    Orchestrator,
    Outcome,
    OwnershipLost,
    Plan,
    PlatformUnavailable,
    RunHeads,
    Started,
    StepCrashed,
    encode_record,
)
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record, Turn, Unavailable
from services.orchestrator.plans import Plans, UnusablePlan

RUNS_MADE = Counter("headrace_runs_total", "Runs executed, by status", ["status"])
ACTIVE_SECONDS = Counter("headrace_run_active_seconds_total", "Seconds from start to end of all runs")
CLAIMS = Counter("headrace_run_claims_total", "Claims of runs with effects, by what they found", ["standing"])


RECLAIM_AFTER_S = 0.1
RECLAIM_AT_MOST_S = 2.0
"""Between claims of a run that was lost: a worker that has no right to it learns so within a poll, and is cancelled."""


class JobRunner:
    """The runtime's handler. Redelivered jobs replay what their run's journal knows."""

    def __init__(
        self,
        settings: Settings,
        plans: Plans,
        orchestrator: Orchestrator,
        heads: RunHeads,
        dead_letter: DeadLetterWriter,
    ) -> None:
        self._plans = plans
        self._orchestrator = orchestrator
        self._heads = heads
        self._dead_letter = dead_letter
        self._runs = RUNS.full_name(settings.prefix)
        self._first_retry = RETRIES[min(RETRIES)].full_name(settings.prefix)
        # Looked up once: a label's look-up takes a lock, and as long as the increment.
        self._made = {status: RUNS_MADE.labels(status) for status in get_args(RunStatus)}
        self._worker = uuid4().hex
        self._claims = count(1)

    def __call__(
        self, record: Record, turn: Turn
    ) -> Sequence[Outgoing] | Coroutine[object, object, Sequence[Outgoing]]:
        """The job's run record and publications, or the dead letter that says why it has none."""
        try:
            started = _started(record)
        except ContractError as error:
            return [self._dead_letter(record, error.type, error.message)]
        plan = self._plans.cached(started.job)
        if plan is None or plan.awaits or plan.has_effects:
            return self._execute_later(plan, started, record, turn)
        return _driven(self._execute(plan, started, record))

    async def _execute_later(self, plan: Plan | None, started: Started, record: Record, turn: Turn) -> list[Outgoing]:
        try:
            plan = plan or await self._plans.load(started.job)
            if plan.has_effects:
                return await self._execute_owned(plan, started, record, turn)
            return await self._execute(plan, started, record)
        except UnusablePlan as error:
            return [self._dead_letter(record, error.type, error.message)]
        except PlatformUnavailable as away:
            raise Unavailable(str(away)) from away

    async def _execute_owned(self, plan: Plan, started: Started, record: Record, turn: Turn) -> list[Outgoing]:
        """Nothing for a duplicate or a stale copy: whoever owns the run makes its record.

        Whoever loses the run claims it again. It may have been taken by a worker that woke from a long stop and has not
        learnt yet that the partition is no longer its own: if we gave the run up, nobody would make its record. If it
        is we who lost the partition, Kafka refuses our outcome.
        """
        job = started.job
        source = Location(job.cause.topic, job.cause.partition, job.cause.offset)
        wait = RECLAIM_AFTER_S
        while True:
            owner = f"{self._worker}/{turn.epoch}/{next(self._claims)}"
            claim = Claim(job.run_id, source, started.location, job.generation, job.segment, owner)
            claimed = await self._heads.claim(claim)
            CLAIMS.labels(claimed.standing).inc()
            if claimed.standing in ("duplicate", "stale"):
                return []
            journal = Journal(self._heads, claim, claimed.journal, restart=job.restart, unsent=job.unsent)
            try:
                return await self._execute(plan, started, record, journal, turn)
            except OwnershipLost:
                CLAIMS.labels("lost").inc()
            await asyncio.sleep(wait)
            wait = min(2 * wait, RECLAIM_AT_MOST_S)

    async def _execute(
        self, plan: Plan, started: Started, record: Record, journal: Journal | None = None, turn: Turn | None = None
    ) -> list[Outgoing]:
        try:
            if journal is None or turn is None:
                outcome = await self._orchestrator.execute(plan, started)
            else:
                outcome = await self._orchestrator.execute(plan, started, journal, lambda: turn.hand_over)
        except StepCrashed as crash:
            return [self._dead_letter(record, crash.type, crash.message)]
        self._made[outcome.record["status"]].inc()
        ACTIVE_SECONDS.inc(outcome.record["duration_ms"] / 1000)
        made = self._outgoing(started.job, record, outcome)
        if outcome.gave_up_on is not None:
            failed = outcome.gave_up_on
            made.append(self._dead_letter.of_outcome(record, failed["type"], failed["message"], started.job))
        return made

    def _outgoing(self, job: Job, record: Record, outcome: Outcome) -> list[Outgoing]:
        made = [Outgoing(self._runs, job.run_id.encode(), encode_record(outcome.record))]
        made += [Outgoing(each.topic, each.key, each.value, each.headers) for each in outcome.publications]
        if outcome.is_handed_over:
            made.append(Outgoing(self._first_retry, record.key, next_segment(job), record.headers))
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
