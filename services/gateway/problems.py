"""What goes wrong, told as RFC 9457 has it: application/problem+json, with the field that is meant."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

URN = "urn:headrace:problem:"
"""Begins a problem's `type`; the word behind it is stable, for programs."""


DESCRIBED: dict[str, Any] = {
    "description": "What went wrong (RFC 9457).",
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "request_id"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "request_id": {"type": "string"},
                    "errors": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["field", "message"],
                            "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                        },
                    },
                },
            },
            "example": {
                "type": "urn:headrace:problem:bad_shape",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "query.limit: expected at most 200",
                "request_id": "4be1b1f52c6f4a0d9d1f7d3e6a5b8c90",
                "errors": [{"field": "query.limit", "message": "expected at most 200"}],
            },
        }
    },
}
"""Every other answer than those of the route, as the OpenAPI document has it."""


class FieldError(NamedTuple):
    """A part of the request (`steps.0.with`, `query.limit`, `header.x-signature`) and what is wrong with it."""

    field: str
    message: str


class Problem(Exception):
    """A request that is answered with an error. `detail` says what is wrong and what to do, and quotes no secret."""

    def __init__(
        self,
        status: HTTPStatus,
        type: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        instance: str = "",
    ) -> None:
        """`instance` is the URL of what failed, where there is one."""
        super().__init__(detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.instance = instance

    def response(self, request_id: str) -> Response:
        """As it is sent."""
        return Response(self.body(request_id), self.status, self.headers, MEDIA_TYPE)

    def body(self, request_id: str) -> bytes:
        """The document; `errors` is our extension member, as is `request_id`."""
        document: dict[str, object] = {
            "type": URN + self.type,
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.instance:
            document["instance"] = self.instance
        if self.errors:
            document["errors"] = [each._asdict() for each in self.errors]
        return orjson.dumps(document)


def unavailable(detail: str, retry_after_s: int = 5) -> Problem:
    """The platform is away: the same request may be sent again."""
    headers = {"Retry-After": str(retry_after_s)}
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers=headers)


def not_found(detail: str) -> Problem:
    """There is no such thing."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", detail)


def unauthorized(detail: str) -> Problem:
    """Nobody knows who asks."""
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def internal() -> Problem:
    """Nobody expected it."""
    told = "a bug of ours; the log has it under the request's id"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", told)


def bad_request(type: str, detail: str, *errors: FieldError) -> Problem:
    """What was sent cannot be meant."""
    return Problem(HTTPStatus.BAD_REQUEST, type, detail, errors=errors)
