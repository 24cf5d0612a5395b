"""Rules about calls that a crash may repeat."""

from collections.abc import Collection, Iterator, Mapping
from typing import cast

from headrace.contracts.automation import Automation, UseStep
from headrace.engine.plan import Plan, PlannedAwaiting
from headrace.linting.findings import RULES, Finding
from headrace.linting.flow import all_planned
from headrace.linting.sites import located_steps


def repeated_calls(automation: Automation, plan: Plan, ours: Collection[str]) -> Iterator[Finding]:
    """Calls that a receiver may see twice without knowing it, or never again because it thinks it does.

    `ours` are the steps that come with Headrace: what those of other packages do with their key, nobody sees.
    """
    planned = {step.id: step for step in all_planned(plan.steps)}
    for located in located_steps(automation):
        source, step = located.step, planned.get(located.step.id)
        if not isinstance(source, UseStep) or not isinstance(step, PlannedAwaiting):
            continue
        if (told := _unkeyed(step, ours)) is not None:
            remedy = "use `on_unknown: fail` unless the receiver knows a repeated call"
            yield _finding("unkeyed-call", automation, located.path, told, remedy)
        if step.use not in ours and step.step.effect == "none" and not plan.has_effects:
            told = f"{step.use} says that it does nothing outside, so it is done anew whenever the run is made again"
            remedy = "if it does, its package must declare the effect: the run then keeps a journal"
            yield _finding("no-journal", automation, located.path, told, remedy)
        if (name := _constant_key(source)) is not None:
            told = f"every run sends the same {name}"
            path = f"{located.path}.with.headers.{name}"
            yield _finding("constant-key", automation, path, told, "leave it out: each step of each run has its own")


def _unkeyed(step: PlannedAwaiting, ours: Collection[str]) -> str | None:
    if step.step.effect == "at_most_once" and step.effect != "none" and not step.at_most_once:
        return f"`on_unknown: resend`, but the receiver of {step.use} knows no keys: it may get the call twice"
    if step.use not in ours and step.effect == "at_least_once" and not step.at_most_once:
        return f"{step.use} may be called twice, and whether it sends the step's key nobody but its package knows"
    return None


def _constant_key(step: UseStep) -> str | None:
    headers = step.with_.get("headers")
    if not isinstance(headers, Mapping):
        return None
    for name, value in cast(Mapping[object, object], headers).items():
        if str(name).lower() == "idempotency-key" and not (isinstance(value, str) and "{" in value):
            return str(name)
    return None


def _finding(rule: str, automation: Automation, path: str, message: str, remedy: str) -> Finding:
    return Finding(rule, RULES[rule].severity, automation.id, path, message, remedy)
