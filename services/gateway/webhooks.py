"""`/webhooks/{app}/{id}`: a request becomes an event, and is answered when Kafka has it."""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, get_args
from uuid import uuid4

import structlog
from fastapi import APIRouter, Request
from prometheus_client import Counter
from starlette import types as asgi
from starlette.responses import Response

from headrace.contracts.automation import TAKES_EVENTS, HmacVerification, TokenVerification
from headrace.contracts.automation.triggers import Method
from headrace.contracts.cloudevents import Event, event_headers
from headrace.contracts.jobs import run_id
from headrace.contracts.topics import WEBHOOKS
from headrace.engine.web.urls import is_secret
from headrace.language import Scope, TemplateError
from headrace.language.values import to_text
from services.gateway import bodies
from services.gateway.context import Context
from services.gateway.listeners import Webhook
from services.gateway.problems import FieldError, Problem, bad_request, not_found, unavailable
from services.gateway.producing import NotConfirmed, Refused
from services.gateway.responding import accepted, accepted_run, replied
from services.gateway.signatures import SIGNATURE_HEADERS, Misconfigured, Received, Unverified, verify

EVENT_TYPE = "webhook"
"""ce_type of every request: what it means is its body's to say."""

LONGEST_ID = 256
"""Characters of a delivery's id that are taken as they are; of a longer one its digest is."""

WEBHOOK_EVENTS = Counter("headrace_webhooks_total", "Requests to webhooks, by what named the delivery", ["named_by"])

_METHODS: list[str] = [*get_args(Method)]

_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that say how the bytes came (RFC 9110, §7.6.1), and nothing of the request."""

_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00."""


class Webhooks:
    """The webhooks as an ASGI application of their own: what FastAPI does for a route, and none of which they need,
    took half of a request's time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._topic = WEBHOOKS.full_name(context.settings.prefix)

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Answers."""
        request = Request(scope, receive)
        _, _, app, *rest = scope["path"].split("/")
        try:
            if len(rest) != 1:
                raise not_found(f"there is nothing at {scope['path'][:512]}; /openapi.json has all paths")
            answer = await self.receive(request, app, rest[0])
        except Problem as problem:
            answer = problem.response(scope["state"]["request_id"])
        await answer(scope, receive, send)

    async def receive(self, request: Request, app: str, id: str) -> Response:
        """A delivery. Answered 202 when Kafka has it on all in-sync replicas; 503 asks for it again, under the same
        delivery id. Where an automation responds, the answer is its run's, or 202 with the run's URL. No API key: the
        automation's `verify` says how the sender proves who it is."""
        context = self._context
        webhook = context.listeners.find(app, id)
        if webhook is None:
            raise not_found(f"no automation of app {app[:64]!r} listens to a webhook {id[:64]!r}")
        if request.method not in webhook.methods:
            raise _not_for(webhook, request.method)
        headers, body = headers_of(request), await request.body()
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise bodies.unsupported(headers["content-encoding"], "a body without content-encoding is accepted")
        delivery = _verified(webhook, context.apps(app).secrets, Received(headers, body, time.time()))
        # Only now: else a stranger, whom nothing verifies, could use up what its sender may send.
        context.keys.rates.admit("webhook", f"{app}/{id}")
        now = datetime.now(UTC)
        content = {
            "method": request.method,
            "headers": _kept(headers, webhook),
            "query": _query(request),
            "body": bodies.read_body(headers.get("content-type", ""), body),
        }
        event_id = _event_id(webhook, delivery, id, content, now)
        trace = headers.get("traceparent", "")
        event = Event(
            id=event_id,
            source=f"/webhooks/{app}/{id}",
            type=EVENT_TYPE,
            time=now,
            subject="",
            app=app,
            replay="",
            traceparent=trace if _TRACE.fullmatch(trace) else "",
        )
        value, responder = bodies.written(content), webhook.responder
        # Of one that is disabled there will be no run: events pass it by.
        if responder is None or responder.state not in TAKES_EVENTS:
            await self._send(app, id, value, event)
            return accepted(event_id)
        run = run_id(app, responder.automation, event)
        with context.replies.expecting(run) as waiting:
            await self._send(app, id, value, event)
            reply = None
            # The run of one that is paused waits for longer than any caller.
            if waiting is not None and responder.state != "paused":
                reply = await context.replies.outcome(waiting, run, responder.wait_s, request.receive)
        return accepted_run(event_id, app, run) if reply is None else replied(reply, event_id, app, run)

    async def _send(self, app: str, id: str, value: bytes, event: Event) -> None:
        """Returns when Kafka has it; raises Problem."""
        try:
            await self._context.producer.send(self._topic, f"{app}/{id}".encode(), value, event_headers(event))
        except NotConfirmed as error:
            raise unavailable(f"{error}: send it again, under the same delivery id") from None
        except Refused as error:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", str(error)) from None

    def described(self) -> APIRouter:
        """The same as a route, for the OpenAPI document."""
        routes = APIRouter(tags=["webhooks"])
        for method in _METHODS:
            # Each by itself: an operation's id is its own in the document.
            routes.add_api_route(
                "/webhooks/{app}/{id}",
                self.receive,
                methods=[method],
                operation_id=f"receive_webhook_{method.lower()}",
                status_code=HTTPStatus.ACCEPTED,
                openapi_extra=_OPENAPI,
            )
        return routes


