"""All rules over a set of automations."""

from collections.abc import Iterator, Sequence

from headrace.contracts.automation import Automation
from headrace.engine import compile_plan
from headrace.engine.steps import OURS, STEPS
from headrace.linting.callees import wrong_callees
from headrace.linting.calls import repeated_calls
from headrace.linting.cycles import cycles
from headrace.linting.findings import Finding
from headrace.linting.flow import unbounded, unreachable
from headrace.linting.referring import StepTable, outside_loops, referring, same_names, unknown_in_loops
from headrace.linting.secrets import plain_secrets
from headrace.linting.triggers import unknown_members


def lint(automations: Sequence[Automation], table: StepTable = STEPS, *, are_all: bool = False) -> list[Finding]:
    """What is found in automations that are valid (raises DocumentError where one is not), each by itself and together.

    Together they are what is live at the same time: cycles are sought among them and nowhere else. `are_all` says that
    there may well be no others.
    """
    alone = [finding for each in automations for finding in _alone(each, table)]
    return [*alone, *wrong_callees(automations, are_all=are_all), *cycles(automations)]


def _alone(automation: Automation, table: StepTable) -> Iterator[Finding]:
    plan = compile_plan(automation, 0)
    yield from referring(automation, table)
    yield from outside_loops(automation)
    yield from unknown_in_loops(automation)
    yield from same_names(automation)
    yield from unknown_members(automation)
    yield from unreachable(automation)
    yield from unbounded(automation, plan)
    yield from plain_secrets(automation)
    yield from repeated_calls(automation, plan, OURS)
