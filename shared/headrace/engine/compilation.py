"""From the document to the plan: every mistake an author can make is found here, with its path."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TypedDict, TypeVar

from pydantic import ValidationError

from headrace.contracts.automation import (
    Automation,
    BranchStep,
    CollectStep,
    ConditionSource,
    DocumentError,
    FilterStep,
    OnError,
    Retry,
    UseStep,
    walk,
)
from headrace.contracts.automation import Step as Source
from headrace.contracts.validation import dotted
from headrace.engine.errors import StepError
from headrace.engine.masking import can_see_secrets
from headrace.engine.plan import (
    Fields,
    Plan,
    PlannedAwaiting,
    PlannedBranch,
    PlannedCollect,
    PlannedFilter,
    PlannedPure,
    PlannedStep,
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
)

MAX_STEPS = 500
"""Steps of an automation. Their results, at about 1 KB each when cut short, must fit into one run record."""

MAX_NAME = 100
"""Characters of a step's or branch's name, for the same reason: every record carries it."""

DEFAULT_TIMEOUT = 30.0
"""Seconds of a step that waits for something: a step under way holds its partition's offset back that long (G7)."""

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
    stops_on_error: bool


def compile_plan(automation: Automation, version: int) -> Plan:
    """The plan of a version; raises DocumentError with the path of every mistake in steps, inputs and templates."""
    compiler = _Compiler(automation)
    steps = compiler.steps(automation.steps, "steps", "", automation.on_error)
    if compiler.mistakes:
        raise DocumentError("; ".join(compiler.mistakes))
    return Plan(automation, version, steps, awaits(steps), has_effects(steps), can_see_secrets(automation))


