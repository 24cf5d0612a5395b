"""From the document to the plan: every mistake an author can make is found here, with its path."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TypedDict, TypeVar

from pydantic import ValidationError

from headrace.contracts.automation import (
    Automation,
    BranchStep,
    CallStep,
    CollectStep,
    ConditionSource,
    DelayStep,
    DocumentError,
    FilterStep,
    LoopStep,
    Mistake,
    OnError,
    ParallelStep,
    Retry,
    SetStep,
    StopStep,
    UseStep,
    WaitStep,
    kind_of,
    walk,
)
from headrace.contracts.automation import Step as Source
from headrace.contracts.automation.values import seconds
from headrace.contracts.validation import dotted
from headrace.engine.errors import StepError
from headrace.engine.masking import can_see_secrets
from headrace.engine.plan import (
    Fields,
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
    PlannedWait,
    Way,
    awaits,
    has_effects,
)
from headrace.engine.steps import STEPS
from headrace.engine.steps.base import AwaitingStep, PureStep
from headrace.language import (
    RUN_ROOTS,
    Condition,
    Guard,
    LanguageError,
    Scope,
    Value,
    compile_condition,
    compile_value,
    placed,
)
from headrace.language.values import to_time

MAX_STEPS = 500
"""Steps of an automation. Their results, at about 1 KB each when cut short, must fit into one run record."""

MAX_NAME = 100
"""Characters of a step's or branch's name, for the same reason: every record carries it."""

DEFAULT_TIMEOUT = 30.0
"""Seconds of a step that waits for something: a step under way holds its partition's offset back that long (G7)."""

LONGEST_WAIT_S = 7 * 86_400.0
"""The retention of `headrace.waits`: a longer wait could miss the event that ends it."""

MAX_LOOPS = 5
"""Loops in each other: 200 ^ 5 iterations are more than any timeout lets happen."""

_ONE_TRY = Retry(attempts=1)
_NOWHERE = Scope({}, "", datetime.fromtimestamp(0, UTC))
"""Where constants are rendered: they refer to nothing."""


WorkT = TypeVar("WorkT")


class _Common(TypedDict):
    id: str
    use: str
    name: str
    path: str
    position: int
    names: tuple[str, ...]
    when: Condition | None
    timeout: float | None
    on_error: OnError | None


def compile_plan(automation: Automation, version: int) -> Plan:
    """The plan of a version; raises DocumentError with the path of every mistake in steps, inputs and templates."""
    compiler = _Compiler(automation)
    steps = compiler.steps(automation.steps, "steps", "")
    if compiler.mistakes:
        raise DocumentError(*compiler.mistakes)
    return Plan(automation, version, steps, awaits(steps), has_effects(steps), can_see_secrets(automation))


