"""Steps of your own: an async function with pydantic inputs and outputs becomes a step of the table.

    @step("acme.score", effect="none")
    async def score(inputs: ScoreInputs, context: StepContext) -> ScoreOutputs:
        ...

The module's package names it in the entry-point group `headrace.steps`; see examples/steps.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from headrace.contracts.automation import Retry
from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Effect, Outputs, Perform, checked

__all__ = ["Effect", "Retry", "StepContext", "StepError", "step"]

InputsT = TypeVar("InputsT", bound=BaseModel)
OutputsT = TypeVar("OutputsT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know of its run.

    `key` is the same each time this step of this run is done: hand it on where the other side knows idempotency keys.
    `now` is the run's time (aware, UTC), the same too when the run is made again.
    """

    app: str
    automation: str
    run_id: str
    key: str
    now: datetime


StepFunction = Callable[[InputsT, StepContext], Awaitable[OutputsT]]


def step(
    use: str, *, effect: Effect, retry: Retry | None = None, errors: dict[str, str] | None = None
) -> Callable[[StepFunction[InputsT, OutputsT]], AwaitingStep]:
    """Makes a step of an async function; what it answers is the instance that an entry point names.

    `effect` says what the function does outside of the run, and so what becomes of a call whose worker dies: `none` and
    `at_least_once` are done again, under the same key, `at_most_once` never. The function raises StepError for what
    the author, the data or the other side did; anything else is a bug, and the run a dead letter that can be redriven.
    It may be cancelled at any await. Raises TypeError for a function that cannot be a step.
    """
    package, _, name = use.partition(".")
    if not package or not name:
        raise TypeError(f"@step({use!r}): the name is PACKAGE.NAME, so that no two packages mean the same")
    if effect == "once":
        raise TypeError(f"@step({use!r}): only what Headrace itself writes is done once; say at_least_once")

    def make(function: StepFunction[InputsT, OutputsT]) -> AwaitingStep:
        return _FunctionStep(use, effect, retry, errors or {}, function)

    return make


class _FunctionStep(AwaitingStep):
    def __init__(
        self, use: str, effect: Effect, retry: Retry | None, errors: dict[str, str], function: StepFunction[Any, Any]
    ) -> None:
        self._function = function
        self._model, answer = _models(use, function)
        own = cast(Any, self)  # the table reads these of the class where a class is the step
        own.use, own.effect, own.retry = use, effect, retry
        own.errors = {"bad_input": "an input does not fit; the message names it", **errors}
        own.inputs = self._model
        own.outputs = {
            field.alias or name: field.description or "" for name, field in answer.model_fields.items()
        }  # fmt: skip

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs; the work is the function."""
        inputs = checked(self._model, rendered)

        async def perform(run: Run) -> Outputs:
            job = run.job
            context = StepContext(job.app, job.automation, job.run_id, run.key, run.now)
            answer = cast(BaseModel, await self._function(inputs, context))
            return {"success": True, **answer.model_dump(by_alias=True)}

        return perform


def _models(use: str, function: StepFunction[Any, Any]) -> tuple[type[BaseModel], type[BaseModel]]:
    """The models of what goes in and what comes out."""
    wrong = f"@step({use!r}): expected `async def f(inputs: Model, context: StepContext) -> Model`"
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{wrong}; it is not async")
    hints = get_type_hints(function)
    answer = hints.pop("return", None)
    parameters = list(inspect.signature(function).parameters)
    given = hints.get(parameters[0]) if len(parameters) == 2 else None
    for model, what in ((given, "its first of two parameters"), (answer, "what it returns")):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"{wrong}; {what} is no pydantic model")
    return cast(type[BaseModel], given), cast(type[BaseModel], answer)