class _Compiler:
    """Collects mistakes rather than stopping at the first: an author mends them in one go."""

    def __init__(self, automation: Automation) -> None:
        self.mistakes: list[str] = []
        steps = list(walk(automation.steps))
        if len(steps) > MAX_STEPS:
            self.mistakes.append(f"steps: {len(steps)} steps; {MAX_STEPS} are accepted")
        self._positions = {step.id: position for position, step in enumerate(steps, 1)}

    def steps(self, sources: Sequence[Source], path: str, inside: str, on_error: OnError) -> tuple[PlannedStep, ...]:
        """The steps at `path` of the document, inside the step whose path is `inside`."""
        planned = (self._step(source, f"{path}.{i}", inside, on_error) for i, source in enumerate(sources))
        return tuple([step for step in planned if step is not None])

    def _step(self, source: Source, path: str, inside: str, on_error: OnError) -> PlannedStep | None:
        common = self._common(source, path, inside, on_error)
        if isinstance(source, FilterStep):
            condition = self._condition(source.filter, f"{path}.filter")
            # Contained, an unreadable gate would stand open: only the step's own word makes the run go on.
            common["stops_on_error"] = source.on_error != "contain"
            return None if condition is None else PlannedFilter(**common, condition=condition)
        if isinstance(source, CollectStep):
            value = self._value(source.collect, f"{path}.collect")
            return None if value is None else PlannedCollect(**common, value=value)
        if isinstance(source, BranchStep):
            return PlannedBranch(**common, ways=self._ways(source, f"{path}.branch", common["path"], on_error))
        return self._use(source, path, common)

    def _common(self, source: Source, path: str, inside: str, on_error: OnError) -> _Common:
        if len(source.name) > MAX_NAME:
            self.mistakes.append(f"{path}.name: {len(source.name)} characters; {MAX_NAME} are accepted")
        position = self._positions[source.id]
        names = [str(position), source.id]
        if source.name and not source.name.isdigit() and source.name not in self._positions:
            names.append(source.name)
        return {
            "id": source.id,
            "use": source.use if isinstance(source, UseStep) else _kind(source),
            "name": source.name,
            "path": f"{inside}.{source.id}" if inside else source.id,
            "position": position,
            "names": tuple(names),
            "when": None if source.when is None else self._condition(source.when, f"{path}.when"),
            "timeout": source.timeout,
            "stops_on_error": (source.on_error or on_error) == "stop",
        }

    def _ways(self, source: BranchStep, path: str, inside: str, on_error: OnError) -> tuple[Way, ...]:
        ways: list[Way] = []
        for i, branch in enumerate(source.branch):
            at = f"{path}.{i}"
            if len(branch.name) > MAX_NAME:
                self.mistakes.append(f"{at}.name: {len(branch.name)} characters; {MAX_NAME} are accepted")
            when = None if branch.when is None else self._condition(branch.when, f"{at}.when")
            ways.append(Way(branch.name, when, self.steps(branch.steps, f"{at}.steps", inside, on_error)))
        return tuple(ways)

    def _use(self, source: UseStep, path: str, common: _Common) -> PlannedStep | None:
        step = STEPS.get(source.use)
        if step is None:
            self.mistakes.append(f"{path}.use: unknown step {source.use!r}{_suggestion(source.use, STEPS)}")
            return None
        self._check_names(source, step, path)
        guard = step.guard()
        values = {name: self._value(value, f"{path}.with.{name}", guard) for name, value in source.with_.items()}
        found = {name: value for name, value in values.items() if value is not None}
        self._check_constancy(found, step, path)
        fields = Fields(found, _NOWHERE)
        effect = step.effect_of(self._check_constants(found, step, path))
        if source.on_unknown is not None and effect not in ("at_least_once", "at_most_once"):
            self.mistakes.append(f"{path}.on_unknown: {step.use} calls nobody outside")
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
            self.mistakes.append(f"{path}.retry: with `on_unknown: fail` a call is made once; attempts must be 1")
        return _ONE_TRY

    def _check_names(self, source: UseStep, step: PureStep | AwaitingStep, path: str) -> None:
        known = {field.alias or name: field for name, field in step.inputs.model_fields.items()}
        for name in source.with_:
            if name not in known:
                self.mistakes.append(f"{path}.with.{name}: {step.use} has no such input{_suggestion(name, known)}")
        for name, field in known.items():
            if field.is_required() and name not in source.with_:
                self.mistakes.append(f"{path}.with.{name}: {step.use} needs it")

    def _check_constancy(self, values: Mapping[str, Value], step: PureStep | AwaitingStep, path: str) -> None:
        for name, way_out in step.only_constant.items():
            if name in values and not values[name].constant:
                self.mistakes.append(f"{path}.with.{name}: {step.use} takes no template here; {way_out}")

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
                    self.mistakes.append(f"{path}.with.{dotted(mistake['loc'])}: {mistake['msg']}")
        return constants

    def _ready(self, bind: Callable[[dict[str, object]], WorkT], fields: Fields, path: str) -> WorkT | None:
        """The work of a step whose inputs are all constant, bound once for all runs."""
        if not fields.constant or self.mistakes:
            return None
        try:
            return bind(fields.render(_NOWHERE))
        except StepError as error:
            self.mistakes.append(f"{path}.with: {error.message.removeprefix('inputs: ')}")
            return None

    def _condition(self, source: ConditionSource, path: str) -> Condition | None:
        try:
            return compile_condition(source, roots=RUN_ROOTS, path=path)
        except LanguageError as error:
            self.mistakes.append(str(error))
            return None

    def _value(self, source: object, path: str, guard: Guard | None = None) -> Value | None:
        try:
            return compile_value(source, roots=RUN_ROOTS, path=path, guard=guard)
        except LanguageError as error:
            self.mistakes.append(str(error))
            return None


def _kind(source: FilterStep | CollectStep | BranchStep) -> str:
    if isinstance(source, FilterStep):
        return "filter"
    return "collect" if isinstance(source, CollectStep) else "branch"


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(sorted(known))}"