class _Compiler:
    """Collects mistakes rather than stopping at the first: an author mends them in one go."""

    def __init__(self, automation: Automation) -> None:
        self.mistakes: list[Mistake] = []
        self._on_error: OnError | None = automation.on_error
        self._loops = 0
        steps = list(walk(automation.steps))
        if len(steps) > MAX_STEPS:
            self._wrong("steps", f"{len(steps)} steps; {MAX_STEPS} are accepted")
        self._positions = {step.id: position for position, step in enumerate(steps, 1)}

    def steps(self, sources: Sequence[Source], path: str, inside: str) -> tuple[PlannedStep, ...]:
        """The steps at `path` of the document, inside the step whose path is `inside`."""
        planned = (self._step(source, f"{path}.{i}", inside) for i, source in enumerate(sources))
        return tuple([step for step in planned if step is not None])

    def _wrong(self, path: str, message: str) -> None:
        self.mistakes.append(Mistake(path, message))

    def _step(self, source: Source, path: str, inside: str) -> PlannedStep | None:
        common = self._common(source, path, inside)
        match source:
            case UseStep():
                return self._use(source, path, common)
            case FilterStep():
                condition = self._condition(source.filter, f"{path}.filter")
                # Contained, an unreadable gate would stand open: only the step's own word makes the run go on.
                common["on_error"] = source.on_error or "stop"
                return None if condition is None else PlannedFilter(**common, condition=condition)
            case CollectStep():
                value = self._value(source.collect, f"{path}.collect")
                return None if value is None else PlannedCollect(**common, value=value)
            case SetStep():
                return PlannedSet(**common, fields=self._fields(source.set, f"{path}.set"))
            case StopStep():
                message = self._value(source.stop.message, f"{path}.stop.message")
                return None if message is None else PlannedStop(**common, status=source.stop.status, message=message)
            case BranchStep():
                return PlannedBranch(**common, ways=self._ways(source, f"{path}.branch", common["path"]))
            case LoopStep():
                return self._loop(source, path, common)
            case ParallelStep():
                return self._parallel(source, path, common)
            case CallStep():
                fields = self._fields(source.call.fields, f"{path}.call.fields")
                call = source.call
                return PlannedCall(**common, automation=call.automation, fields=fields, wait=call.wait)
            case DelayStep():
                return self._delay(source, path, common)
            case WaitStep():
                return self._wait(source, path, common)

    def _common(self, source: Source, path: str, inside: str) -> _Common:
        if len(source.name) > MAX_NAME:
            self._wrong(f"{path}.name", f"{len(source.name)} characters; {MAX_NAME} are accepted")
        if source.retry is not None and not isinstance(source, UseStep):
            self._wrong(f"{path}.retry", "only a step of the table (`use`) is tried again in place")
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
            "when": self._optional(source.when, f"{path}.when"),
            "timeout": source.timeout,
            "on_error": policy,
        }

    def _ways(self, source: BranchStep, path: str, inside: str) -> tuple[Way, ...]:
        ways: list[Way] = []
        for i, branch in enumerate(source.branch):
            at = f"{path}.{i}"
            if len(branch.name) > MAX_NAME:
                self._wrong(f"{at}.name", f"{len(branch.name)} characters; {MAX_NAME} are accepted")
            when = self._optional(branch.when, f"{at}.when")
            ways.append(Way(branch.name, when, self.steps(branch.steps, f"{at}.steps", inside)))
        return tuple(ways)

    def _loop(self, source: LoopStep, path: str, common: _Common) -> PlannedStep | None:
        loop = source.loop
        self._loops += 1
        if self._loops > MAX_LOOPS:
            self._wrong(f"{path}.loop", f"more than {MAX_LOOPS} loops in each other")
        steps = self.steps(source.steps, f"{path}.steps", common["path"])
        self._loops -= 1
        over = self._value(loop.over, f"{path}.loop.over")
        if over is None:
            return None
        return PlannedLoop(
            **common,
            over=over,
            most=loop.max,
            option=loop.option,
            failure=self._optional(loop.failure, f"{path}.loop.failure"),
            continue_if=self._optional(loop.continue_if, f"{path}.loop.continue_if"),
            break_if=self._optional(loop.break_if, f"{path}.loop.break_if"),
            keep=loop.keep,
            # What never waits is no faster at once.
            concurrency=loop.concurrency if awaits(steps) else 1,
            steps=steps,
        )

    def _parallel(self, source: ParallelStep, path: str, common: _Common) -> PlannedStep:
        strands = tuple(
            (strand.name, self.steps(strand.steps, f"{path}.parallel.{i}.steps", common["path"]))
            for i, strand in enumerate(source.parallel)
        )
        return PlannedParallel(**common, strands=strands, awaits=any(awaits(steps) for _, steps in strands))

    def _delay(self, source: DelayStep, path: str, common: _Common) -> PlannedStep:
        delay = source.delay
        pause = None if delay.for_ is None else self._value(delay.for_, f"{path}.delay.for")
        until = None if delay.until is None else self._value(delay.until, f"{path}.delay.until")
        if pause is not None and pause.constant:
            try:
                seconds(pause.render(_NOWHERE))
            except ValueError as error:
                self._wrong(f"{path}.delay.for", str(error))
        if until is not None and until.constant and to_time(until.render(_NOWHERE)) is None:
            self._wrong(f"{path}.delay.until", "expected a time such as 2013-01-31T10:00:00Z, or a template")
        return PlannedDelay(**common, seconds=pause, until=until)

    def _wait(self, source: WaitStep, path: str, common: _Common) -> PlannedStep | None:
        wait, at = source.wait_for_event, f"{path}.wait_for_event"
        key = self._value(wait.key, f"{at}.key")
        if wait.timeout > LONGEST_WAIT_S:
            self._wrong(f"{at}.timeout", "longer than the retention of waits, 7 days")
        match = self._optional(wait.match, f"{at}.match")
        return None if key is None else PlannedWait(**common, type=wait.type, key=key, match=match, limit=wait.timeout)

    def _use(self, source: UseStep, path: str, common: _Common) -> PlannedStep | None:
        step = STEPS.get(source.use)
        if step is None:
            self._wrong(f"{path}.use", f"unknown step {source.use!r}{_suggestion(source.use, STEPS)}")
            return None
        self._check_names(source, step, path)
        guard = step.guard()
        values = {name: self._value(value, f"{path}.with.{name}", guard) for name, value in source.with_.items()}
        found = {name: value for name, value in values.items() if value is not None}
        self._check_constancy(found, step, path)
        fields = Fields(found, _NOWHERE)
        effect = step.effect_of(self._check_constants(found, step, path))
        if source.on_unknown is not None and effect not in ("at_least_once", "at_most_once"):
            self._wrong(f"{path}.on_unknown", f"{step.use} calls nobody outside")
        if isinstance(step, PureStep):
            ready = self._ready(step.bind, fields, path)
            return PlannedPure(**common, step=step, fields=fields, ready=ready)
        default = "fail" if effect == "at_most_once" else "resend"
        at_most_once = effect not in ("none", "once") and (source.on_unknown or default) == "fail"
        return PlannedAwaiting(
            **common,
            step=step,
            fields=fields,
            ready=self._ready(step.bind, fields, path),
            retry=self._retry(source, step, at_most_once, path),
            limit=source.timeout or DEFAULT_TIMEOUT,
            effect=effect,
            at_most_once=at_most_once,
        )

    def _retry(self, source: UseStep, step: AwaitingStep, at_most_once: bool, path: str) -> Retry:
        if not at_most_once:
            return source.retry or step.retry or _ONE_TRY
        if source.retry is not None and source.retry.attempts > 1:
            self._wrong(f"{path}.retry", "with `on_unknown: fail` a call is made once; attempts must be 1")
        return _ONE_TRY

    def _check_names(self, source: UseStep, step: PureStep | AwaitingStep, path: str) -> None:
        known = {field.alias or name: field for name, field in step.inputs.model_fields.items()}
        for name in source.with_:
            if name not in known:
                self._wrong(f"{path}.with.{name}", f"{step.use} has no such input{_suggestion(name, known)}")
        for name, field in known.items():
            if field.is_required() and name not in source.with_:
                self._wrong(f"{path}.with.{name}", f"{step.use} needs it")

    def _check_constancy(self, values: Mapping[str, Value], step: PureStep | AwaitingStep, path: str) -> None:
        for name, way_out in step.only_constant.items():
            if name in values and not values[name].constant:
                self._wrong(f"{path}.with.{name}", f"{step.use} takes no template here; {way_out}")

    def _check_constants(
        self, values: Mapping[str, Value], step: PureStep | AwaitingStep, path: str
    ) -> Mapping[str, object]:
        """The constants; those that can never fit are refused now, whatever the templates beside them will give."""
        constants = {name: value.render(_NOWHERE) for name, value in values.items() if value.constant}
        try:
            step.inputs.model_validate(constants)
        except ValidationError as error:
            for mistake in error.errors(include_url=False, include_input=False):
                if mistake["loc"] and mistake["loc"][0] in constants and mistake["type"] != "extra_forbidden":
                    self._wrong(f"{path}.with.{dotted(mistake['loc'])}", mistake["msg"])
        return constants

    def _ready(self, bind: Callable[[dict[str, object]], WorkT], fields: Fields, path: str) -> WorkT | None:
        """The work of a step whose inputs are all constant, bound once for all runs."""
        if not fields.constant or self.mistakes:
            return None
        try:
            return bind(fields.render(_NOWHERE))
        except StepError as error:
            self._wrong(f"{path}.with", error.message.removeprefix("inputs: "))
            return None

    def _fields(self, sources: Mapping[str, object], path: str) -> Fields:
        values = {name: self._value(value, f"{path}.{name}") for name, value in sources.items()}
        return Fields({name: value for name, value in values.items() if value is not None}, _NOWHERE)

    def _optional(self, source: ConditionSource | None, path: str) -> Condition | None:
        return None if source is None else self._condition(source, path)

    def _condition(self, source: ConditionSource, path: str) -> Condition | None:
        try:
            return compile_condition(source, roots=RUN_ROOTS, path=path)
        except LanguageError as error:
            self._wrong(error.path, placed(error))
            return None

    def _value(self, source: object, path: str, guard: Guard | None = None) -> Value | None:
        try:
            return compile_value(source, roots=RUN_ROOTS, path=path, guard=guard)
        except LanguageError as error:
            self._wrong(error.path, placed(error))
            return None


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(sorted(known))}"
