"""Microseconds of each kind of step, by the engine alone: no Kafka, no MongoDB, no other process."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.engine import (
    HttpAnswer,
    HttpRequest,
    Orchestrator,
    Plan,
    Ports,
    RowEffect,
    RowPage,
    RowQuery,
    Started,
    compile_plan,
)

STEPS = 50
"""Of a kind in one plan: a run's own cost, measured by a plan of one step, no longer shows."""

ROUNDS = 7
"""The median of so many is not another process's doing."""

ROUND_S = 0.05
"""How long a round takes at the least: thousands of steps."""

_TRIGGER = {"type": "row.created", "row": {"n": 7, "kind": "flight", "delay": 61.5}, "legs": list(range(50))}

_KINDS: Mapping[str, Mapping[str, Any]] = {
    "filter, a comparison": {"filter": "{{ trigger.row.kind == 'flight' }}"},
    "filter object": {"filter": {"all": [{"field": "trigger.row.delay", "op": "gt", "value": 60}]}},
    "log, a template of two values": {
        "use": "log",
        "with": {"text": "Row {{ trigger.row.n }} of {{ trigger.row.kind }}"},
    },
    "collect, a value": {"collect": "{{ trigger.row.n }}"},
    "set": {"set": {"n": "{{ trigger.row.n + 1 }}"}},
    "branch, second way": {
        "branch": [
            {"name": "a", "when": "{{ trigger.row.delay > 180 }}", "steps": []},
            {"name": "b", "else": True, "steps": []},
        ]
    },
    "event.publish": {"use": "event.publish", "with": {"type": "x", "data": {"n": "{{ trigger.row.n }}"}}},
    "call": {"call": {"automation": "other", "fields": {"n": "{{ trigger.row.n }}"}}},
}


_TEN = [
    {"id": f"s{number}", **_KINDS[name]}
    for number, name in enumerate(
        [
            "filter, a comparison", "log, a template of two values", "set", "branch, second way", "filter object",
            "log, a template of two values", "set", "log, a template of two values", "set", "collect, a value",
        ]
    )
]  # fmt: skip


class _Nothing:
    """Neither rows nor calls are made here."""

    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("no row is changed here")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")

    async def send(self, request: HttpRequest) -> HttpAnswer:
        raise AssertionError("nobody is called here")


def step_costs() -> dict[str, float]:
    """Microseconds of a step by what it does; `a run` is what the run itself costs, with one step."""
    one = _us_per_run([{"id": "s", "collect": 1}])
    costs = {"a run of one step": one, "a run of ten steps": _us_per_run(_TEN)}
    for name, step in _KINDS.items():
        many = [{"id": f"s{number}", **step} for number in range(STEPS)]
        costs[name] = (_us_per_run(many) - _us_per_run(many[:1])) / (STEPS - 1)
    item = {"id": "item", "collect": "{{ item }}"}
    loop = _us_per_run([{"id": "s", "loop": {"over": "{{ trigger.legs }}"}, "steps": [item]}])
    costs["loop, an iteration with a collect"] = (loop - one) / STEPS
    return {name: round(cost, 2) for name, cost in costs.items()}


def _us_per_run(steps: Sequence[Mapping[str, Any]]) -> float:
    trigger = {"type": "event", "event": "*"}
    document = parse_automation({"name": "a", "app": "b", "trigger": trigger, "steps": [*steps]})
    plan = compile_plan(document, 1)
    nothing = _Nothing()
    orchestrator = Orchestrator(Ports(rows=nothing, http=nothing))
    started = _started()
    return median(_round(orchestrator, plan, started) for _ in range(ROUNDS)) * 1e6


def _round(orchestrator: Orchestrator, plan: Plan, started: Started) -> float:
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < ROUND_S or done == 0:
        execution = orchestrator.execute(plan, started)
        try:
            # None of these steps waits: whenever it lets others have their turn, it goes on at once.
            while True:
                execution.send(None)
        except StopIteration as end:
            if end.value.record["status"] not in ("success", "stopped"):
                raise RuntimeError(f"the run ended {end.value.record['status']}: its figure means nothing") from None
        done += 1
    return spent / done


def _started() -> Started:
    at = datetime(2013, 1, 1, tzinfo=UTC)
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": at}
    job = Job.model_validate(
        {
            "format": 1, "run_id": "00000000-0000-5000-8000-000000000000", "app": "b", "automation": "a", "version": 1,
            "generation": 0, "segment": 0, "attempt": 1, "key": "k", "priority": "normal", "trigger": _TRIGGER,
            "cause": cause,
        }
    )  # fmt: skip
    return Started(job, Location("jobs", 0, 0), at)
