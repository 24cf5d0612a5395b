"""A job to its run record: at once where the run never waits, under a claim where it has effects."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple
from uuid import uuid4

from prometheus_client import Counter

from headrace.contracts.cloudevents import Location
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, read_job
from headrace.contracts.resumptions import RESUMES_HEADER, Resumption, read_resumption
from headrace.contracts.runs import FINAL_STATUSES
from headrace.contracts.topics import RUNS
from headrace.engine import (
    Claim,
    HandOver,
    Hold,
    Journal,
    Leave,
    Orchestrator,
    Outcome,
    OwnershipLost,
    Plan,
    PlatformUnavailable,
    Postpone,
    RunHeads,
    Started,
    StepCrashed,
    encode_record,
    end_for_caller,
    end_of,
    no_run_for_caller,
    reply_of,
    reply_without_run,
)
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record, Turn, Unavailable
from services.orchestrator.cancellations import Cancellations
from services.orchestrator.continuations import Continuations
from services.orchestrator.counts import RUN_COUNTS
from services.orchestrator.limits import Limits
from services.orchestrator.listeners import Listeners
from services.orchestrator.pauses import Pauses
from services.orchestrator.plans import Plans, UnusablePlan
from services.orchestrator.rates import Rates
from services.orchestrator.stats import tally

CLAIMS = Counter("headrace_run_claims_total", "Claims of runs with effects, by what they found", ["standing"])


RECLAIM_AFTER_S = 0.1
RECLAIM_AT_MOST_S = 2.0
"""Between claims of a run that was lost: a worker that has no right to it learns so within a poll, and is cancelled."""


class Wish(NamedTuple):
    """The segment of a run that a record asks for, its event's place and the record's own."""

    segment: Job | Resumption
    source: Location
    location: Location


class JobRunner:
    """The runtime's handler. Redelivered jobs replay what their run's journal knows."""

    def __init__(
        self,
        settings: Settings,
        plans: Plans,
        orchestrator: Orchestrator,
        heads: RunHeads,
        dead_letter: DeadLetterWriter,
        listeners: Listeners,
        cancellations: Cancellations,
        limits: Limits,
        pauses: Pauses,
    ) -> None:
        self._plans = plans
        self._orchestrator = orchestrator
        self._heads = heads
        self._dead_letter = dead_letter
        self._listeners = listeners
        self._cancellations = cancellations
        self._limits = limits
        self._pauses = pauses
        self._rates = Rates()
        self._prefix = settings.prefix
        self._max_chain = settings.max_chain
        self._runs = RUNS.full_name(settings.prefix)
        self._next = Continuations(settings, dead_letter)
        self._worker = uuid4().hex
        self._claims = count(1)

    def __call__(
        self, record: Record, turn: Turn
    ) -> Sequence[Outgoing] | Coroutine[object, object, Sequence[Outgoing]]:
        """The job's run record and publications, or the dead letter that says why it has none."""
        if record.headers and any(name == RESUMES_HEADER for name, _ in record.headers):
            return self._reaching(record, self._resume(record, turn))
        try:
            started = _started(record)
        except ContractError as error:
            return [self._dead_letter(record, error.type, error.message)]
        if self._limits.rates and (start := self._start(started, record)) is not None:
            return self._run_then(start, started, record, turn)
        return self._run(started, record, turn)

    def _start(self, started: Started, record: Record) -> datetime | None:
        """When the run may start, where its automation's rate has a say: what has started, or never will, goes on."""
        job = started.job
        rate = self._limits.rates.get(f"{job.app}/{job.automation}")
        if rate is None or (job.segment > 0 and job.not_before is None):
            return None
        if self._cancellations.of(job, started.job_time) is not None or self._is_paused(job):
            return None
        return self._rates.start(job, record, rate, datetime.now(UTC))

    async def _run_then(self, start: datetime, started: Started, record: Record, turn: Turn) -> Sequence[Outgoing]:
        """Runs it at its start, or sends it to a tier until shortly before."""
        now = datetime.now(UTC)
        later = self._next.postponing(start, now)
        try:
            if later is None:
                await asyncio.sleep((start - now).total_seconds())
                made = self._run(started, record, turn)
                made = made if isinstance(made, Sequence) else await made
            else:
                made = self._postponed(started, record, later)
        except Unavailable:
            raise  # it is handled again, and still has its place
        except BaseException:
            self._rates.done(record)
            raise
        self._rates.done(record)
        return made

    def _postponed(self, started: Started, record: Record, later: Postpone) -> list[Outgoing]:
        if started.job.not_before == later.until:
            return self._next(started.job, record, later)  # its record says so already
        return self._outgoing(started.job, record, self._orchestrator.postpone(started, later))

    def _run(
        self, started: Started, record: Record, turn: Turn
    ) -> Sequence[Outgoing] | Coroutine[object, object, Sequence[Outgoing]]:
        plan = self._plans.cached(started.job)
        if self._is_paused(started.job):
            # Without effects too: a run that waits is owned.
            return self._reaching(record, self._execute_later(plan, started, record, turn, owned=True))
        if (
            plan is None
            or plan.awaits
            or plan.has_effects
            or self._cancellations.of(started.job, started.job_time) is not None
        ):
            return self._reaching(record, self._execute_later(plan, started, record, turn))
        return _driven(self._execute(plan, started, record, turn, at_once=True))

    async def _execute_later(
        self, plan: Plan | None, started: Started, record: Record, turn: Turn, *, owned: bool = False
    ) -> list[Outgoing]:
        plan = plan or await self._plans.load(started.job)
        if plan.has_effects or owned:
            return await self._execute_owned(plan, started, record, turn)
        return await self._execute(plan, started, record, turn)

    async def _reaching(self, record: Record, work: Awaitable[list[Outgoing]]) -> list[Outgoing]:
        """What `work` makes; raises Unavailable where it cannot reach what it needs."""
        try:
            return await work
        except UnusablePlan as error:
            return self._without_record(error.job, record, error.type, error.message)
        except PlatformUnavailable as away:
            raise Unavailable(str(away)) from away

    async def _execute_owned(self, plan: Plan, started: Started, record: Record, turn: Turn) -> list[Outgoing]:
        cause = started.job.cause
        source = Location(cause.topic, cause.partition, cause.offset)

        async def execute(journal: Journal) -> list[Outgoing]:
            return await self._execute(plan, started, record, turn, journal)

        return await self._owning(Wish(started.job, source, started.location), turn, execute)

    async def _resume(self, record: Record, turn: Turn) -> list[Outgoing]:
        """Goes on with a parked run, whose job is in its journal."""
        try:
            found, location = read_resumption(record.value), _location(record)
        except ContractError as error:
            return [self._dead_letter(record, error.type, error.message)]
        if found.cancel is not None:
            self._cancellations.learn(found.cancel)

        async def execute(journal: Journal) -> list[Outgoing]:
            if journal.job is None:
                return [self._dead_letter(record, "unknown_run", f"run {found.run_id} has not parked, or is forgotten")]
            now = {"generation": found.generation, "segment": found.segment, "unsent": found.unsent}
            if found.generation > journal.job.generation:
                now["written_at"] = None  # this is the first of its generation
            job = journal.job.model_copy(update=now)
            plan = self._plans.cached(job) or await self._plans.load(job)
            started = Started(job, location, _time(record), found.answer)
            return await self._execute(plan, started, record, turn, journal)

        return await self._owning(Wish(found, found.source, location), turn, execute)

    async def _owning(
        self, wish: Wish, turn: Turn, execute: Callable[[Journal], Awaitable[list[Outgoing]]]
    ) -> list[Outgoing]:
        """What `execute` makes of the run once it is ours; nothing for a duplicate or a stale copy, of which another
        job makes the record.

        Whoever loses the run claims it again. It may have been taken by a worker that woke from a long stop and has not
        learnt yet that the partition is no longer its own: if we gave the run up, nobody would make its record. If it
        is we who lost the partition, Kafka refuses our outcome.
        """
        wait = RECLAIM_AFTER_S
        while True:
            owner = f"{self._worker}/{turn.epoch}/{next(self._claims)}"
            segment = wish.segment
            claim = Claim(segment.run_id, wish.source, wish.location, segment.generation, segment.segment, owner)
            claimed = await self._heads.claim(claim)
            CLAIMS.labels(claimed.standing).inc()
            if claimed.standing in ("duplicate", "stale"):
                return []
            journal = Journal(self._heads, claim, claimed.journal, restart=segment.restart, unsent=segment.unsent)
            try:
                return await execute(journal)
            except OwnershipLost:
                CLAIMS.labels("lost").inc()
            await asyncio.sleep(wait)
            wait = min(2 * wait, RECLAIM_AT_MOST_S)

    async def _execute(
        self,
        plan: Plan,
        started: Started,
        record: Record,
        turn: Turn,
        journal: Journal | None = None,
        *,
        at_once: bool = False,
    ) -> list[Outgoing]:
        try:
            if at_once:
                outcome = await self._orchestrator.execute(plan, started)
            else:
                with self._cancellations.reaching(started.job, started.job_time) as cancellation:
                    leave_for = self._leave_for(started.job, turn)
                    outcome = await self._orchestrator.execute(plan, started, journal, leave_for, cancellation)
        except StepCrashed as crash:
            return self._without_record(started.job, record, crash.type, crash.message)
        RUN_COUNTS.add(outcome.record["status"], outcome.record["duration_ms"])
        turn.tally = tally(plan, outcome.record)
        return self._outgoing(started.job, record, outcome)

    def _is_paused(self, job: Job) -> bool:
        return bool(self._pauses) and self._pauses.reason(job.app, job.automation) is not None

    def _leave_for(self, job: Job, turn: Turn) -> Callable[[], Leave | None]:
        # Asked once: what is under way when its automation is paused goes on to its end.
        reason = self._pauses.reason(job.app, job.automation)
        if reason is not None:
            hold = Hold(reason)
            return lambda: hold
        return lambda: HandOver() if turn.hand_over else None

    def _without_record(self, job: Job, record: Record, type: str, message: str) -> list[Outgoing]:
        """Of a job that no run record can be made of: its dead letter, and the answer for who waits for its end."""
        made = [self._dead_letter(record, type, message)]
        if job.parent is not None and job.parent.awaits:
            told = no_run_for_caller(job, _time(record), type, message, self._prefix)
            made.append(Outgoing(told.topic, told.key, told.value))
        if job.reply:
            reply = reply_without_run(job, self._prefix)
            made.append(Outgoing(reply.topic, reply.key, reply.value))
        return made

    def _outgoing(self, job: Job, record: Record, outcome: Outcome) -> list[Outgoing]:
        made = [Outgoing(self._runs, job.run_id.encode(), encode_record(outcome.record))]
        publications = outcome.publications
        status = outcome.record["status"]
        # A run that was refused for its chain has had none that could be told of: each would be refused as well.
        is_refused = len(job.chain) > self._max_chain
        if status in FINAL_STATUSES and not is_refused and self._listeners.hear(job.app, job.automation, status):
            publications = (*publications, end_of(outcome.record, job, self._prefix))
        if status in FINAL_STATUSES and job.parent is not None and job.parent.awaits:
            publications = (*publications, end_for_caller(outcome.record, job, self._prefix))
        if status in FINAL_STATUSES and job.reply:
            publications = (*publications, reply_of(outcome.record, job, self._prefix))
        made += [Outgoing(each.topic, each.key, each.value, each.headers) for each in publications]
        if outcome.decision is not None:
            made += self._next(job, record, outcome.decision)
        return made


def _location(record: Record) -> Location:
    return Location(record.topic, record.partition, record.offset)


def _time(record: Record) -> datetime:
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)


def _started(record: Record) -> Started:
    return Started(read_job(record.value), _location(record), _time(record))


def _driven(execution: Coroutine[object, None, list[Outgoing]]) -> list[Outgoing]:
    try:
        execution.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a plan that promised never to wait has waited")
