"""The rule about steps that park the run, `cannot-park`: a warning, as they may be meant for a version that can.

Once this one can it goes: this module, its lines in `findings` and `rules`, and what a search for its name finds.
"""

from collections.abc import Iterator

from headrace.contracts.automation import Automation
from headrace.engine.leaves import cannot_park
from headrace.engine.plan import Plan, PlannedCall, PlannedStep, PlannedWait
from headrace.linting.findings import RULES, Finding
from headrace.linting.flow import all_planned
from headrace.linting.sites import located_steps


def parked(automation: Automation, plan: Plan) -> Iterator[Finding]:
    """Steps of which it is known before any run that they park it."""
    planned = {step.id: step for step in all_planned(plan.steps)}
    for located in located_steps(automation):
        if (found := _parks(planned[located.step.id])) is not None:
            part, what = found
            told = cannot_park(what).message
            remedy = "here it fails; only `headrace test` knows it, with a stub"
            severity = RULES["cannot-park"].severity
            yield Finding("cannot-park", severity, automation.id, f"{located.path}.{part}", told, remedy)


def _parks(step: PlannedStep) -> tuple[str, str] | None:
    """The part of the step that says so, and what it is."""
    match step:
        case PlannedWait():
            return "wait_for_event", "`wait_for_event`"
        case PlannedCall(wait=True):
            return "call.wait", "`wait: true`"
        case _:
            return None
