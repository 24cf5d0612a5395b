"""What the read API answers with: JSON of any stored value, and places to go on from."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

import orjson
from fastapi import Query
from starlette.responses import Response

from headrace.engine.plain import dumps
from services.gateway.bodies import JSON
from services.gateway.problems import FieldError, Problem

MOST = 200
"""Items of a page; the largest of lists, runs without their steps, is then some hundred kilobytes."""

Limit = Annotated[int, Query(ge=1, le=MOST, description="Items of a page")]
Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=1024)]


def answer(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, as the command line prints it."""
    return Response(dumps(value), status, headers, JSON)


def cursor_of(at: datetime, id: str = "") -> str:
    """Where the next page begins: behind this item. Opaque to callers."""
    return urlsafe_b64encode(orjson.dumps([at.isoformat(), id])).decode().rstrip("=")


def read_cursor(text: str) -> tuple[datetime, str]:
    """The item behind which the page begins; raises Problem 422."""
    try:
        at, id = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        time = datetime.fromisoformat(at)
        if isinstance(id, str) and time.tzinfo is not None:
            return time.astimezone(UTC), id
    except (ValueError, TypeError, OverflowError):
        pass
    told = "it is no `next` of an earlier answer"
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_shape", told, errors=[FieldError("query.cursor", told)])
