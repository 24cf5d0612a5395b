"""The automation document: what an author writes and what `apply` saves. language.md's form, checked by pydantic.

Templates and conditions stay text here; `headrace.engine.plan` and `headrace.matching` compile them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)

from headrace.contracts.jobs import Priority
from headrace.contracts.validation import dotted

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
StepId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
ConditionSource = str | bool | dict[str, object]
"""A template's text, or a filter object."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MAX_DEPTH = 100
"""Levels of a document, as MongoDB documents its own limit; a branch takes four, so that 24 may be in each other."""


class DocumentError(ValueError):
    """The document is no automation; the message names the path of each mistake and what was expected there."""


def seconds(text: object) -> object:
    """`"1.5s"`, `"10m"`, `"2d"` as seconds; numbers are seconds already."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip())
    if found is None:
        raise ValueError("expected a duration such as 500ms, 30s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=30 * 86400)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RowTrigger(_Part):
    """Fires on a change of a row of `table`; `only_if_changed` names columns of which one must differ."""

    type: Literal["row.created", "row.updated", "row.deleted"]
    table: Name
    when: ConditionSource | None = None
    only_if_changed: tuple[str, ...] = ()


class EventTrigger(_Part):
    """Fires on domain events whose CloudEvents type matches the pattern `event`; `*` stands for any text."""

    type: Literal["event"]
    event: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    when: ConditionSource | None = None


Trigger = Annotated[RowTrigger | EventTrigger, Field(discriminator="type")]


class Retry(_Part):
    """A step's tries in place: `attempts` in all, `backoff` × `factor` ^ n seconds between them, at most `max`."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    backoff: Duration = 1.0
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    max: Duration = 30.0


OnError = Literal["contain", "stop"]
OnUnknown = Literal["resend", "fail"]
"""What becomes of a call that was under way when its worker died: made again under the same key, or an error."""


class _StepPart(_Part):
    id: StepId
    name: str = ""
    when: ConditionSource | None = None
    timeout: Duration | None = None
    retry: Retry | None = None
    on_error: OnError | None = None


class UseStep(_StepPart):
    """A step of the table; `with` holds its inputs, every string a template."""

    use: str
    with_: dict[str, object] = Field(default_factory=dict, alias="with")
    on_unknown: OnUnknown | None = None


class FilterStep(_StepPart):
    """Where it is false the run ends `stopped`."""

    filter: ConditionSource


class CollectStep(_StepPart):
    """Keeps a value as the run's answer, type kept."""

    collect: object


class Branch(_Part):
    """One way of a branch step; `else: true` marks the last."""

    name: str
    when: ConditionSource | None = None
    else_: Literal[True] | None = Field(default=None, alias="else")
    steps: "tuple[Step, ...]" = ()

    @model_validator(mode="after")
    def _one_condition(self) -> "Branch":
        if (self.when is None) == (self.else_ is None):
            raise ValueError("a branch has either `when` or `else: true`")
        return self


