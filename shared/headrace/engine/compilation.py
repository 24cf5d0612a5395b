"""From the document to the plan: every mistake an author can make is found here, with its path."""

from collections.abc import Sequence

from headrace.contracts.automation import (
    Automation,
    BranchStep,
    CallStep,
    CollectStep,
    DelayStep,
    DocumentError,
    FilterStep,
    LoopStep,
    OnError,
    ParallelStep,
    SetStep,
    StopStep,
    UseStep,
    WaitStep,
    kind_of,
    walk,
)
from headrace.contracts.automation import Step as Source
from headrace.contracts.automation.values import delay_seconds
from headrace.contracts.limits import MOST_ITERATIONS
from headrace.contracts.reserved import RESERVED
from headrace.engine.holding import ITEMS_HELD, can_see_items
from headrace.engine.masking import can_see_secrets
from headrace.engine.plan import (
    LONGEST_PAUSE_S,
    LONGEST_WAIT_S,
    Common,
    Plan,
    PlannedBranch,
    PlannedCall,
    PlannedCollect,
    PlannedDelay,
    PlannedFilter,
    PlannedLoop,
    PlannedParallel,
    PlannedSet,
    PlannedStep,
    PlannedStop,
    PlannedWait,
    Way,
    awaits,
    has_effects,
    may_end,
)
from headrace.engine.sources import NOWHERE, Sources
from headrace.engine.uses import Uses
from headrace.language import RUN_ROOTS
from headrace.language.values import to_time

MAX_STEPS = 500
"""Steps of an automation. Their results, at about 1 KB each when cut short, must fit into one run record."""

MAX_NAME = 100
"""Characters of a step's or branch's name, for the same reason: every record carries it."""

MAX_LOOPS = 5
"""Loops in each other: 200 ^ 5 iterations are more than any timeout lets happen."""


def compile_plan(automation: Automation, version: int) -> Plan:
    """The plan of a version; raises DocumentError with the path of every mistake in steps, inputs and templates."""
    compiler = _Compiler(automation)
    steps = compiler.steps(automation.steps, "steps", "")
    if compiler.sources.mistakes:
        raise DocumentError(*compiler.sources.mistakes)
    return Plan(automation, version, steps, awaits(steps), has_effects(steps), can_see_secrets(automation))


