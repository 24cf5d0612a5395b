"""A run as people read it: one line a step, what it was given and gave below it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from headrace.cli.output import one_line, shown
from headrace.contracts.automation import Automation
from headrace.contracts.runs import StepResult
from headrace.engine.plan import Plan, PlannedStep, lists_in
from headrace.trials import NotFired, Tried

WIDTH = 110
"""Characters of a value: with its indentation it fits a wide terminal's line."""


def not_fired(automation: Automation, why: NotFired) -> str:
    """One line that says why there is no run."""
    what = "nobody can say whether it fires" if why.is_error else "does not fire"
    return one_line(f"{automation.id} {what}: {why.reason}")


def timeline(tried: Tried) -> Iterator[str]:
    """The lines of a run's timeline."""
    record, job = tried.record, tried.started.job
    yield one_line(f"{record['app']}/{record['automation']} fired by {job.cause.type}, ordering key {job.key!r}")
    yield from _Steps(tried.plan).lines(record["steps"], "  ")
    error = record["error"]
    yield one_line(f"{record['status']}" + (f" ({error['type']}: {error['message']})" if error else ""))
    if "collected" in record:
        yield _cut(f"collected: {shown(record.get('collected'))}")
    for publication in tried.published:
        headers = dict(publication.headers)
        type = headers.get("ce_type", b"").decode(errors="replace")
        yield _cut(f"published: {publication.topic} {type} {publication.value.decode(errors='replace')}")
    for row in tried.rows:
        yield _cut(f"row {row.change}: {row.table}/{row.id} {shown(row.row)}")


class _Steps:
    def __init__(self, plan: Plan) -> None:
        self._positions = {step.id: step.position for step in _all(plan.steps)}

    def lines(self, steps: Sequence[StepResult], indent: str) -> Iterator[str]:
        iteration: int | None = None
        strand: str | None = None
        for step in steps:
            if step.get("iteration") != iteration:
                iteration = step.get("iteration")
                yield f"{indent}item {iteration}"
            if step.get("strand") != strand:
                strand = step.get("strand")
                yield one_line(f"{indent}list {strand}")
            inner = indent if iteration is None and strand is None else f"{indent}  "
            yield from self._step(step, inner)

    def _step(self, step: StepResult, indent: str) -> Iterator[str]:
        head = f"{indent}{self._positions[step['id']]} {step['id']} ({step['use']})"
        yield one_line(f"{head}: {step['status']}, {step['duration_ms']:g} ms{_said(step)}")
        below = f"{indent}    "
        if "inputs" in step:
            yield _cut(f"{below}in   {shown(step.get('inputs'))}")
        error = step.get("error")
        if error is not None:
            again = ", may pass" if error["retryable"] else ""
            yield one_line(f"{below}error {error['type']}{again}: {error['message']}")
        elif "outputs" in step and "children" not in step:
            yield _cut(f"{below}out  {shown(step.get('outputs'))}")
        for number, attempt in enumerate(step.get("attempts", ()), 1):
            failed = attempt["error"]
            yield one_line(f"{below}try {number}: {'well' if failed is None else failed['type']}")
        yield from self.lines(step.get("children", []), f"{indent}  ")


def _said(step: StepResult) -> str:
    outputs = cast("Mapping[str, object]", step.get("outputs") or {})
    if "branch" in outputs and step["use"] == "branch":
        return f", went {outputs['branch']}" if outputs["branch"] is not None else ""
    if step["use"] == "loop" and "iterations" in outputs:
        return f", {outputs['iterations']} items"
    return ""


def _all(steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    for step in steps:
        yield step
        for inner in lists_in(step):
            yield from _all(inner)


def _cut(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
