"""Automations that start each other: through calls, events, rows and the ends of runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from headrace.contracts.automation import (
    Automation,
    AutomationTrigger,
    BranchStep,
    CallStep,
    EventTrigger,
    FilterStep,
    ManualTrigger,
    RowTrigger,
    UseStep,
)
from headrace.language import references
from headrace.linting.findings import Finding, Severity
from headrace.linting.sites import Located, located_steps
from headrace.matching.index import ANY, matches_pattern


class Edge(NamedTuple):
    """`source` may start `target`: how, where in its document, and whether a condition stands between them."""

    source: Automation
    target: Automation
    path: str
    how: str
    is_conditional: bool


def cycles(automations: Sequence[Automation]) -> Iterator[Finding]:
    """One finding for each group of automations that start each other, with one way around."""
    edges: dict[str, list[Edge]] = {each.id: list(_edges(each, automations)) for each in automations}
    certain = {id: [edge for edge in each if not edge.is_conditional] for id, each in edges.items()}
    told: set[str] = set()
    for start in sorted(edges):
        if start in told:
            continue
        around = _shortest_around(start, certain) or _shortest_around(start, edges)
        if around is None:
            continue
        told.update(edge.source.id for edge in around)
        is_conditional = any(edge.is_conditional for edge in around)
        severity: Severity = "warning" if is_conditional else "error"
        ways = "; ".join(f"{edge.source.name} {edge.how}, which starts {edge.target.name}" for edge in around)
        ending = "only a condition can end it" if is_conditional else "it never ends"
        remedy = "let a condition see that the work is done already" if is_conditional else "take one step of it out"
        yield Finding("cycle", severity, start, around[0].path, f"{ways}: {ending}", remedy)


def _shortest_around(start: str, edges: Mapping[str, Sequence[Edge]]) -> list[Edge] | None:
    """The shortest way from an automation back to itself."""
    reached: dict[str, list[Edge]] = {}
    left: list[list[Edge]] = [[edge] for edge in edges[start]]
    while left:
        way = left.pop(0)
        at = way[-1].target.id
        if at == start:
            return way
        if at not in reached:
            reached[at] = way
            left += [[*way, edge] for edge in edges[at]]
    return None


def _edges(source: Automation, all: Sequence[Automation]) -> Iterator[Edge]:
    listeners = [each for each in all if each.app == source.app]
    after_filter: set[str] = set()
    for located in located_steps(source):
        step = located.step
        if isinstance(step, FilterStep):
            after_filter.add(located.path)
        is_conditional = _is_conditional(located, after_filter)
        for target in listeners:
            how = _started_by(located, target)
            if how is not None:
                yield Edge(source, target, located.path, how, is_conditional or _is_choosy(target))
    for target in listeners:
        trigger = target.trigger
        if isinstance(trigger, AutomationTrigger) and target is not source and trigger.automation in (ANY, source.name):
            only_failures = trigger.type == "automation.failed"
            how = "fails" if only_failures else "ends"
            yield Edge(source, target, "trigger", how, only_failures or _is_choosy(target))


def _started_by(located: Located, target: Automation) -> str | None:
    step, trigger = located.step, target.trigger
    if isinstance(step, CallStep):
        is_called = isinstance(trigger, ManualTrigger) and step.call.automation == target.name
        return f"calls it (step {step.id})" if is_called else None
    if not isinstance(step, UseStep):
        return None
    if step.use == "event.publish" and isinstance(trigger, EventTrigger):
        type = _constant(step.with_.get("type"))
        is_heard = type is not None and "topic" not in step.with_ and matches_pattern(trigger.event, type)
        return f"publishes {type} (step {step.id})" if is_heard else None
    if _WRITES.get(step.use) == trigger.type and isinstance(trigger, RowTrigger):
        is_heard = _constant(step.with_.get("table")) == trigger.table
        return f"writes {trigger.table} (step {step.id})" if is_heard else None
    return None


_WRITES = {"row.create": "row.created", "row.update": "row.updated", "row.delete": "row.deleted"}


def _constant(value: object) -> str | None:
    return value if isinstance(value, str) and not references(value) else None


def _is_choosy(target: Automation) -> bool:
    trigger = target.trigger
    return trigger.when is not None or (isinstance(trigger, RowTrigger) and bool(trigger.only_if_changed))


def _is_conditional(located: Located, filters: set[str]) -> bool:
    """Whether the run may pass the step by: its own `when`, a branch, or a filter before it."""
    at: Located | None = located
    while at is not None:
        turn = at.way[-1]
        prefix = at.path.rpartition(".")[0]
        if at.step.when is not None or any(f"{prefix}.{place}" in filters for place in range(turn.place)):
            return True
        if turn.around is not None and isinstance(turn.around.step, BranchStep):
            return True
        at = turn.around
    return False
