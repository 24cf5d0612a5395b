"""The table of steps: one module a family, one instance a step."""

from collections.abc import Mapping

from headrace.engine.steps.base import AwaitingStep, PureStep
from headrace.engine.steps.events import EventPublish
from headrace.engine.steps.http import HttpRequestStep
from headrace.engine.steps.log import Log
from headrace.engine.steps.rows import RowCreate

STEPS: Mapping[str, PureStep | AwaitingStep] = {
    step.use: step for step in (EventPublish(), HttpRequestStep(), Log(), RowCreate())
}
"""By the name in `use`."""
