"""The flow of a run: from the job to the record and the publications that end it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from headrace.contracts.runs import Attempt, ErrorInfo, RunRecord, RunStatus, StepResult
from headrace.engine.attempts import attempt, milliseconds
from headrace.engine.errors import PlatformUnavailable, StepCrashed, StepError, StepTimeout
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import (
    Plan,
    PlannedAwaiting,
    PlannedBranch,
    PlannedCollect,
    PlannedFilter,
    PlannedPure,
    PlannedStep,
)
from headrace.engine.ports import OwnershipLost, Ports
from headrace.engine.publications import Publication
from headrace.engine.record import final_record
from headrace.engine.replay import Ending, replayed, unknown_outcome, written_down
from headrace.engine.run import Run, Started, never
from headrace.language import TemplateError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run's segment leaves behind: all of it belongs into the transaction that commits the job's offset.

    `is_handed_over`: the run is not at its end; whoever asked it to leave makes the job of its next segment.
    """

    record: RunRecord
    publications: tuple[Publication, ...]
    is_handed_over: bool = False


class Orchestrator:
    """Executes plans. Holds no state of any run: one serves a process, and runs may interleave."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._clock = ports.clock

    async def execute(
        self,
        plan: Plan,
        started: Started,
        journal: Journal | None = None,
        is_asked_to_leave: Callable[[], bool] = never,
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
        run = Run(started, self._ports, began + timeout, journal, is_asked_to_leave)
        if plan.hides_secrets:
            run.mask = run.app.mask
        ending = await self.execute_steps(run, plan.steps, run.results)
        if ending == "timed_out":
            run.failed(_run_timeout(timeout))
        if ending == "handed_over" and journal is not None:
            await journal.write()
        duration = clock.perf() - began
        # From one clock reading: a wall clock set back meanwhile must not end a run before it began.
        finished_at = now + timedelta(seconds=duration)
        record = final_record(run, started, _status(run, ending), (started_at, finished_at), duration)
        return Outcome(run.mask.record(record), tuple(run.publications), ending == "handed_over")

    async def execute_steps(self, run: Run, steps: Sequence[PlannedStep], results: list[StepResult]) -> Ending | None:
        """Executes `steps` in order into `results`, until the end or what ends the run; None is the end."""
        for step in steps:
            ending = await self.execute_step(run, step, results)
            if ending is not None:
                return ending
        return None

    async def execute_step(self, run: Run, step: PlannedStep, results: list[StepResult]) -> Ending | None:
        """Executes one step and appends its result; says whether the run ends with it."""
        clock = self._clock
        began = clock.perf()
        run.enter(step.path, step.position)
        noted = None
        if run.journal is not None:
            noted = run.journal.recall(run.key)
            if noted is None and run.only_recorded:
                return "replayed"
            if noted is None and run.is_asked_to_leave():
                return "handed_over"
        if noted is None and began >= run.deadline:
            return "timed_out"
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
        if noted is not None and noted.result is not None and not noted.is_branch:
            return replayed(run, step, result, noted.result, noted)
        published = len(run.publications)
        try:
            if noted is not None and noted.result is None and not noted.is_branch:
                raise unknown_outcome(step)
            if noted is not None or step.when is None or step.when.holds(run.scope):
                ending = await self._do(run, step, result, began, noted)
            else:
                result["status"] = "skipped"
                ending = None
        except TemplateError as error:
            ending = _failed(run, step, result, StepError(error.type, error.message))
        except StepError as error:
            ending = _failed(run, step, result, error)
        except (PlatformUnavailable, StepCrashed, OwnershipLost):
            raise
        except Exception as error:
            # Whatever else a step raises is our mistake; see StepCrashed for why it leaves the run.
            raise StepCrashed(run.job.run_id, step.path, error) from error
        result["duration_ms"] = milliseconds(began, clock)
        if run.journal is not None:
            await written_down(run, run.journal, step, result, published, ending)
        return ending

    async def _do(
        self, run: Run, step: PlannedStep, result: StepResult, began: float, noted: Noted | None
    ) -> Ending | None:
        match step:
            case PlannedPure():
                self.execute_pure_step(run, step, result)
            case PlannedAwaiting():
                return await self.execute_awaiting_step(run, step, result, began)
            case PlannedFilter():
                return self.execute_filter_step(run, step, result)
            case PlannedCollect():
                value = step.value.render(run.scope)
                run.collect(value)
                _finished(run, step, result, {"success": True, "value": value})
            case PlannedBranch():
                return await self.execute_branch_step(run, step, result, began, noted)
        if step.timeout is not None and self._clock.perf() - began >= step.timeout:
            # Computing cannot be interrupted; that it took too long is said afterwards.
            raise StepTimeout(step.timeout)
        return None

    def execute_pure_step(self, run: Run, step: PlannedPure, result: StepResult) -> None:
        """Renders the inputs of a step that only computes, and does it."""
        rendered = step.fields.render(run.scope)
        result["inputs"] = run.mask.value(step.step.stored(rendered))
        compute = step.ready or step.step.bind(rendered)
        _finished(run, step, result, compute(run))

    async def execute_awaiting_step(
        self, run: Run, step: PlannedAwaiting, result: StepResult, began: float
    ) -> Ending | None:
        """Does a step that waits, within its own time and the run's; what is cut off is really cancelled."""
        rendered = step.fields.render(run.scope)
        result["inputs"] = run.mask.value(step.step.stored(rendered))
        work = step.ready or step.step.bind(rendered)
        if step.at_most_once and run.journal is not None:
            await run.journal.announce(run.key)
        own_deadline = began + step.limit
        give_up_at = min(own_deadline, run.deadline)
        attempts: list[Attempt] = []
        # What is written to our own database is not cut off: whether it was written would be unknown.
        limit = asyncio.timeout(None if step.effect == "once" else give_up_at - self._clock.perf())
        try:
            async with limit:
                outputs = await attempt(work, run, step.retry, give_up_at, attempts)
        except TimeoutError:
            if not limit.expired():
                raise
            if own_deadline < run.deadline:
                raise StepTimeout(step.limit) from None
            return _cut_off(run, step, result)
        finally:
            if len(attempts) > 1:
                result["attempts"] = attempts
        _finished(run, step, result, outputs)
        return None

    def execute_filter_step(self, run: Run, step: PlannedFilter, result: StepResult) -> Ending | None:
        """Ends the run where the condition is false."""
        holds = step.condition.holds(run.scope)
        _finished(run, step, result, {"success": True, "result": holds})
        if holds:
            return None
        result["status"] = "stopped"
        return "stopped"

    async def execute_branch_step(
        self, run: Run, step: PlannedBranch, result: StepResult, began: float, noted: Noted | None = None
    ) -> Ending | None:
        """Goes the first way whose condition holds, or the one that it went before; without one the run goes on."""
        key = run.key
        if noted is not None:
            way = next((way for way in step.ways if way.name == noted.branch), None)
        else:
            way = next((way for way in step.ways if way.when is None or way.when.holds(run.scope)), None)
            if run.journal is not None:
                run.journal.note_branch(key, None if way is None else way.name)
        _finished(run, step, result, {"success": True, "branch": None if way is None else way.name})
        if way is None:
            result["status"] = "no_condition_met"
            return None
        children = result["children"] = []
        outer = run.deadline, run.deadline_of, run.only_recorded
        if step.timeout is not None and began + step.timeout < run.deadline:
            run.deadline, run.deadline_of = began + step.timeout, step.path
        had_failed = noted is not None and noted.result is not None
        run.only_recorded = run.only_recorded or had_failed
        ending = await self.execute_steps(run, way.steps, children)
        own_time_is_up = had_failed or (ending == "timed_out" and run.deadline_of == step.path)
        run.deadline, run.deadline_of, run.only_recorded = outer
        run.scope.key = key
        if own_time_is_up and step.timeout is not None:
            raise StepTimeout(step.timeout, {"branch": way.name})
        if ending in ("stopped", "error", "timed_out"):
            result["status"] = ending
        return ending


