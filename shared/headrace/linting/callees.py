"""Rules about the automations that others call."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from headrace.contracts.automation import Automation, CallStep, ManualTrigger
from headrace.contracts.automation.fields import is_needed
from headrace.language import RUN_ROOTS, compile_value
from headrace.linting.findings import RULES, Finding
from headrace.linting.sites import located_steps
from headrace.matching.fields import misfit


def wrong_callees(automations: Sequence[Automation], *, are_all: bool) -> Iterator[Finding]:
    """Calls that start nothing: of automations that no call starts and, where these are all, of any others; and such
    as give other fields than the called automation takes."""
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
            elif callee is not None:
                yield from _wrong_fields(automation, located.step, f"{located.path}.call", callee)


def _wrong_fields(automation: Automation, step: CallStep, path: str, callee: Automation) -> Iterator[Finding]:
    """By name, and by kind as far as a value is no template: what that gives is not known."""
    fields, given = callee.fields, step.call.fields
    for name, value in given.items():
        at = f"{path}.fields.{name}"
        if name not in fields:
            close = get_close_matches(name, fields, n=1)
            takes = f"it takes {', '.join(fields)}" if fields else "it takes none: declare it in its `fields`"
            remedy = f"did you mean {close[0]!r}?" if close else takes
            yield _finding("wrong-fields", automation, at, f"{callee.name!r} has no field {name!r}", remedy)
        elif value is not None and compile_value(value, roots=RUN_ROOTS, path=at).constant:
            why = misfit(fields[name], value)
            if why is not None:
                told = f"the field {name!r} of {callee.name!r} is of the type {fields[name].type}"
                yield _finding("wrong-fields", automation, at, told, why)
    for name, field in fields.items():
        if is_needed(field) and given.get(name) is None:
            told = f"{callee.name!r} needs the field {name!r}"
            remedy = "give it, or let it have a `default` or `required: false` there"
            yield _finding("wrong-fields", automation, path, told, remedy)


def _finding(rule: str, automation: Automation, path: str, message: str, remedy: str) -> Finding:
    return Finding(rule, RULES[rule].severity, automation.id, path, message, remedy)
