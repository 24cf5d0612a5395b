"""`POST /api/v1/apps/{app}/events`: domain events as CloudEvents over HTTP, by the rules of the SDK.

Source: CloudEvents HTTP protocol binding 1.0.2 (binary §3.1, structured §3.2, batched §3.3) and JSON format 1.0.2.
"""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, cast
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from headrace.contracts.cloudevents import event_headers, is_name
from headrace.contracts.topics import EVENTS
from headrace.contracts.validation import dotted, said, written
from headrace.publisher import DomainEvent, NotPublishable, domain_event
from services.gateway import bodies
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.problems import FieldError, Problem, bad_request, unavailable
from services.gateway.producing import NotConfirmed, Place, Refused
from services.gateway.webhooks import headers_of

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"

MOST_EVENTS = 1_000
"""In a batch; its megabyte holds a few thousand of the smallest."""

_TRACEPARENT = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"


class CloudEvent(BaseModel):
    """An event in CloudEvents' JSON format. `partitionkey` orders: events with the same one stay in order. Other
    extension attributes are not kept."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [
        {"specversion": "1.0", "id": "o-7", "source": "/shop", "type": "order.created", "partitionkey": "customer-3",
         "data": {"order": 7, "total": 99.5}}
    ]})  # fmt: skip

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    type: Annotated[str, Field(min_length=1)]
    subject: str = ""
    time: AwareDatetime | None = None
    datacontenttype: str = bodies.JSON
    partitionkey: str | None = None
    traceparent: Annotated[str, StringConstraints(pattern=_TRACEPARENT)] | None = None
    data: object = None
    data_base64: None = None


class PublishedEvent(BaseModel):
    """A confirmed event, and where it stands."""

    id: str
    topic: str
    partition: int
    offset: int


class Published(BaseModel):
    """In the order of the request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"events": [{"id": "o-7", "topic": "headrace.events", "partition": 2, "offset": 41}]}]
        }
    )

    events: list[PublishedEvent]


def router(context: Context) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/api/v1/apps/{app}", tags=["events"])
    topic = EVENTS.full_name(context.settings.prefix)
    operator = requires(context.keys, "operator")

    async def publish(request: Request, app: str, _: Annotated[Caller, Depends(operator)]) -> Published:
        """Publishes an event (structured or binary mode) or a batch; answered when Kafka has all of it on all in-sync
        replicas. After 503 the same request again is safe: an event is named by its `source` and `id`."""
        if not is_name(app):
            told = "an app's name is made of a-z, 0-9, '_' and '-'"
            raise bad_request("bad_app", told, FieldError("path.app", told))
        made = read_events(app, headers_of(request), await request.body())
        # Handed over without an await in between: the batch keeps its order.
        sent = [context.producer.submit(topic, each.key, each.value, event_headers(each.event)) for each in made]
        places = await _confirmed(sent)
        return Published(
            events=[
                PublishedEvent(id=each.event.id, topic=place.topic, partition=place.partition, offset=place.offset)
                for each, place in zip(made, places, strict=True)
            ]
        )

    routes.add_api_route("/events", publish, methods=["POST"], status_code=HTTPStatus.ACCEPTED, openapi_extra=_OPENAPI)
    return routes


def read_events(app: str, headers: Mapping[str, str], body: bytes) -> list[DomainEvent]:
    """The events in a request; raises Problem that names the field."""
    kind = bodies.media_type(headers.get("content-type", ""))
    if kind == BATCH:
        found = bodies.read_json(body)
        if not isinstance(found, list) or not 1 <= len(cast("list[object]", found)) <= MOST_EVENTS:
            raise _wrong(FieldError("(whole)", f"expected an array of 1 to {MOST_EVENTS} events"))
        return [_made(app, each, f"{number}.") for number, each in enumerate(cast("list[object]", found))]
    if kind == STRUCTURED:
        return [_made(app, bodies.read_json(body), "")]
    if "ce-id" not in headers and "ce-type" not in headers:
        raise bodies.unsupported(
            headers.get("content-type", ""), f"{STRUCTURED}, {BATCH}, or {bodies.JSON} with ce- headers are accepted"
        )
    if not bodies.is_json(kind):
        raise bodies.unsupported(headers.get("content-type", ""), f"the data of an event is {bodies.JSON}")
    attributes = {name[3:]: _decoded(name, text) for name, text in headers.items() if name.startswith("ce-")}
    return [_made(app, {**attributes, "data": bodies.read_json(body) if body else None}, "")]


def _made(app: str, value: object, where: str) -> DomainEvent:
    try:
        event = CloudEvent.model_validate(value)
    except ValidationError as error:
        raise _wrong(
            *(
                FieldError(where + dotted(written(each, each["loc"], value)), said(each))
                for each in error.errors(include_url=False, include_input=False)
            )
        ) from None
    if not bodies.is_json(bodies.media_type(event.datacontenttype)):
        raise _wrong(FieldError(f"{where}datacontenttype", f"expected {bodies.JSON}"))
    try:
        return domain_event(
            app,
            event.source,
            event.type,
            event.data,
            key=event.partitionkey,
            id=event.id,
            time=event.time,
            subject=event.subject,
            traceparent=event.traceparent or "",
        )
    except NotPublishable as error:
        raise _wrong(FieldError(where.removesuffix(".") or "(whole)", str(error))) from None


def _wrong(*errors: FieldError) -> Problem:
    told = "; ".join(f"{each.field}: {each.message}" for each in errors[:5])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_event", told, errors=errors)


def _decoded(name: str, text: str) -> str:
    """§3.1.3.2: header values are percent-encoded UTF-8."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        told = FieldError(f"header.{name}", "a % that begins no two hexadecimal digits")
        raise bad_request("bad_header", f"header {name} is not percent-encoded", told)
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("not_utf8", f"header {name} is not UTF-8", FieldError(f"header.{name}", "UTF-8")) from None


async def _confirmed(sent: "list[asyncio.Future[Place]]") -> list[Place]:
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    places = [each for each in outcomes if isinstance(each, Place)]
    for each in outcomes:
        if isinstance(each, Refused):
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(each))
        if isinstance(each, NotConfirmed):
            told = f"{len(places)} of {len(sent)} events are confirmed ({each}): send all again, under the same ids"
            raise unavailable(told)
        if isinstance(each, BaseException):
            raise each
    return places


_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            STRUCTURED: {
                "schema": CloudEvent.model_json_schema(),
                "example": CloudEvent.model_config["json_schema_extra"]["examples"][0],  # type: ignore[index]
            },
            BATCH: {"schema": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": MOST_EVENTS}},
            bodies.JSON: {"schema": {}, "example": {"order": 7, "total": 99.5}},
        },
    }
}
