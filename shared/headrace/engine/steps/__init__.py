"""The table of steps: one module a family, one instance a step; those of other packages beside ours."""

from collections.abc import Iterator, Mapping
from functools import cached_property

from headrace.engine.steps.base import AwaitingStep, PureStep
from headrace.engine.steps.email import EmailSend
from headrace.engine.steps.events import EventPublish
from headrace.engine.steps.http import HttpRequestStep
from headrace.engine.steps.llm import LlmPrompt
from headrace.engine.steps.log import Log
from headrace.engine.steps.mongo import MongoQuery
from headrace.engine.steps.presets import PRESETS
from headrace.engine.steps.row_reads import RowGet, RowQueryStep
from headrace.engine.steps.rows import RowCreate, RowDeleteStep, RowUpdateStep
from headrace.engine.steps.script import ScriptExpression, ScriptJs
from headrace.engine.steps.sql import SqlQuery
from headrace.engine.steps.third_party import installed, with_third_party
from headrace.engine.steps.webhook import WebhookSend

OURS: Mapping[str, PureStep | AwaitingStep] = {
    step.use: step
    for step in (
        EmailSend(),
        EventPublish(),
        HttpRequestStep(),
        LlmPrompt(),
        Log(),
        MongoQuery(),
        RowCreate(),
        RowDeleteStep(),
        RowGet(),
        RowQueryStep(),
        RowUpdateStep(),
        ScriptExpression(),
        ScriptJs(),
        SqlQuery(),
        WebhookSend(),
        *PRESETS,
    )
}
"""Those that come with Headrace, by the name in `use`."""


class StepTable(Mapping[str, PureStep | AwaitingStep]):
    """Ours and those of installed packages, which are loaded at the first look: they import this package themselves.

    Any look raises StepPackageError if an installed entry cannot be used.
    """

    @cached_property
    def _all(self) -> Mapping[str, PureStep | AwaitingStep]:
        return with_third_party(OURS, installed())

    def __getitem__(self, use: str) -> PureStep | AwaitingStep:
        return self._all[use]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


STEPS: Mapping[str, PureStep | AwaitingStep] = StepTable()
"""By the name in `use`."""
