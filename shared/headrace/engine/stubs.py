"""Test runs: the same plan and the same flow, with stubs in the place of steps that would leave the run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import cast

from headrace.contracts import limits
from headrace.contracts.runs import StepResult
from headrace.engine.endings import finished
from headrace.engine.errors import StepError, StepTimeout
from headrace.engine.leaves import end_of
from headrace.engine.plan import (
    LONGEST_PAUSE_S,
    STUBBABLE,
    Plan,
    PlannedAwaiting,
    PlannedBranch,
    PlannedCall,
    PlannedDelay,
    PlannedLoop,
    PlannedParallel,
    PlannedPure,
    PlannedStep,
    PlannedStub,
    PlannedWait,
    Stubbable,
    awaits,
    has_effects,
    lists_in,
)
from headrace.engine.ports import SystemClock
from headrace.engine.run import Run
from headrace.engine.stub_answers import StubError, answers_of

NOT_ALLOWED = "not_allowed"
"""The type of the error of a step that a test run does not do."""


_OUTSIDE = ("at_least_once", "at_most_once")
"""Effects of steps that call others. It is the step's own word that counts, not its use's: what only reads elsewhere
leaves the run, too."""


LAST_TIME = datetime(9000, 1, 1, tzinfo=UTC)
"""Of a test run's clock: well before the end of Python's calendar, near which arithmetic with times fails."""


class JumpingClock(SystemClock):
    """The machine's clocks, but delays pass at once: `now` is then as far ahead as they were long.

    With `begins` the wall clock begins at that time rather than now.
    """

    def __init__(self, begins: datetime | None = None) -> None:
        self._shift = timedelta(0) if begins is None else begins - super().now()
        self._passed = timedelta(0)

    def now(self) -> datetime:
        """The wall clock's time after all jumps: aware, UTC."""
        return self.after(self._passed)

    def after(self, passed: timedelta) -> datetime:
        """The time where delays have let `passed` pass."""
        return super().now() + self._shift + passed

    def jump(self, passed: timedelta) -> None:
        """Delays have let `passed` pass since the beginning; what others let pass beside them is no more than that."""
        self._passed = max(self._passed, passed)


def with_stubs(plan: Plan, stubs: Mapping[str, object]) -> Plan:
    """The plan with stubs, by step id, for steps at any depth; raises StubError.

    A stub is the step's outputs, or `{"error": {"type", "message", "retryable"}}` with those that a failure has; a list
    of such is one for each iteration of the loop around the step, of which the last repeats.
    """
    steps = {step.id: step for step in _all(plan.steps)}
    in_loops = {each.id for loop in steps.values() if isinstance(loop, PlannedLoop) for each in _all(loop.steps)}
    answers = {id: answers_of(_stubbable(id, steps), stub, in_loop=id in in_loops) for id, stub in stubs.items()}

    def change(step: PlannedStep) -> PlannedStep:
        found = answers.get(step.id)
        return step if found is None or not isinstance(step, STUBBABLE) else stub_for(step, found)

    return _changed(plan, change)


def within_the_run(plan: Plan, *, allow_effects: bool, in_case: bool = False) -> Plan:
    """The plan as a test run does it: whatever would leave the run, and has no stub, fails as `not_allowed`.

    With `allow_effects` outside calls are made. Waiting for others is never possible; delays pass at once. `in_case`:
    the run is that of a test case in a file, where a stub is written otherwise.
    """

    def change(step: PlannedStep) -> PlannedStep:
        if isinstance(step, PlannedDelay):
            return stub_for(step, ({},))
        stub = f"stubs: {{{step.id}: …}}" if in_case else f"--stub {step.id}=JSON"
        if isinstance(step, PlannedWait) or (isinstance(step, PlannedCall) and step.wait):
            return _refusal(step, f"a test run waits for nobody; give it a stub ({stub})")
        if isinstance(step, PlannedAwaiting) and step.step.effect in _OUTSIDE and not allow_effects:
            way_out = f"give the case {stub}" if in_case else f"give {stub} or --allow-effects"
            return _refusal(step, f"not allowed in a test run; {way_out}")
        return step

    return _changed(plan, change)


def with_all_iterations(plan: Plan) -> Plan:
    """The plan whose loops keep the results of every iteration, whatever the automation's record would keep."""
    return _changed(
        plan, lambda step: replace(step, keep=limits.MOST_ITERATIONS) if isinstance(step, PlannedLoop) else step
    )


def stub_for(step: Stubbable, answers: tuple[Mapping[str, object], ...]) -> PlannedStub:
    """What stands in the place of `step`."""
    return PlannedStub(
        id=step.id,
        use=step.use,
        name=step.name,
        path=step.path,
        position=step.position,
        names=step.names,
        when=step.when,
        timeout=step.timeout,
        on_error=step.on_error,
        stands_for=step,
        answers=answers,
    )


