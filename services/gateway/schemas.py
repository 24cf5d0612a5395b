"""`/api/v1/schemas/automation`: the JSON Schema of documents, for editors."""

from functools import cache
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import Response

from headrace.engine.plain import dumps
from headrace.schema import automation_schema
from services.gateway.paths import etag_of, wanted

MEDIA_TYPE = "application/schema+json"


def router() -> APIRouter:
    """The route. It takes no key: an editor that reads it has none, and it says what the manual says."""
    routes = APIRouter(prefix="/api/v1/schemas", tags=["automations"])

    @routes.get("/automation", response_class=Response, responses={HTTPStatus.OK: {"content": {MEDIA_TYPE: {}}}})
    async def automation(request: Request) -> Response:
        """What an automation's document may hold, with the inputs of each step of this installation."""
        content, etag = _automation()
        headers = {"ETag": etag, "Cache-Control": "public, no-cache"}
        if etag in wanted(request, "if-none-match"):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers, media_type=MEDIA_TYPE)

    return routes


@cache
def _automation() -> tuple[bytes, str]:
    content = dumps(automation_schema())
    return content, etag_of(content)
