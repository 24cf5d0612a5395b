"""The routes, and how their errors are told."""

from http import HTTPStatus
from typing import Any, cast

from confluent_kafka import KafkaException
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.applying import NotLive, PartlyApplied
from headrace.cancelling import NotAsked
from headrace.contracts.validation import dotted, said
from headrace.engine.errors import PlatformUnavailable
from headrace.streams import StreamFailed
from services.gateway import (
    audit,
    automations,
    events,
    imports,
    keys,
    letters,
    me,
    rows,
    runs,
    schemas,
    starts,
    tables,
    trials,
    values,
    versions,
)
from services.gateway.context import Context
from services.gateway.door import Door
from services.gateway.problems import DESCRIBED, FieldError, Problem, bad_request, internal, unavailable
from services.gateway.webhooks import Webhooks

WORTH_PACKING = 1_024
"""Bytes from which an answer is gzipped: below, its header is most of what is saved."""

PACK_LEVEL = 5
"""Of gzip: levels above take twice the time for some percent."""


def make_app(context: Context) -> Door:
    """The whole HTTP application."""
    api = FastAPI(
        title="Headrace",
        version="1",
        summary="Automations on Kafka streams: what enters, and what became of it.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Before FastAPI's own 422, which is of another shape than ours.
        responses={"default": DESCRIBED},
    )
    webhooks = Webhooks(context)
    api.include_router(webhooks.described())
    # Before the routes with an automation's name: "test" would be one.
    parts = (
        events,
        runs,
        trials,
        automations,
        starts,
        versions,
        letters,
        audit,
        tables,
        imports,
        rows,
        me,
        keys,
        values,
    )
    for routes in parts:
        api.include_router(routes.router(context))
    api.include_router(schemas.router())
    api.add_exception_handler(Problem, cast(Any, _problem))
    api.add_exception_handler(HTTPException, cast(Any, _http))
    api.add_exception_handler(RequestValidationError, cast(Any, _invalid))
    for away in (PlatformUnavailable, StreamFailed, NotAsked, PartlyApplied, NotLive):
        api.add_exception_handler(away, cast(Any, _away))
    api.add_exception_handler(KafkaException, cast(Any, _kafka_away))
    api.add_exception_handler(Exception, cast(Any, _unexpected))
    api.add_middleware(GZipMiddleware, minimum_size=WORTH_PACKING, compresslevel=PACK_LEVEL)
    return Door(_Split(webhooks, api))


class _Split:
    """Webhooks by their short way, all else by FastAPI's."""

    def __init__(self, webhooks: ASGIApp, api: ASGIApp) -> None:
        self._webhooks = webhooks
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        to = self._webhooks if scope["path"].startswith("/webhooks/") else self._api
        await to(scope, receive, send)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Without it Starlette answers with a text of its own. It raises the error again, so that the door logs it."""
    return internal().response(request.state.request_id)


async def _problem(request: Request, error: Problem) -> Response:
    return error.response(request.state.request_id)


async def _away(request: Request, error: Exception) -> Response:
    """The platform's failures: each says in words what was done, and that it may be asked for again."""
    return unavailable(str(error)).response(request.state.request_id)


async def _kafka_away(request: Request, error: KafkaException) -> Response:
    return unavailable(f"Kafka: {error.args[0].str()}").response(request.state.request_id)


async def _http(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, Problem):
        # FastAPI wraps whatever comes up while it reads a body.
        return error.__cause__.response(request.state.request_id)
    status, path = HTTPStatus(error.status_code), request.url.path[:512]
    known = {
        HTTPStatus.NOT_FOUND: ("not_found", f"there is nothing at {path}; /openapi.json has all paths"),
        HTTPStatus.METHOD_NOT_ALLOWED: ("method", f"{request.method} is not for {path}"),
    }
    type, detail = known.get(status, ("http", str(error.detail)))
    return Problem(status, type, detail, headers=error.headers).response(request.state.request_id)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    found = [FieldError(dotted(each["loc"]), said(cast(Any, each))) for each in error.errors()]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return bad_request("not_json", "the body is not JSON", *found).response(request.state.request_id)
    told = "; ".join(f"{each.field}: {each.message}" for each in found[:5])
    problem = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_shape", told, errors=found)
    return problem.response(request.state.request_id)
