"""The automation document, language.md's form, checked by pydantic.

Templates and conditions stay text here; `headrace.engine` and `headrace.matching` compile them.
"""

from headrace.contracts.automation.bounds import Concurrency, Rate
from headrace.contracts.automation.document import (
    RELEASE_RATE,
    TAKES_EVENTS,
    Automation,
    Expectation,
    LiveAutomation,
    LiveState,
    TestCase,
    awaited_types,
    parse_automation,
)
from headrace.contracts.automation.fields import Field, Fields
from headrace.contracts.automation.mistakes import DocumentError, Mistake
from headrace.contracts.automation.sound import Sound, sound_parts
from headrace.contracts.automation.steps import (
    Branch,
    BranchStep,
    CallStep,
    CollectStep,
    DelayStep,
    FilterStep,
    LoopStep,
    OnError,
    OnUnknown,
    ParallelStep,
    Retry,
    SetStep,
    Step,
    StopStep,
    UseStep,
    WaitStep,
    inner,
    kind_of,
    walk,
)
from headrace.contracts.automation.triggers import (
    AutomationTrigger,
    CronTrigger,
    EventTrigger,
    ManualTrigger,
    RowTrigger,
    Trigger,
    WebhookTrigger,
)
from headrace.contracts.automation.values import ConditionSource, Duration

__all__ = [
    "RELEASE_RATE",
    "TAKES_EVENTS",
    "Automation",
    "AutomationTrigger",
    "Branch",
    "BranchStep",
    "CallStep",
    "CollectStep",
    "Concurrency",
    "ConditionSource",
    "CronTrigger",
    "DelayStep",
    "DocumentError",
    "Duration",
    "EventTrigger",
    "Expectation",
    "Field",
    "Fields",
    "FilterStep",
    "LiveAutomation",
    "LiveState",
    "LoopStep",
    "ManualTrigger",
    "Mistake",
    "OnError",
    "OnUnknown",
    "ParallelStep",
    "Rate",
    "Retry",
    "RowTrigger",
    "SetStep",
    "Sound",
    "Step",
    "StopStep",
    "TestCase",
    "Trigger",
    "UseStep",
    "WaitStep",
    "WebhookTrigger",
    "awaited_types",
    "inner",
    "kind_of",
    "parse_automation",
    "sound_parts",
    "walk",
]