def _finished(run: Run, step: PlannedStep, result: StepResult, outputs: Mapping[str, object]) -> None:
    result["outputs"] = outputs
    run.leave(step.names, step.id, step.name or step.id, outputs)


def _failed(run: Run, step: PlannedStep, result: StepResult, error: StepError) -> Ending | None:
    """Captures a failure where it happened; it ends the run only if the step's policy says so."""
    info = error.info
    result["status"] = "timed_out" if isinstance(error, StepTimeout) else "error"
    result["error"] = info
    _finished(run, step, result, {**(error.outputs or {}), "success": False, "error": info})
    run.failed(info)
    return "error" if step.stops_on_error else None


def _cut_off(run: Run, step: PlannedStep, result: StepResult) -> Ending:
    """The time of the run, or of a branch around the step, is up while the step is under way."""
    of = f"the step {run.deadline_of}" if run.deadline_of else "the run"
    info: ErrorInfo = {"type": "timeout", "message": f"cut off: the timeout of {of} passed", "retryable": True}
    result["status"] = "timed_out"
    result["error"] = info
    _finished(run, step, result, {"success": False, "error": info})
    run.failed(info)
    return "timed_out"


def _run_timeout(seconds: float) -> ErrorInfo:
    return {"type": "run_timeout", "message": f"the run's timeout of {seconds:g} s passed", "retryable": True}


def _status(run: Run, ending: Ending | None) -> RunStatus:
    if ending == "handed_over":
        return "retrying"
    if ending == "timed_out":
        return "timed_out"
    if run.first_error is not None:
        return "error"
    return "stopped" if ending == "stopped" else "success"
