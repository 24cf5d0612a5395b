"""One run of a few steps of the app `shop`, against whatever real counterpart a test has."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.runs import RunRecord, StepResult
from headrace.engine import AioHttpTransport, Orchestrator, Ports, RowEffect, RowPage, RowQuery, Started, compile_plan
from headrace.engine.apps import NOT_CONFIGURED, AppConfig
from headrace.engine.ports import MongoDatabases, SqlDatabases

AT = datetime(2013, 1, 1, 8, 30, tzinfo=UTC)


class NoRows:
    """These runs create no rows."""

    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("no row is changed here")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")


def document(*steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An automation of `shop` with these steps."""
    return {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": list(steps), **more}


async def run_steps(
    *steps: Mapping[str, Any],
    config: AppConfig,
    data: Mapping[str, Any] | None = None,
    app: str = "shop",
    run_id: str = "r-1",
    sql: SqlDatabases | None = None,
    mongodb: MongoDatabases | None = None,
) -> RunRecord:
    """The record of a run whose trigger has `data`; `config` is the app's `shop`, and no other app has anything."""
    automation = parse_automation({**document(*steps), "app": app})
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": run_id, "app": app, "automation": "a", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": {"data": data or {}}, "cause": cause}
    )  # fmt: skip
    http = AioHttpTransport()
    configs = {"shop": config}
    ports = Ports(
        rows=NoRows(), http=http, apps=lambda name: configs.get(name, NOT_CONFIGURED), sql=sql, mongodb=mongodb
    )
    try:
        plan = compile_plan(automation, 1)
        outcome = await Orchestrator(ports).execute(plan, Started(job, Location("jobs", 0, 0), AT))
    finally:
        await http.close()
    return outcome.record


async def run_step(
    use: str, inputs: Mapping[str, Any], retry: Mapping[str, Any] | None = None, **more: Any
) -> StepResult:
    """The result of one step; `more` as `run_steps` takes it."""
    policy = {} if retry is None else {"retry": retry}
    record = await run_steps({"id": "it", "use": use, "with": inputs, **policy}, **more)
    return record["steps"][0]


def outputs(step: StepResult) -> dict[str, Any]:
    """What the step gave."""
    found: Any = step.get("outputs")
    return found


def error(step: StepResult) -> tuple[str, bool]:
    """Type and retryability of the step's error."""
    found = step.get("error")
    assert found is not None, step
    return found["type"], found["retryable"]