def do_stub(run: Run, step: PlannedStub, result: StepResult) -> None:
    """Renders and checks the inputs of the step that it stands for, and gives what the test run is told."""
    known = _inputs(run, step.stands_for, result)
    index = run.scope.roots.get("item_index")
    number = index if isinstance(index, int) else 0
    answer = step.answers[min(number, len(step.answers) - 1)]
    error = answer.get("error")
    if isinstance(error, Mapping):
        told = cast("Mapping[str, object]", error)
        raise StepError(
            str(told.get("type", "stubbed")),
            str(told.get("message", "the stub is an error")),
            retryable=told.get("retryable") is True,
            outputs={name: value for name, value in answer.items() if name != "error"},
        )
    finished(run, step, result, {"success": True, **known, **answer})


def _inputs(run: Run, step: Stubbable, result: StepResult) -> Mapping[str, object]:
    """Records the inputs as the step would; answers the outputs that follow from them. Raises what it would."""
    match step:
        case PlannedPure() | PlannedAwaiting():
            rendered = step.fields.render(run.scope)
            result["inputs"] = step.step.stored(rendered)
            step.step.bind(rendered)
        case PlannedCall():
            fields = step.fields.render(run.scope)
            result["inputs"] = {"automation": step.automation, "fields": fields}
        case PlannedWait():
            result["inputs"] = {"type": step.type, "key": step.key.render(run.scope)}
        case PlannedDelay():
            until = end_of(run, step, _time_of(run))
            result["inputs"] = {"until": until}
            _pass(run, step, until)
            return {"until": until}
    return {}


def _pass(run: Run, step: PlannedDelay, until: datetime) -> None:
    """The delay is over at once, or fails, as the real one does, once its own timeout has passed."""
    if until >= LAST_TIME:
        told = f"it ends in the year {until.year}; a test run's clock goes up to {LAST_TIME.year}"
        raise StepError("bad_input", f"delay: {told}")
    pause = (until - _time_of(run)).total_seconds()
    passes = max(0.0, pause if step.timeout is None else min(pause, step.timeout))
    run.passed += timedelta(seconds=passes)
    if isinstance(run.ports.clock, JumpingClock):
        run.ports.clock.jump(run.passed)
    if passes > LONGEST_PAUSE_S:
        # There the real run parks, and a job written later resumes it.
        run.go_on_at(_time_of(run))
    if passes < pause:
        raise StepTimeout(step.timeout or 0.0)


def _time_of(run: Run) -> datetime:
    """The time of this strand of the run: those beside it do not wait for its delays."""
    clock = run.ports.clock
    return clock.after(run.passed) if isinstance(clock, JumpingClock) else clock.now()


def _refusal(step: Stubbable, message: str) -> PlannedStub:
    return stub_for(step, ({"error": {"type": NOT_ALLOWED, "message": message, "retryable": False}},))


def _stubbable(id: str, steps: Mapping[str, PlannedStep]) -> Stubbable:
    step = steps.get(id)
    if step is None:
        close = get_close_matches(id, steps, n=1)
        raise StubError(
            f"stub {id!r}: no step has this id; " + (f"did you mean `{close[0]}`?" if close else _list(steps))
        )
    if not isinstance(step, STUBBABLE):
        raise StubError(f"stub {id!r}: a step of kind `{step.use}` decides where the run goes, and is always done")
    return step


def _list(steps: Mapping[str, PlannedStep]) -> str:
    return "stubs can be given for " + (
        ", ".join(id for id, step in steps.items() if isinstance(step, STUBBABLE)) or "none"
    )


def _all(steps: Sequence[PlannedStep]) -> Sequence[PlannedStep]:
    return [each for step in steps for each in (step, *(found for inner in lists_in(step) for found in _all(inner)))]


def _changed(plan: Plan, change: Callable[[PlannedStep], PlannedStep]) -> Plan:
    steps = _changed_steps(plan.steps, change)
    return replace(plan, steps=steps, awaits=awaits(steps), has_effects=has_effects(steps))


def _changed_steps(
    steps: Sequence[PlannedStep], change: Callable[[PlannedStep], PlannedStep]
) -> tuple[PlannedStep, ...]:
    return tuple(_changed_step(step, change) for step in steps)


def _changed_step(step: PlannedStep, change: Callable[[PlannedStep], PlannedStep]) -> PlannedStep:
    match step:
        case PlannedBranch():
            return replace(step, ways=tuple(replace(w, steps=_changed_steps(w.steps, change)) for w in step.ways))
        case PlannedLoop():
            return change(replace(step, steps=_changed_steps(step.steps, change)))
        case PlannedParallel():
            return replace(step, strands=tuple((name, _changed_steps(each, change)) for name, each in step.strands))
        case _:
            return change(step)
