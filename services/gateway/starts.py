"""`POST /api/v1/apps/{app}/automations/{name}/start`: a person, or another program, starts an automation."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace.auditing import audited
from headrace.contracts.automation import TAKES_EVENTS, Automation, ManualTrigger
from headrace.contracts.cloudevents import Event, event_headers
from headrace.contracts.jobs import derived_uuid, run_id
from headrace.contracts.reserved import STARTED, Start
from headrace.contracts.topics import EVENTS
from headrace.matching.fields import given
from services.gateway import bodies
from services.gateway.context import Context
from services.gateway.idempotency import origin_of
from services.gateway.identity import Caller, requires
from services.gateway.problems import FieldError, Problem, not_found, unavailable
from services.gateway.producing import NotConfirmed, Refused
from services.gateway.responding import accepted_run


class Starting(BaseModel):
    """The fields that the automation declares."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"fields": {"customer": "ann"}}]})

    fields: Annotated[dict[str, object], Field(default_factory=dict)]


def router(context: Context) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/automations", tags=["automations"])
    operator = requires(context.keys, "operator")
    topic = EVENTS.full_name(context.settings.prefix)

    @routes.post("/{name}/start", status_code=HTTPStatus.ACCEPTED)
    async def start(
        request: Request,
        app: str,
        name: str,
        asked: Starting,
        caller: Annotated[Caller, Depends(operator)],
        _: Annotated[str | None, Header(alias="Idempotency-Key", description="The same again is the same run")] = None,
    ) -> Response:
        """Starts a run of an automation with a `manual` trigger. Answered 202, with the run's id and URL, when Kafka
        has the event on all in-sync replicas. With an `Idempotency-Key` the same again starts no second run."""
        document = await _startable(context, app, name, asked)
        id = derived_uuid(origin_of(request, caller, f"{app}/{name}/start"))
        now = datetime.now(UTC)
        source = f"/api/v1/apps/{app}/automations/{name}/start"
        event = Event(id, source, STARTED, now, "", app, "", "")
        user: dict[str, object] = {"key": caller.id, "name": caller.name}
        value = bodies.written(Start(automation=name, fields=asked.fields, user=user).model_dump())
        run = run_id(app, document.name, event)
        async with audited(context.storage, "start", caller.by, {"automations": [document.id]}, {"run": run}) as done:
            try:
                # By its own key: starts wait for each other only where the automation's `ordering_key` says so.
                await context.producer.send(topic, id.encode(), value, event_headers(event))
            except NotConfirmed as error:
                raise unavailable(f"{error}: start it again, under the same Idempotency-Key") from None
            except Refused as error:
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(error)) from None
            done.count = 1
        return accepted_run(id, app, run)

    return routes


async def _startable(context: Context, app: str, name: str, asked: Starting) -> Automation:
    """The live automation, which may be started with these fields; raises Problem."""
    live = await context.storage.automations.live(f"{app}/{name}")
    if live is None:
        raise not_found(f"no automation {app[:64]}/{name[:64]}")
    document = live.document
    if not isinstance(document.trigger, ManualTrigger):
        told = f"{document.id} is started by its trigger {document.trigger.type}; only `manual` ones are started so"
        raise Problem(HTTPStatus.CONFLICT, "not_manual", told)
    if live.state not in TAKES_EVENTS:
        raise Problem(HTTPStatus.CONFLICT, "state", f"{document.id} is {live.state}: enable it first")
    try:
        given(document.fields, asked.fields)
    except ValueError as error:
        wrong = FieldError("body.fields", str(error))
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_fields", str(error), errors=[wrong]) from None
    return document
