"""Steps with steps inside: branches, loops and parallel lists."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import cast

from headrace.contracts.runs import StepResult
from headrace.engine.endings import (
    Ending,
    finished,
    gravest,
    step_status,
)
from headrace.engine.errors import StepError, StepTimeout
from headrace.engine.holding import MOST_HELD, MOST_STEPS, held_by, too_large
from headrace.engine.iterations import Iterations, items_of
from headrace.engine.journal import Noted
from headrace.engine.plan import (
    Container,
    PlannedBranch,
    PlannedLoop,
    PlannedParallel,
    PlannedStep,
)
from headrace.engine.ports import Clock
from headrace.engine.replay import decided, only_recorded
from headrace.engine.run import Run
from headrace.engine.together import together
from headrace.language import TemplateError

_ENDS_FOR_ALL: frozenset[Ending | None] = frozenset(("stopped", "error", "gave_up"))
"""Endings of a strand that end the whole run: those beside it begin no further step."""


class Containers(ABC):
    """What a flow does with steps that hold others; how it executes a list of steps is its own."""

    _clock: Clock

    @abstractmethod
    async def execute_steps(self, run: Run, steps: Sequence[PlannedStep], results: list[StepResult]) -> Ending | None:
        """Executes `steps` in order into `results`, until the end or what ends the run; None is the end."""

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
        """Does the steps for each item, in order or several at a time, until the end or what ends the loop.

        A loop that is resumed has the items, and the limit to their number, with which it began.
        """
        if noted is not None:
            over, allowed = cast("tuple[object, int]", noted.decision)
        else:
            over, allowed = step.over.render(run.scope), run.ports.max_iterations
            if run.journal is not None:
                run.journal.note_decision(run.key, (over, allowed))
        result["children"] = []
        result["inputs"] = run.mask.value({"over": over})
        items = items_of(over, step.option)
        done = Iterations(step.keep, step.keep_items, [each.id for each in step.steps])
        if not items:
            result["status"] = "no_iterations"
            finished(run, step, result, {"success": True, **done.outputs()})
            return None
        most = allowed if step.most is None else min(step.most, allowed)
        work = self._one_by_one if step.concurrency == 1 else self._several_at_once
        try:
            # No copy of what is not cut.
            taken = items if len(items) <= most else items[:most]
            inside = work(run, step, taken, len(items), done)
            ending = await self._inside(run, step, result, began, noted, inside, done.outputs)
        finally:
            result["children"] = done.children
        if ending is None:
            if len(items) > most:
                limit = f"the loop's `max` is {most}" if most == step.most else f"{most} are allowed here"
                told = f"loop.over: it gave {len(items)} items; {limit}"
                raise StepError("max_iterations", told, outputs=done.outputs())
            if (failure := done.failure()) is not None:
                raise failure
        finished(run, step, result, {"success": ending in (None, "stopped"), **done.outputs()})
        return ending

    async def _one_by_one(
        self, run: Run, step: PlannedLoop, items: Sequence[object], count: int, done: Iterations
    ) -> Ending | None:
        outer = run.outer_item()
        try:
            for index, item in enumerate(items):
                run.begin_item(item, index, count, outer)
                run.enter(step.path, step.position)
                if step.failure is not None and decided(run, "failure", step.failure):
                    told = f"loop.failure: it held before item {index}"
                    raise StepError("failure_condition", told, outputs=done.outputs())
                ending = await self._iteration(run, step, index, done)
                if ending is not None:
                    with only_recorded(run) as has_more:
                        for number in range(index + 1, len(items)) if has_more else ():
                            run.begin_item(items[number], number, count, outer)
                            await self._recorded(run, step, number, done)
                    return ending
                if step.break_if is not None:
                    run.enter(step.path, step.position)
                    if decided(run, "break_if", step.break_if):
                        break
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
                strand = run.fork(is_ended_beside=step.ended_beside)
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
        for index, item in numbered:
            strand = run.fork()
            strand.begin_item(item, index, count, outer)
            with only_recorded(strand) as has_more:
                if has_more and await self._recorded(strand, step, index, done):
                    strands[index] = strand, None
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
        # Before an item, as what an iteration has done and how it ended must count.
        if run.strands.held > MOST_HELD:
            raise too_large()
        if step.continue_if is not None and decided(run, "continue_if", step.continue_if):
            done.skipped += 1
            return None
        failed_before, results = len(run.failures), list[StepResult]()
        ending = await self.execute_steps(run, step.steps, results)
        failures = run.failures[failed_before:]
        size = held_by(results)
        run.strands.held += size - done.done(index, results, failures[0].error if failures else None, size)
        return ending

    async def _recorded(self, run: Run, step: PlannedLoop, index: int, done: Iterations) -> bool:
        """What was done for an item that the loop does not come to any more; says whether there is any."""
        run.enter(step.path, step.position)
        if step.continue_if is not None and decided(run, "continue_if", step.continue_if):
            done.skipped += 1
            return True
        failed_before, results = len(run.failures), list[StepResult]()
        await self.execute_steps(run, step.steps, results)
        if results:
            failures = run.failures[failed_before:]
            done.done(index, results, failures[0].error if failures else None)
        return bool(results)

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
        done = [(run.fork(is_ended_beside=each), list[StepResult]()) for each in step.ended_beside]

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
        key, outer, only_recorded_outside = run.key, (run.deadline, run.deadline_of), run.only_recorded
        if step.timeout is not None and began + step.timeout < run.deadline:
            run.deadline, run.deadline_of = began + step.timeout, step.path
        had_passed = noted is not None and noted.result is not None
        if had_passed and run.only_recorded is None:
            run.only_recorded = "replayed"
        try:
            ending = await inside
            has_passed = had_passed or (ending == "timed_out" and run.timed_out_by == step.path)
        finally:
            run.deadline, run.deadline_of = outer
            run.only_recorded = only_recorded_outside
            run.scope.key = key
        if has_passed and step.timeout is not None:
            raise StepTimeout(step.timeout, outputs())
        if ending is not None and (status := step_status(ending)) is not None:
            result["status"] = status
        return ending
