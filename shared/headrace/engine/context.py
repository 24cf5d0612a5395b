"""What templates see, and what is known of a run beside it, by the names that users of the predecessor know."""

from collections.abc import Mapping
from typing import TypedDict

from headrace.contracts.jobs import Job


class AutomationContext(TypedDict):
    trigger: Mapping[str, object]
    steps: Mapping[str, object]
    stepsById: Mapping[str, object]
    stepsByName: Mapping[str, object]
    previous: object
    env: Mapping[str, object]
    secrets: Mapping[str, object]
    user: Mapping[str, object]
    settings: Mapping[str, object]
    state: Mapping[str, object]
    run: Mapping[str, object]
    now: object
    _stepIndex: int
    _error: bool


"""The roots of templates; inside of loops `loop`, `item` and `item_index` beside them."""


class AutomationMetadata(TypedDict):
    """`automation_chain_count`: how many runs led to this one."""

    automation_chain_count: int


def is_cron(job: Job) -> bool:
    """Whether the clock started the run."""
    return job.trigger.get("type") == "cron"


def get_metadata(job: Job) -> AutomationMetadata:
    """What the job says beside its trigger."""
    return {"automation_chain_count": len(job.chain)}


def has_errored(context: AutomationContext) -> bool:
    """Whether a step has failed by now."""
    return context["_error"]
