"""A `use` step, compiled: its inputs checked against the step's model as far as they are constant."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from headrace.contracts.automation import Retry, UseStep
from headrace.contracts.validation import dotted, said, written
from headrace.engine.errors import StepError
from headrace.engine.plan import Common, Fields, PlannedAwaiting, PlannedPure, PlannedStep
from headrace.engine.sources import NOWHERE, Sources, nearest, suggestion
from headrace.engine.steps import STEPS
from headrace.engine.steps.base import AwaitingStep, PureStep
from headrace.language import Value

DEFAULT_TIMEOUT = 30.0
"""Seconds of a step that waits for something: a step under way holds its partition's offset back that long (G7)."""

_ONE_TRY = Retry(attempts=1)

WorkT = TypeVar("WorkT")


class Uses:
    """Compiles the `use` steps of one document."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def planned(self, source: UseStep, path: str, common: Common) -> PlannedStep | None:
        """The step of the table with its inputs; None if there is none of the name."""
        step = STEPS.get(source.use)
        if step is None:
            self._sources.wrong(f"{path}.use", f"unknown step {source.use!r}{suggestion(source.use, STEPS)}")
            return None
        before = len(self._sources.mistakes)
        self._check_names(source, step, path)
        guard = step.guard()
        values = {
            name: self._sources.value(value, f"{path}.with.{name}", guard) for name, value in source.with_.items()
        }
        found = {name: value for name, value in values.items() if value is not None}
        self._check_constancy(found, step, path)
        fields = Fields(found, NOWHERE)
        effect = step.effect_of(self._check_constants(found, step, path))
        if source.on_unknown is not None and effect not in ("at_least_once", "at_most_once"):
            self._sources.wrong(f"{path}.on_unknown", f"{step.use} calls nobody outside")
        is_sound = len(self._sources.mistakes) == before and fields.constant
        if isinstance(step, PureStep):
            ready = self._ready(step.bind, fields, path) if is_sound else None
            return PlannedPure(**common, step=step, fields=fields, ready=ready)
        default = "fail" if effect == "at_most_once" else "resend"
        return PlannedAwaiting(
            **common,
            step=step,
            fields=fields,
            ready=self._ready(step.bind, fields, path) if is_sound else None,
            retry=source.retry or step.retry or _ONE_TRY,
            limit=source.timeout or DEFAULT_TIMEOUT,
            effect=effect,
            at_most_once=effect not in ("none", "once") and (source.on_unknown or default) == "fail",
        )

    def _check_names(self, source: UseStep, step: PureStep | AwaitingStep, path: str) -> None:
        known = {field.alias or name: field for name, field in step.inputs.model_fields.items()}
        misspelt: set[str] = set()
        for name in source.with_:
            if name not in known:
                misspelt |= set(nearest(name, known))
                self._sources.wrong(f"{path}.with.{name}", f"{step.use} has no such input{suggestion(name, known)}")
        for name, field in known.items():
            if field.is_required() and name not in source.with_ and name not in misspelt:
                self._sources.wrong(f"{path}.with.{name}", f"{step.use} needs it")

    def _check_constancy(self, values: Mapping[str, Value], step: PureStep | AwaitingStep, path: str) -> None:
        for name, way_out in step.only_constant.items():
            if name in values and not values[name].constant:
                self._sources.wrong(f"{path}.with.{name}", f"{step.use} takes no template here; {way_out}")

    def _check_constants(
        self, values: Mapping[str, Value], step: PureStep | AwaitingStep, path: str
    ) -> Mapping[str, object]:
        """The constants; those that can never fit are refused now, whatever the templates beside them will give."""
        constants = {name: value.render(NOWHERE) for name, value in values.items() if value.constant}
        try:
            step.inputs.model_validate(constants)
        except ValidationError as error:
            for mistake in error.errors(include_url=False, include_input=False):
                location = mistake["loc"]
                unknown = len(location) == 1 and mistake["type"] == "extra_forbidden"  # told with a suggestion
                if location and location[0] in constants and not unknown:
                    self._sources.wrong(f"{path}.with.{dotted(written(mistake, location, constants))}", said(mistake))
        return constants

    def _ready(self, bind: Callable[[dict[str, object]], WorkT], fields: Fields, path: str) -> WorkT | None:
        """The work of a step whose inputs are all constant, bound once for all runs."""
        try:
            return bind(fields.render(NOWHERE))
        except StepError as error:
            message = error.message.removeprefix("inputs: ").removeprefix("(whole): ")
            where, colon, what = message.partition(": ")
            if colon and where.partition(".")[0] in fields.names:
                self._sources.wrong(f"{path}.with.{where}", what)
            else:
                self._sources.wrong(f"{path}.with", message)
            return None
