"""What goes wrong, told as RFC 9457 has it: application/problem+json, with the field that is meant."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

URN = "urn:headrace:problem:"
"""Begins a problem's `type`; the word behind it is stable, for programs."""


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
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

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
