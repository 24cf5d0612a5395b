"""`/api/v1/apps/{app}/runs`: what was made of events."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict
from starlette.responses import Response

from headrace import cancelling, retrying
from headrace.auditing import audited
from headrace.contracts.runs import FINAL_STATUSES, RunStatus
from headrace.redriving import How
from headrace.retrying import NotRetried, UnknownRun
from headrace.storage import RunFilter
from services.gateway.answers import Cursor, Limit, answer, cursor_of, read_cursor
from services.gateway.bodies import Reason
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.problems import Problem, not_found
from services.gateway.responding import run_url


class Why(BaseModel):
    """A reason, for whoever looks at it later."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the partner is down"}]})

    reason: Reason


class Retry(BaseModel):
    """How the run is taken up again: where it failed or from the beginning (`restart`), with the version that it had or
    with the live one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"mode": "restart"}]})

    mode: Literal["resume", "restart"] = "resume"
    version: Literal["same", "latest"] = "same"


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/runs", tags=["runs"])
    storage = context.storage
    viewer, operator = requires(context.keys, "viewer"), requires(context.keys, "operator")

    async def find(app: str, id: str) -> Mapping[str, Any]:
        run = await storage.runs.get(id)
        # Another app's is none.
        if run is None or run["app"] != app:
            raise _no_run(app, id)
        return run

    @routes.get("")
    async def list_runs(
        app: str,
        _: Annotated[Caller, Depends(viewer)],
        automation: Annotated[str | None, Query(description="The automation's name")] = None,
        status: RunStatus | None = None,
        since: AwareDatetime | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Runs without their steps, newest first. A page holds a few more than `limit` where runs began together."""
        before = None if cursor is None else read_cursor(cursor)[0]
        asked = RunFilter(app, automation, status, since=since, before=before, limit=limit)
        found = await storage.runs.find(asked)
        next_cursor = cursor_of(found[-1]["started_at"]) if len(found) >= limit else None
        return answer({"runs": [_shown(each) for each in found], "next": next_cursor})

    @routes.get("/{id}")
    async def show(app: str, id: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """A run with every step's inputs, outputs and timing."""
        return answer(_shown(await find(app, id)))

    @routes.get("/{id}/steps")
    async def steps(app: str, id: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """The steps alone."""
        return answer({"steps": (await find(app, id))["steps"]})

    @routes.post("/{id}/cancel", status_code=HTTPStatus.ACCEPTED)
    async def cancel(app: str, id: str, why: Why, caller: Annotated[Caller, Depends(operator)]) -> Response:
        """Asks for the run's end; its record tells when it has come, and whether the step at work had its effect."""
        run = await find(app, id)
        if run["status"] in FINAL_STATUSES:
            raise Problem(HTTPStatus.CONFLICT, "ended", f"run {run['_id']} has ended: {run['status']}")
        asked, how = {"runs": [run["_id"]]}, {"reason": why.reason}
        async with audited(storage, "cancel", caller.by, asked, how) as done:
            done.count = await cancelling.cancel_runs(context.settings, [run], caller.by, why.reason)
        return answer({"run_id": run["_id"]}, HTTPStatus.ACCEPTED)

    @routes.post("/{id}/retry", status_code=HTTPStatus.ACCEPTED)
    async def retry(app: str, id: str, asked: Retry, caller: Annotated[Caller, Depends(operator)]) -> Response:
        """Takes a run that has ended up again, in its next generation, which replaces this one in its record. One that
        is a dead letter is redriven, and can go on where it failed (`resume`); any other is begun anew (`restart`)."""
        how = How(asked.mode == "restart", asked.version)
        try:
            generation = await retrying.retry(context.settings, storage, app, id, how, caller.by)
        except UnknownRun:
            raise _no_run(app, id) from None
        except NotRetried as error:
            raise Problem(HTTPStatus.CONFLICT, "not_retried", str(error)) from None
        url = run_url(app, id)
        return answer({"run_id": id, "generation": generation, "url": url}, HTTPStatus.ACCEPTED, {"Location": url})

    return routes


def _no_run(app: str, id: str) -> Problem:
    return not_found(f"no run {id[:64]!r} in app {app[:64]!r}: one that is queued or under way has no record yet")


def _shown(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"run_id": run["_id"], **{name: value for name, value in run.items() if name != "_id"}}
