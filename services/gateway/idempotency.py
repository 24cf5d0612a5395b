"""Requests that are made twice and done once: `Idempotency-Key`."""

from uuid import uuid4

from starlette.requests import Request

from services.gateway.identity import Caller
from services.gateway.problems import FieldError, bad_request

KEY_LENGTH = 255
"""Characters of an Idempotency-Key, as most APIs that know it have it."""


def origin_of(request: Request, caller: Caller, what: str) -> str:
    """What makes a request to create something one that is done once."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > KEY_LENGTH:
        told = f"it has {len(key)} characters; {KEY_LENGTH} are accepted"
        raise bad_request("bad_header", told, FieldError("header.idempotency-key", told))
    # Of each caller its own: nobody meets what is another's by guessing.
    return f"api/{caller.id}/{what}/{key or uuid4().hex}"