class _Compiler:
    """Collects mistakes rather than stopping at the first: an author mends them in one go."""

    def __init__(self, automation: Automation) -> None:
        self.sources = Sources()
        self._uses = Uses(self.sources)
        self._on_error: OnError | None = automation.on_error
        self._loops = 0
        self._keep_items = MOST_ITERATIONS if can_see_items(automation) else ITEMS_HELD
        steps = list(walk(automation.steps))
        if len(steps) > MAX_STEPS:
            self.sources.wrong("steps", f"{len(steps)} steps; {MAX_STEPS} are accepted")
        self._positions = {step.id: position for position, step in enumerate(steps, 1)}

    def steps(self, sources: Sequence[Source], path: str, inside: str) -> tuple[PlannedStep, ...]:
        """The steps at `path` of the document, inside the step whose path is `inside`."""
        planned = (self._step(source, f"{path}.{i}", inside) for i, source in enumerate(sources))
        return tuple([step for step in planned if step is not None])

    def _step(self, source: Source, path: str, inside: str) -> PlannedStep | None:
        common = self._common(source, path, inside)
        match source:
            case UseStep():
                return self._uses.planned(source, path, common)
            case FilterStep():
                condition = self.sources.condition(source.filter, f"{path}.filter")
                # Contained, an unreadable gate would stand open: only the step's own word makes the run go on.
                common["on_error"] = source.on_error or "stop"
                return None if condition is None else PlannedFilter(**common, condition=condition)
            case CollectStep():
                value = self.sources.value(source.collect, f"{path}.collect")
                return None if value is None else PlannedCollect(**common, value=value)
            case SetStep():
                for name in source.set:
                    if name in ("", "success", "error"):
                        self.sources.wrong(f"{path}.set.{name}", "not a name for state: each step's outputs have it")
                return PlannedSet(**common, fields=self.sources.fields(source.set, f"{path}.set"))
            case StopStep():
                message = self.sources.value(source.stop.message, f"{path}.stop.message")
                return None if message is None else PlannedStop(**common, status=source.stop.status, message=message)
            case BranchStep():
                return PlannedBranch(**common, ways=self._ways(source, f"{path}.branch", common["path"]))
            case LoopStep():
                return self._loop(source, path, common)
            case ParallelStep():
                return self._parallel(source, path, common)
            case CallStep():
                fields = self.sources.fields(source.call.fields, f"{path}.call.fields")
                call = source.call
                return PlannedCall(**common, automation=call.automation, fields=fields, wait=call.wait)
            case DelayStep():
                return self._delay(source, path, common)
            case WaitStep():
                return self._wait(source, path, common)

    def _common(self, source: Source, path: str, inside: str) -> Common:
        if len(source.name) > MAX_NAME:
            self.sources.wrong(f"{path}.name", f"{len(source.name)} characters; {MAX_NAME} are accepted")
        if source.retry is not None and not isinstance(source, UseStep):
            self.sources.wrong(f"{path}.retry", "only a step of the table (`use`) is tried again in place")
        policy: OnError | None = self._on_error if source.on_error is None else source.on_error
        position = self._positions[source.id]
        names = [str(position), source.id]
        if source.name and not source.name.isdigit() and source.name not in self._positions:
            names.append(source.name)
        return {
            "id": source.id,
            "use": source.use if isinstance(source, UseStep) else str(kind_of(source)),
            "name": source.name,
            "path": f"{inside}.{source.id}" if inside else source.id,
            "position": position,
            "names": tuple(names),
            "when": self.sources.optional(source.when, f"{path}.when"),
            "timeout": source.timeout,
            "on_error": policy,
        }

    def _ways(self, source: BranchStep, path: str, inside: str) -> tuple[Way, ...]:
        ways: list[Way] = []
        for i, branch in enumerate(source.branch):
            at = f"{path}.{i}"
            if len(branch.name) > MAX_NAME:
                self.sources.wrong(f"{at}.name", f"{len(branch.name)} characters; {MAX_NAME} are accepted")
            when = self.sources.optional(branch.when, f"{at}.when")
            ways.append(Way(branch.name, when, self.steps(branch.steps, f"{at}.steps", inside)))
        return tuple(ways)

    def _loop(self, source: LoopStep, path: str, common: Common) -> PlannedStep | None:
        loop = source.loop
        self._loops += 1
        if self._loops > MAX_LOOPS:
            self.sources.wrong(f"{path}.loop", f"more than {MAX_LOOPS} loops in each other")
        steps = self.steps(source.steps, f"{path}.steps", common["path"])
        self._loops -= 1
        over = self.sources.value(loop.over, f"{path}.loop.over")
        failure = self.sources.optional(loop.failure, f"{path}.loop.failure")
        continue_if = self.sources.optional(loop.continue_if, f"{path}.loop.continue_if")
        break_if = self.sources.optional(loop.break_if, f"{path}.loop.break_if")
        if over is None:
            return None
        return PlannedLoop(
            **common,
            over=over,
            most=loop.max,
            option=loop.option,
            failure=failure,
            continue_if=continue_if,
            break_if=break_if,
            keep=loop.keep,
            keep_items=self._keep_items,
            concurrency=loop.concurrency,
            steps=steps,
            ended_beside=loop.concurrency > 1 and may_end(steps),
        )

    def _parallel(self, source: ParallelStep, path: str, common: Common) -> PlannedStep:
        strands = tuple(
            (strand.name, self.steps(strand.steps, f"{path}.parallel.{i}.steps", common["path"]))
            for i, strand in enumerate(source.parallel)
        )
        ends = [may_end(steps) for _, steps in strands]
        return PlannedParallel(
            **common,
            strands=strands,
            awaits=any(awaits(steps) for _, steps in strands),
            ended_beside=tuple(any(ends[:place] + ends[place + 1 :]) for place in range(len(ends))),
        )

    def _delay(self, source: DelayStep, path: str, common: Common) -> PlannedStep:
        delay = source.delay
        length = None if delay.for_ is None else self.sources.value(delay.for_, f"{path}.delay.for")
        until = None if delay.until is None else self.sources.value(delay.until, f"{path}.delay.until")
        may_park = True
        if length is not None and length.constant:
            try:
                may_park = delay_seconds(length.render(NOWHERE)) > LONGEST_PAUSE_S
            except ValueError as error:
                self.sources.wrong(f"{path}.delay.for", str(error))
        if until is not None and until.constant and to_time(until.render(NOWHERE)) is None:
            self.sources.wrong(f"{path}.delay.until", "expected a time such as 2013-01-31T10:00:00Z, or a template")
        return PlannedDelay(**common, seconds=length, until=until, may_park=may_park)

    def _wait(self, source: WaitStep, path: str, common: Common) -> PlannedStep | None:
        wait, at = source.wait_for_event, f"{path}.wait_for_event"
        key = self.sources.value(wait.key, f"{at}.key")
        if wait.timeout > LONGEST_WAIT_S:
            self.sources.wrong(f"{at}.timeout", "longer than the retention of waits, 7 days")
        if wait.type.startswith(RESERVED):
            self.sources.wrong(f"{at}.type", f"types that begin with `{RESERVED}` are Headrace's own")
        match = self.sources.optional(wait.match, f"{at}.match", RUN_ROOTS | {"data", "event"})
        return None if key is None else PlannedWait(**common, type=wait.type, key=key, match=match, limit=wait.timeout)
