"""Rules about the automations that others call."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from headrace.contracts.automation import Automation, CallStep, ManualTrigger
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import located_steps


def wrong_callees(automations: Sequence[Automation], *, are_all: bool) -> Iterator[Finding]:
    """Calls that start nothing: of automations that no call starts and, where these are all, of any others."""
    known = {each.id: each for each in automations}
    for automation in automations:
        for located in located_steps(automation):
            if not isinstance(located.step, CallStep):
                continue
            name, path = located.step.call.automation, f"{located.path}.call.automation"
            callee = known.get(f"{automation.app}/{name}")
            if callee is None and are_all:
                names = [each.name for each in automations if each.app == automation.app and each is not automation]
                close = get_close_matches(name, names, n=1)
                remedy = f"did you mean {close[0]!r}?" if close else "deploy it as well, or its calls start nothing"
                told = f"no file defines the automation {name!r} of the app {automation.app!r}"
                yield _finding("unknown-automation", automation, path, told, remedy)
            elif callee is not None and not isinstance(callee.trigger, ManualTrigger):
                told = f"{name!r} is started by its {callee.trigger.type} trigger and by no call"
                yield _finding("not-callable", automation, path, told, "give it a manual trigger, or publish its event")


def _finding(rule: str, automation: Automation, path: str, message: str, remedy: str) -> Finding:
    return Finding(rule, RULES[rule].severity, automation.id, path, message, remedy)