class BranchStep(_StepPart):
    """Runs the steps of the first branch whose condition holds."""

    branch: Annotated[tuple[Branch, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _else_is_last(self) -> "BranchStep":
        if any(branch.else_ for branch in self.branch[:-1]):
            raise ValueError("`else: true` marks the last branch")
        names = [branch.name for branch in self.branch]
        if len(set(names)) < len(names):
            raise ValueError("two branches have the same name")
        return self


_KINDS = ("use", "branch", "filter", "collect")


def _kind(value: object) -> str | None:
    if not isinstance(value, dict):
        return next((kind for kind in _KINDS if hasattr(value, kind)), None)
    found = [kind for kind in _KINDS if kind in value]
    return found[0] if len(found) == 1 else None


Step = Annotated[
    Annotated[UseStep, Tag("use")]
    | Annotated[BranchStep, Tag("branch")]
    | Annotated[FilterStep, Tag("filter")]
    | Annotated[CollectStep, Tag("collect")],
    Discriminator(
        _kind,
        custom_error_type="step_kind",
        custom_error_message=f"a step has exactly one kind: {', '.join(_KINDS)}",
    ),
]


class Automation(_Part):
    """A whole document. `timeout` is the active time of one segment of a run, in seconds."""

    name: Name
    app: Name
    description: str = ""
    priority: Priority = "normal"
    ordering_key: str | None = None
    timeout: Duration = 120.0
    on_error: OnError = "contain"
    trigger: Trigger
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]

    @property
    def id(self) -> str:
        """`app/name`: the automation's id in topics and collections."""
        return f"{self.app}/{self.name}"

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "Automation":
        seen: set[str] = set()
        for step in walk(self.steps):
            if step.id in seen:
                raise ValueError(f"two steps have the id {step.id!r}; ids are unique in the whole automation")
            seen.add(step.id)
        return self


class LiveAutomation(_Part):
    """An automation's live version and state on the compacted topic; a reader ignores a lower revision."""

    format: Literal[1]
    revision: int
    version: int
    state: Literal["enabled", "disabled"]
    reason: str = ""
    by: str = ""
    document: Automation


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, those of branches included, in the order they are written."""
    for step in steps:
        yield step
        if isinstance(step, BranchStep):
            for branch in step.branch:
                yield from walk(branch.steps)


def parse_automation(document: object) -> Automation:
    """The automation in a parsed YAML or JSON document; raises DocumentError with every mistake's path."""
    if _is_deeper(document, MAX_DEPTH):
        raise DocumentError(f"the document is nested deeper than {MAX_DEPTH} levels")
    try:
        return Automation.model_validate(document)
    except ValidationError as error:
        raise DocumentError("; ".join(_mistakes(error))) from None


def _is_deeper(document: object, most: int) -> bool:
    level = [document]
    for _ in range(most):
        # Each object once: YAML's aliases may put one into many places, or into itself.
        level = list({id(item): item for holder in level for item in _items(holder)}.values())
        if not level:
            return False
    return True


def _items(holder: object) -> Iterable[object]:
    if isinstance(holder, dict):
        return cast(dict[object, object], holder).values()
    return cast(Iterable[object], holder) if isinstance(holder, list | tuple) else ()


def _mistakes(error: ValidationError) -> Iterator[str]:
    mistakes = error.errors(include_url=False, include_input=False)
    for mistake in mistakes:
        inner = any(other["loc"][: len(mistake["loc"])] == mistake["loc"] for other in mistakes if other is not mistake)
        if inner and mistake["type"] == "too_short":
            continue  # pydantic counts the items that were valid; the mistakes inside say what is wrong
        location = _without_tags(mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            message = "unknown name" + _suggestion(str(location[-1]))
        yield f"{dotted(location)}: {message}"


def _without_tags(location: tuple[int | str, ...]) -> list[int | str]:
    """pydantic puts the kind it chose into the path; an author never wrote that part."""
    path: list[int | str] = []
    for part in location:
        after_step = len(path) >= 2 and path[-2] == "steps" and isinstance(path[-1], int) and part in _KINDS
        after_trigger = path == ["trigger"] and isinstance(part, str) and part in _TRIGGER_TYPES
        if (after_step or after_trigger) and not (path and path[-1] is _TAG):
            path.append(_TAG)
            continue
        path.append(part)
    return [part for part in path if part is not _TAG]


_TAG = "\0tag"
_TRIGGER_TYPES = ("row.created", "row.updated", "row.deleted", "event")
_NAMES = sorted(
    {
        field.alias or name
        for part in (Automation, RowTrigger, EventTrigger, UseStep, FilterStep, CollectStep, BranchStep, Branch, Retry)
        for name, field in part.model_fields.items()
    }
)


def _suggestion(name: str) -> str:
    close = get_close_matches(name, _NAMES, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
