"""The flow of a run: from the job to the record and the publications that end it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from headrace.contracts.runs import ErrorInfo, RunRecord, StepResult
from headrace.engine import leaves
from headrace.engine.attempts import milliseconds
from headrace.engine.endings import (
    Ending,
    failed,
    finished,
    gravest,
    run_status,
    run_timeout,
    step_status,
)
from headrace.engine.errors import PlatformUnavailable, StepCrashed, StepError, StepTimeout
from headrace.engine.iterations import Iterations, items_of
from headrace.engine.journal import Journal, Noted
from headrace.engine.plan import (
    Container,
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
from headrace.engine.replay import decided, replayed, unknown_outcome, written_down
from headrace.engine.run import Run, Started, never
from headrace.engine.stubs import do_stub
from headrace.engine.together import together
from headrace.language import TemplateError

TURN_S = 0.005
"""How long a loop computes before others get the event loop."""

MOST_STEPS = 100_000
"""Steps that a run may begin while it is in a loop: their results are held until its end, a kilobyte or more each."""

_ENDS_FOR_ALL: frozenset[Ending | None] = frozenset(("stopped", "error", "gave_up"))
"""Endings of a strand that end the whole run: those beside it begin no further step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run's segment leaves behind: all of it belongs into the transaction that commits the job's offset.

    `is_handed_over`: the run is not at its end; whoever asked it to leave makes the job of its next segment.
    `gave_up_on`: a step failed that is worth another try, and the run waits for that as a dead letter.
    """

    record: RunRecord
    publications: tuple[Publication, ...]
    is_handed_over: bool = False
    gave_up_on: ErrorInfo | None = None


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
        run.lets_others = plan.awaits
        if plan.hides_secrets:
            run.mask = run.app.mask
        if journal is not None and journal.has_ended:
            run.strands.are_halted = True
        ending = await self.execute_steps(run, plan.steps, run.results)
        if ending == "timed_out":
            run.failed(run_timeout(timeout))
        if ending in ("handed_over", "gave_up") and journal is not None:
            await journal.write()
        duration = clock.perf() - began
        # From one clock reading: a wall clock set back meanwhile must not end a run before it began.
        finished_at = now + timedelta(seconds=duration)
        record = final_record(run, started, run_status(run, ending), (started_at, finished_at), duration)
        gave_up_on = run.mask.error(run.gave_up_on) if ending == "gave_up" else None
        return Outcome(run.mask.record(record), tuple(run.publications), ending == "handed_over", gave_up_on)

    async def execute_steps(self, run: Run, steps: Sequence[PlannedStep], results: list[StepResult]) -> Ending | None:
        """Executes `steps` in order into `results`, until the end or what ends the run; None is the end."""
        run.strands.steps += len(steps)
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
        if noted is None:
            if run.only_recorded:
                return "replayed"
            if run.strands.are_halted:
                return "halted"
            if run.journal is not None and run.is_asked_to_leave():
                return "handed_over"
            if began >= run.deadline:
                run.timed_out_by = run.deadline_of
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
        if noted is not None and noted.result is not None and not noted.is_decided:
            return replayed(run, step, result, noted.result, noted)
        before = (0, 0) if run.journal is None else (len(run.publications), len(run.failures))
        try:
            if noted is not None and noted.result is None and not noted.is_decided:
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
        if run.journal is not None:
            await written_down(run, run.journal, step, result, before, ending)
        return ending

    async def _do(
        self, run: Run, step: PlannedStep, result: StepResult, began: float, noted: Noted | None
    ) -> Ending | None:
        match step:
            case PlannedPure():
                leaves.do_pure(run, step, result)
            case PlannedAwaiting():
                return await leaves.do_awaiting(run, step, result, began)
            case PlannedFilter():
                return leaves.do_filter(run, step, result)
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
            case PlannedCall():
                leaves.do_call(run, step, result)
            case PlannedStop():
                return leaves.do_stop(run, step, result)
            case PlannedDelay():
                return await leaves.do_delay(run, step, result)
            case PlannedWait():
                leaves.do_wait(run, step, result)
            case PlannedStub():
                do_stub(run, step, result)
        if step.timeout is not None and self._clock.perf() - began >= step.timeout:
            # Computing cannot be interrupted; that it took too long is said afterwards.
            raise StepTimeout(step.timeout)
        return None

    async def execute_branch_step(
        self, run: Run, step: PlannedBranch, result: StepResult, began: float, noted: Noted | None = None
    ) -> Ending | None:
        """Goes the first way whose condition holds, or the one that it went before; without one the run goes on."""
        if noted is not None:
            way = next((way for way in step.ways if way.name == noted.decision), None)
        else:
            way = next((way for way in step.ways if way.when is None or way.when.holds(run.scope)), None)
            if run.journal is not None:
                run.journal.note_decision(run.key, None if way is None else way.name)
        outputs: dict[str, object] = {"success": True, "branch": None if way is None else way.name}
        finished(run, step, result, outputs)
        if way is None:
            result["status"] = "no_condition_met"
            return None
        children = result["children"] = []
        inside = self.execute_steps(run, way.steps, children)
        return await self._inside(run, step, result, began, noted, inside, lambda: outputs)

    async def execute_loop_step(
        self, run: Run, step: PlannedLoop, result: StepResult, began: float, noted: Noted | None = None
    ) -> Ending | None:
        """Does the steps for each item, in order or several at a time, until the end or what ends the loop."""
        if noted is not None:
            over = noted.decision
        else:
            over = step.over.render(run.scope)
            if run.journal is not None:
                run.journal.note_decision(run.key, over)
        result["children"] = []
        result["inputs"] = run.mask.value({"over": over})
        items = items_of(over, step.option)
        done = Iterations(step.keep, [each.id for each in step.steps])
        if not items:
            result["status"] = "no_iterations"
            finished(run, step, result, {"success": True, **done.outputs()})
            return None
        work = self._one_by_one if step.concurrency == 1 else self._several_at_once
        try:
            inside = work(run, step, items[: step.most], len(items), done)
            ending = await self._inside(run, step, result, began, noted, inside, done.outputs)
        finally:
            result["children"] = done.children
        if ending is None:
            if len(items) > step.most:
                told = f"loop.over: it gave {len(items)} items; the loop's `max` is {step.most}"
                raise StepError("max_iterations", told, outputs=done.outputs())
            if (failure := done.failure()) is not None:
                raise failure
        finished(run, step, result, {"success": ending in (None, "stopped"), **done.outputs()})
        return ending

    async def _one_by_one(
        self, run: Run, step: PlannedLoop, items: Sequence[object], count: int, done: Iterations
    ) -> Ending | None:
        outer, turned = run.outer_item(), self._clock.perf()
        try:
            for index, item in enumerate(items):
                run.begin_item(item, index, count, outer)
                run.enter(step.path, step.position)
                if step.failure is not None and decided(run, "failure", step.failure):
                    told = f"loop.failure: it held before item {index}"
                    raise StepError("failure_condition", told, outputs=done.outputs())
                ending = await self._iteration(run, step, index, done)
                if ending is not None:
                    return ending
                if step.break_if is not None:
                    run.enter(step.path, step.position)
                    if decided(run, "break_if", step.break_if):
                        break
                if run.lets_others and self._clock.perf() - turned > TURN_S:
                    await asyncio.sleep(0)
                    turned = self._clock.perf()
        finally:
            run.end_items(outer)
        return None

    async def _several_at_once(
        self, run: Run, step: PlannedLoop, items: Sequence[object], count: int, done: Iterations
    ) -> Ending | None:
        outer, numbered = run.outer_item(), enumerate(items)
        strands: dict[int, tuple[Run, Ending | None]] = {}
        broken: list[TemplateError | StepError] = []

        async def work_off() -> None:
            # One iterator for all: whoever is free takes the next item.
            for index, item in numbered:
                if broken:
                    return
                strand = run.fork()
                strand.begin_item(item, index, count, outer)
                strand.enter(step.path, step.position)
                try:
                    ending = await self._iteration(strand, step, index, done)
                except (TemplateError, StepError) as error:
                    # The loop's own failure, before this item's first step. Those begun before it are not cut off.
                    broken.append(error)
                    return
                strands[index] = strand, ending
                self._tell_the_others(run, ending)
                if ending is not None:
                    return

        await together([work_off() for _ in range(min(step.concurrency, len(items)))])
        for index in sorted(strands):
            run.join(strands[index][0], with_outputs=index == max(strands))
        ending = self._ended(run, list(strands.values()))
        if ending is None and broken:
            raise broken[0]
        return ending

    async def _iteration(self, run: Run, step: PlannedLoop, index: int, done: Iterations) -> Ending | None:
        if run.strands.steps > MOST_STEPS:
            told = f"loop: the steps inside of this run's loops were begun more than {MOST_STEPS} times"
            raise StepError("too_many_steps", told, outputs=done.outputs())
        if step.continue_if is not None and decided(run, "continue_if", step.continue_if):
            done.skipped += 1
            return None
        failed_before, results = len(run.failures), list[StepResult]()
        ending = await self.execute_steps(run, step.steps, results)
        failures = run.failures[failed_before:]
        done.done(index, results, failures[0].error if failures else None)
        return ending

    async def execute_parallel_step(
        self, run: Run, step: PlannedParallel, result: StepResult, began: float, noted: Noted | None = None
    ) -> Ending | None:
        """Does the lists of steps at once, each as if alone, and goes on when all are through."""
        if noted is None and run.journal is not None:
            run.journal.note_decision(run.key, True)
        children = result["children"] = list[StepResult]()
        outputs: dict[str, object] = {"success": True, "failed": []}
        inside = self._side_by_side(run, step, children, outputs)
        ending = await self._inside(run, step, result, began, noted, inside, lambda: outputs)
        finished(run, step, result, outputs)
        return ending

    async def _side_by_side(
        self, run: Run, step: PlannedParallel, children: list[StepResult], outputs: dict[str, object]
    ) -> Ending | None:
        done = [(run.fork(), list[StepResult]()) for _ in step.strands]

        async def follow(number: int) -> tuple[Run, Ending | None]:
            strand, results = done[number]
            ending = await self.execute_steps(strand, step.strands[number][1], results)
            self._tell_the_others(run, ending)
            return strand, ending

        if step.awaits:
            ended = await together([follow(number) for number in range(len(done))])
        else:
            ended = [await follow(number) for number in range(len(done))]
        for (name, _), (strand, results) in zip(step.strands, done, strict=True):
            run.join(strand)
            for each in results:
                each["strand"] = name
            children.extend(results)
        outputs["failed"] = [
            name for (name, _), (strand, _) in zip(step.strands, done, strict=True) if strand.first_error is not None
        ]
        outputs["success"] = not outputs["failed"]
        return self._ended(run, ended)

    def _ended(self, run: Run, ended: Sequence[tuple[Run, Ending | None]]) -> Ending | None:
        ending = gravest([each for _, each in ended])
        if ending == "timed_out":
            run.timed_out_by = next(strand.timed_out_by for strand, each in ended if each == "timed_out")
        return ending

    def _tell_the_others(self, run: Run, ending: Ending | None) -> None:
        if ending not in _ENDS_FOR_ALL:
            return
        run.strands.are_halted = True
        # A resumed run would begin a strand's next step before it comes to what another one ended with.
        if run.journal is not None and ending != "gave_up":
            run.journal.note_end()

    async def _inside(
        self,
        run: Run,
        step: Container,
        result: StepResult,
        began: float,
        noted: Noted | None,
        inside: Awaitable[Ending | None],
        outputs: Callable[[], Mapping[str, object]],
    ) -> Ending | None:
        """Awaits the steps inside of one, within its own time, or as far as they are recorded if that had passed."""
        key, outer = run.key, (run.deadline, run.deadline_of, run.only_recorded)
        if step.timeout is not None and began + step.timeout < run.deadline:
            run.deadline, run.deadline_of = began + step.timeout, step.path
        had_passed = noted is not None and noted.result is not None
        run.only_recorded = run.only_recorded or had_passed
        try:
            ending = await inside
            has_passed = had_passed or (ending == "timed_out" and run.timed_out_by == step.path)
        finally:
            run.deadline, run.deadline_of, run.only_recorded = outer
            run.scope.key = key
        if has_passed and step.timeout is not None:
            raise StepTimeout(step.timeout, outputs())
        if ending is not None and (status := step_status(ending)) is not None:
            result["status"] = status
        return ending
