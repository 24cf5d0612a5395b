"""The flow of a run: from the job to the record and the publications that end it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from headrace.contracts.jobs import dated
from headrace.contracts.runs import RunRecord, StepResult
from headrace.engine import leaves
from headrace.engine.attempts import milliseconds
from headrace.engine.cancelling import NEVER, Cancellation
from headrace.engine.containers import Containers
from headrace.engine.decisions import Decision, HandOver, Leave, Park, Postpone, after_giving_up
from headrace.engine.endings import (
    Ending,
    chain_too_long,
    failed,
    run_status,
    run_timeout,
)
from headrace.engine.errors import PlatformUnavailable, StepCrashed, StepError, StepTimeout
from headrace.engine.holding import MOST_HELD, hold, too_large
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import (
    CONTAINERS,
    Plan,
    PlannedAwaiting,
    PlannedBranch,
    PlannedCall,
    PlannedCollect,
    PlannedDelay,
    PlannedFilter,
    PlannedLoop,
    PlannedParallel,
    PlannedPure,
    PlannedSet,
    PlannedStep,
    PlannedStop,
    PlannedStub,
    PlannedWait,
)
from headrace.engine.ports import OwnershipLost, Ports
from headrace.engine.publications import Publication
from headrace.engine.record import final_record
from headrace.engine.replay import is_unknown, last_tried, only_recorded, replayed, unknown_outcome, written_down
from headrace.engine.run import Failure, Run, Started, never
from headrace.engine.stubs import do_stub
from headrace.engine.waiting import do_awaited_call, do_wait, has_answer, is_begun
from headrace.language import TemplateError

TURN_S = 0.005
"""How long a run computes before others get the event loop."""


class Outcome(NamedTuple):
    """What a run's segment leaves behind: all of it belongs into the transaction that commits the job's offset.

    `decision`: the run is not at its end, and this is what is to happen next; None where it is.
    """

    record: RunRecord
    publications: tuple[Publication, ...]
    decision: Decision | None = None


class Orchestrator(Containers):
    """Executes plans. Holds no state of any run: one serves a process, and runs may interleave."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._clock = ports.clock

    async def execute(
        self,
        plan: Plan,
        started: Started,
        journal: Journal | None = None,
        leave_for: Callable[[], Leave | None] = never,
        cancellation: Cancellation = NEVER,
    ) -> Outcome:
        """Makes the run from its first step to its end, or until it is asked to leave and has come to a next step.

        What `journal` knows is replayed verbatim. A plan with effects expects one: without, a run that is made again
        does its effects again. Raises PlatformUnavailable and StepCrashed; then there is no outcome, and executing the
        same job again is safe. Raises OwnershipLost: the run's outcome is another worker's. Cancelling it from outside
        cancels the step under way and leaves no outcome either.
        """
        clock = self._clock
        now = clock.now()
        started_at = now if journal is None else journal.started_at(now)
        began = clock.perf()
        timeout = plan.automation.timeout
        run = Run(started, self._ports, began + timeout, journal, leave_for, cancellation)
        run.lets_others, run.strands.turned = plan.awaits, began
        if plan.hides_secrets:
            run.mask = run.app.mask
        if journal is not None and journal.has_ended:
            run.strands.are_halted = True
        if len(run.job.chain) > self._ports.max_chain:
            ending: Ending | None = "error"
            run.failed(chain_too_long(run.job, self._ports.max_chain))
        else:
            ending = await self.execute_steps(run, plan.steps, run.results)
        if ending == "timed_out":
            run.failed(run_timeout(timeout))
        if ending == "cancelled" and cancellation.error is not None:
            # That is why it ended, whatever had failed before.
            run.failures.insert(0, Failure(cancellation.error, None))
        decision = self._decided(run, ending)
        if decision is not None and journal is not None:
            journal.note_job(dated(started.job, started.job_time), parks=isinstance(decision, Park))
            await journal.write()
        duration = clock.perf() - began
        # From one clock reading: a wall clock set back meanwhile must not end a run before it began.
        finished_at = now + timedelta(seconds=duration)
        status = run_status(run, ending, decision)
        record = final_record(run, started, status, (started_at, finished_at), duration, decision)
        return Outcome(run.mask.record(record), tuple(run.publications), decision)

    def postpone(self, started: Started, decision: Postpone) -> Outcome:
        """What a run leaves behind that may not start yet."""
        now = self._clock.now()
        run = Run(started, self._ports, self._clock.perf())
        status = run_status(run, None, decision)
        return Outcome(final_record(run, started, status, (now, now), 0.0, decision), (), decision)

    def _decided(self, run: Run, ending: Ending | None) -> Decision | None:
        match ending:
            case "handed_over":
                leave = run.leave_for()
                return HandOver() if leave is None else leave
            case "parked" if run.parked is not None:
                return run.parked
            case "gave_up" if run.gave_up_on is not None:
                gave_up = run.gave_up_on._replace(error=run.mask.error(run.gave_up_on.error))
                return after_giving_up(gave_up, run.job.attempt, self._ports.retry_tiers, self._clock.now())
            case _:
                return None

    async def execute_steps(self, run: Run, steps: Sequence[PlannedStep], results: list[StepResult]) -> Ending | None:
        """Executes `steps` in order into `results`, until the end or what ends the run; None is the end."""
        if run.only_recorded is None:
            run.strands.steps += len(steps)
        for place, step in enumerate(steps, 1):
            ending = await self.execute_step(run, step, results)
            if ending is not None:
                with only_recorded(run) as has_more:
                    for beyond in steps[place:] if has_more else ():
                        await self.execute_step(run, beyond, results)
                return ending
        return None

    async def execute_step(self, run: Run, step: PlannedStep, results: list[StepResult]) -> Ending | None:
        """Executes one step and appends its result; says whether the run ends with it."""
        clock = self._clock
        began = clock.perf()
        if run.lets_others and began - run.strands.turned > TURN_S:
            await asyncio.sleep(0)
            began = run.strands.turned = clock.perf()
        run.enter(step.path, step.position)
        noted = None
        if run.journal is not None:
            noted = run.journal.recall(run.key)
        # Of a step that has begun to wait it is known for what, and what it published goes out whatever comes now.
        told = () if noted is None or noted.result is not None else noted.publications
        is_waiting = noted is not None and noted.result is None and isinstance(step, PlannedDelay)
        if noted is None or is_waiting or is_begun(step, noted):
            ending = self._ending_before(run, began)
            if ending is not None:
                last_tried(run, step, results)
                run.publications.extend(told)
                return ending
        result: StepResult = {
            "id": step.id,
            "use": step.use,
            "name": step.name,
            "status": "success",
            "started_at": clock.now(),
            "duration_ms": 0.0,
        }
        run.result = result
        results.append(result)
        if noted is not None and noted.result is not None and not (noted.is_decided and isinstance(step, CONTAINERS)):
            ending = replayed(run, step, result, noted.result, noted)
            hold(run, step, result)
            return ending
        before = (0, 0) if run.journal is None else (len(run.publications), len(run.failures))
        run.publications.extend(told)
        try:
            if run.strands.held > MOST_HELD:
                raise too_large()
            if noted is not None and is_unknown(step, noted):
                raise unknown_outcome(step)
            if noted is not None or step.when is None or step.when.holds(run.scope):
                ending = await self._do(run, step, result, began, noted)
            else:
                result["status"] = "skipped"
                ending = None
        except TemplateError as error:
            ending = failed(run, step, result, StepError(error.type, error.message))
        except StepError as error:
            ending = failed(run, step, result, error)
        except (PlatformUnavailable, StepCrashed, OwnershipLost):
            raise
        except Exception as error:
            # Whatever else a step raises is our mistake; see StepCrashed for why it leaves the run.
            raise StepCrashed(run.job.run_id, step.path, error) from error
        result["duration_ms"] = milliseconds(began, clock)
        hold(run, step, result)
        if ending == "parked" and not isinstance(step, CONTAINERS):
            results.pop()  # it has not come to a result
        elif run.journal is not None:
            await written_down(run, run.journal, step, result, before, ending)
        return ending

    def _ending_before(self, run: Run, began: float) -> Ending | None:
        """How the run ends before a step that is not done yet, if it does."""
        if run.only_recorded is not None:
            return run.only_recorded
        if run.cancellation.error is not None:
            return "cancelled"
        if run.strands.are_halted:
            return "halted"
        if run.journal is not None and run.leave_for() is not None and not has_answer(run, run.journal):
            return "handed_over"
        if began >= run.deadline:
            run.timed_out_by = run.deadline_of
            return "timed_out"
        return None

    async def _do(
        self, run: Run, step: PlannedStep, result: StepResult, began: float, noted: Noted | None
    ) -> Ending | None:
        ending: Ending | None = None
        match step:
            case PlannedPure():
                leaves.do_pure(run, step, result)
            case PlannedAwaiting():
                return await leaves.do_awaiting(run, step, result, began)
            case PlannedFilter():
                ending = leaves.do_filter(run, step, result)
            case PlannedCollect():
                leaves.do_collect(run, step, result)
            case PlannedSet():
                leaves.do_set(run, step, result)
            case PlannedBranch():
                return await self.execute_branch_step(run, step, result, began, noted)
            case PlannedLoop():
                return await self.execute_loop_step(run, step, result, began, noted)
            case PlannedParallel():
                return await self.execute_parallel_step(run, step, result, began, noted)
            case PlannedCall(wait=True):
                return await do_awaited_call(run, step, result, noted)
            case PlannedCall():
                leaves.do_call(run, step, result)
            case PlannedStop():
                return leaves.do_stop(run, step, result)
            case PlannedDelay():
                return await leaves.do_delay(run, step, result, began, noted)
            case PlannedWait():
                return await do_wait(run, step, result, noted)
            case PlannedStub():
                do_stub(run, step, result)
        if step.timeout is not None and self._clock.perf() - began >= step.timeout:
            # Computing cannot be interrupted; that it took too long is said afterwards.
            raise StepTimeout(step.timeout)
        return ending