def headers_of(request: Request) -> dict[str, str]:
    """Lower-case names with values, without the blanks around these (RFC 9110, §5.5); of a name that is there twice
    both, with a comma (§5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _verified(webhook: Webhook, secrets: Mapping[str, str], received: Received) -> str:
    """The delivery's id that the first scheme which has one gives, else ""."""
    delivery = ""
    for scheme in webhook.verifications:
        try:
            delivery = verify(scheme, secrets, received) or delivery
        except Unverified as error:
            told = FieldError(f"header.{error.header}", error.message)
            raise Problem(HTTPStatus.UNAUTHORIZED, "unverified", str(error), errors=[told]) from None
        except Misconfigured as error:
            structlog.get_logger().error("a webhook cannot be verified", scheme=scheme.scheme, reason=str(error))
            raise unavailable("this webhook cannot be verified: its operator has to look", 60) from None
    return delivery


def _not_for(webhook: Webhook, method: str) -> Problem:
    allowed = ", ".join(sorted(webhook.methods))
    told = f"this webhook takes {allowed or 'nothing'}, not {method}"
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, "method", told, headers={"Allow": allowed})


def _kept(headers: Mapping[str, str], webhook: Webhook) -> dict[str, str]:
    """What a record has of the headers: no credential, and nothing of the connection."""
    own = {each.header for each in webhook.verifications if isinstance(each, HmacVerification | TokenVerification)}
    hidden = SIGNATURE_HEADERS | _OF_THE_CONNECTION | own
    return {name: value for name, value in headers.items() if name not in hidden and not is_secret(name)}


def _query(request: Request) -> dict[str, str | list[str]]:
    try:
        text = request.scope["query_string"].decode("ascii")
    except UnicodeDecodeError:
        told = FieldError("query", "expected it percent-encoded")
        raise bad_request("not_ascii", "the query is not ASCII", told) from None
    return {name: value for name, value in bodies.read_pairs(text, "query").items() if not is_secret(name)}


def _event_id(webhook: Webhook, delivery: str, id: str, content: Mapping[str, object], now: datetime) -> str:
    """The same for deliveries of one event; a new one where nothing says so."""
    key = "" if webhook.dedupe_key is None else _dedupe_key(webhook, id, content, now)
    found, named_by = (key, "dedupe_key") if key else (delivery, "sender") if delivery else (str(uuid4()), "nothing")
    WEBHOOK_EVENTS.labels(named_by).inc()
    is_plain = len(found) <= LONGEST_ID and found.isprintable()
    return found if is_plain else sha256(found.encode(errors="replace")).hexdigest()


def _dedupe_key(webhook: Webhook, id: str, content: Mapping[str, object], now: datetime) -> str:
    trigger = {"type": EVENT_TYPE, "id": id, **content}
    try:
        if webhook.dedupe_key is None:
            return ""
        return to_text(webhook.dedupe_key.render(Scope({**trigger, "trigger": trigger}, id, now)))
    except TemplateError as error:
        # Rather the event twice than not at all: its sender can mend nothing.
        structlog.get_logger().warning("dedupe_key failed", webhook=id, type=error.type)
        return ""


_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "content": {
            bodies.JSON: {"schema": {}, "example": {"order": 7}},
            bodies.FORM: {"schema": {"type": "object"}, "example": {"order": "7"}},
            bodies.TEXT: {"schema": {"type": "string"}, "example": "order 7"},
        }
    },
    "responses": {
        "200": {
            "description": "The value that the run of the automation that responds has collected.",
            "content": {bodies.JSON: {"example": {"order": 7, "state": "paid"}}},
        },
        "204": {"description": "The run that responds has ended, and has collected nothing."},
        "202": {
            "description": "Kafka has it.",
            "content": {bodies.JSON: {"example": {"id": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}}},
        },
    },
}
