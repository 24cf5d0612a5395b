"""What a step of the table is: a name, its inputs, what it does outside, and the work itself."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.automation import Retry
from headrace.contracts.validation import explain
from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.language import Guard

Outputs = dict[str, object]
"""What templates see of a step that is done; always with `success`."""

Compute = Callable[[Run], Outputs]
Perform = Callable[[Run], Awaitable[Outputs]]

Effect = Literal["none", "once", "at_least_once", "at_most_once"]
"""What a step does outside of the run. `none`: nothing. `once`: exactly once, on what is Headrace's own. A call to
others, whose fate is unknown when its worker dies, is made again under the same key, or never again."""


class Inputs(BaseModel):
    """Base of the inputs models: an unknown name is a mistake, and nothing changes after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def checked(model: type[ModelT], rendered: Outputs) -> ModelT:
    """The inputs as `model` understands them; raises StepError `bad_input` that names what does not fit."""
    try:
        return model.model_validate(rendered)
    except ValidationError as error:
        raise StepError("bad_input", explain(error, "inputs", rendered)[1]) from None


class Step(ABC):
    """One step of the table. Instances hold no state: one serves all runs."""

    use: ClassVar[str]
    """The name in `use`."""
    inputs: ClassVar[type[BaseModel]]
    """The model that rendered inputs must fit."""
    outputs: ClassVar[dict[str, str]]
    """Names of the outputs beside `success`, and what each is: the docs and the editor read it."""
    effect: ClassVar[Effect]
    errors: ClassVar[dict[str, str]] = {}
    """Types of its errors, and what each means"""
    only_constant: ClassVar[dict[str, str]] = {}
    """Inputs in which a template is refused at save, and the way out: there data would become code."""
    example: ClassVar[str] = ""
    """One step in YAML as it stands under `steps:`, for its page in the docs; a test runs it."""
    retry: ClassVar[Retry | None] = None
    """Tries in place where the author says nothing; None is one try."""

    def effect_of(self, constants: Mapping[str, object]) -> Effect:
        """The effect of one use of the step, whose inputs are these as far as they are constant.

        A step that can also merely read says so here; when in doubt it answers `effect`.
        """
        return self.effect

    def guard(self) -> Guard | None:
        """Sees each value that a template gives to an input, before the inputs are put together, and raises StepError
        for what data may not bring."""
        return None

    def stored(self, rendered: Outputs) -> Outputs:
        """The rendered inputs as a record may keep them: credentials masked."""
        return rendered


class PureStep(Step):
    """A step that only computes: it never suspends, and doing it again gives the same."""

    @abstractmethod
    def bind(self, rendered: Outputs) -> Compute:
        """Validates the inputs and gives the work on them; raises StepError `bad_input`."""


class AwaitingStep(Step):
    """A step that waits for something outside. Its work can be cancelled at any await."""

    @abstractmethod
    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and gives the work on them; raises StepError `bad_input`.

        The work may be called several times, once per attempt. It raises StepError for what the author, the data or
        the other side did, and PlatformUnavailable where our own platform is away.
        """
