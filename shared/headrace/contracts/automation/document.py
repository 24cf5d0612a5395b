"""The whole document: what an author writes, and what `apply` saves."""

from typing import Annotated, Literal

from pydantic import BaseModel, ValidationError
from pydantic import Field as field

from headrace.contracts.automation.bounds import Concurrency, Rate
from headrace.contracts.automation.expected import pointless
from headrace.contracts.automation.fields import Field, Fields
from headrace.contracts.automation.kept import too_deep, unkeepable
from headrace.contracts.automation.mistakes import DocumentError, mistakes_of
from headrace.contracts.automation.raw import disagreements
from headrace.contracts.automation.steps import OnError, Step, WaitStep, walk
from headrace.contracts.automation.triggers import Trigger
from headrace.contracts.automation.values import Duration, Name, Part
from headrace.contracts.jobs import Priority
from headrace.contracts.runs import RunStatus


class Expectation(Part):
    """What a test case must come to; only what is named is compared, and a case names something.

    A step is named by its id, at any depth. Inside of a loop `leg` means each iteration, `leg[2]` the third, `leg[0.2]`
    the third of the inner loop in the first of the outer. Of its result (`status`, `branch`, `inputs`, `outputs`,
    `error`) what is named must be there, `{}` says that it is done, and null that it is not.
    """

    fires: bool = True
    """Whether the event makes a run at all."""
    status: RunStatus | None = None
    steps: dict[str, dict[str, object] | None] = field(default_factory=dict)
    collected: object = None
    """The run's answer, the whole of it."""
    error: str | None = None
    """The type of the run's first error; null says that there is none."""


class TestCase(Part):
    """A test beside the automation: the trigger's event, what stands for steps that would leave the run, the end."""

    __test__ = False
    """pytest would take it for one of its own."""

    name: str
    event: dict[str, object] = field(default_factory=dict)
    stubs: dict[str, object] = field(default_factory=dict)
    expect: Expectation = Expectation()


class Automation(Part):
    """A whole document. `timeout` is the active time of one segment of a run, in seconds."""

    name: Name
    app: Name
    description: str = ""
    priority: Priority = "normal"
    ordering_key: str | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None
    timeout: Duration = 120.0
    on_error: OnError | None = None
    """None: `retry` for failures of outside calls that may pass, `contain` for all else."""
    fields: Fields = field(default_factory=dict)
    trigger: Trigger
    steps: Annotated[tuple[Step, ...], field(min_length=1)]
    tests: tuple[TestCase, ...] = ()

    @property
    def id(self) -> str:
        """`app/name`: the automation's id in topics and collections."""
        return f"{self.app}/{self.name}"

    @property
    def key(self) -> tuple[str, str] | None:
        """Path and template of the key by which its jobs are ordered, partitioned and limited; None: the event's record
        key. Where the document gives several they are the same."""
        if self.ordering_key is not None:
            return "ordering_key", self.ordering_key
        if self.concurrency is not None:
            return "concurrency.key", self.concurrency.key
        return None if self.rate is None else ("rate.key", self.rate.key)


LiveState = Literal["enabled", "paused", "disabled", "stopped_error"]

TAKES_EVENTS: frozenset[LiveState] = frozenset({"enabled", "paused"})
"""The states in which events start runs; where it is paused these wait. In the others events pass by."""


def awaited_types(automation: Automation) -> frozenset[str]:
    """The types of events that its steps wait for."""
    return frozenset(step.wait_for_event.type for step in walk(automation.steps) if isinstance(step, WaitStep))


RELEASE_RATE = 100.0
"""Of an automation that says nothing: a backlog of an hour at ten a second is gone in six minutes, and what is called
gets no more than some services' usual limits."""


class LiveAutomation(Part):
    """An automation's live version and state on the compacted topic; a reader ignores a lower revision.

    `paused`: its jobs wait. `disabled`: events pass by. `stopped_error`: disabled because it failed too often in a row.
    `reason` and `by` tell why, and who did it.

    `release_rate`: what waited while it was paused goes on at so many runs a second, over all partitions together.

    `awaits` are the types of events that runs of this version or an earlier one wait for: those of an earlier version
    may still be under way, also while the automation is disabled.
    """

    format: Literal[1]
    revision: int
    version: int
    state: LiveState
    reason: str = ""
    by: str = ""
    release_rate: float = RELEASE_RATE
    awaits: tuple[str, ...] = ()
    document: Automation


def parse_automation(document: object) -> Automation:
    """The automation in a parsed YAML or JSON document; raises DocumentError with every mistake's path."""
    deep = too_deep(document)
    if deep is not None:
        raise DocumentError(deep)
    mistakes = [*unkeepable(document), *disagreements(document), *pointless(document)]
    try:
        automation = Automation.model_validate(document)
    except ValidationError as error:
        known = {each.path for each in mistakes}
        shape = mistakes_of(error, document, *DOCUMENT_PARTS)
        raise DocumentError(*mistakes, *(each for each in shape if each.path not in known)) from None
    if mistakes:
        raise DocumentError(*mistakes)
    return automation


DOCUMENT_PARTS: tuple[type[BaseModel], ...] = (Automation, Concurrency, Rate, Field, TestCase, Expectation)
