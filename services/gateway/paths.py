"""The names in paths, and the headers that say of which revision something is meant to be."""

from hashlib import sha256
from http import HTTPStatus

from starlette.requests import Request

from headrace.contracts.cloudevents import is_name
from services.gateway.problems import FieldError, Problem, bad_request

ANY = "*"
"""In If-Match and If-None-Match: whatever is there."""


def checked_name(where: str, text: str) -> str:
    """The name of an app, a table or an automation in a path; raises Problem 400."""
    if not is_name(text):
        told = "a name is made of a-z, 0-9, '_' and '-'"
        raise bad_request("bad_name", told, FieldError(f"path.{where}", told))
    return text


def etag_of(content: bytes) -> str:
    """The strong entity tag of what is answered (RFC 9110, §8.8.3)."""
    return f'"{sha256(content).hexdigest()[:24]}"'


def revision_tag(revision: int) -> str:
    """The entity tag of what has a revision."""
    return f'"{revision}"'


def wanted(request: Request, header: str) -> list[str]:
    """The tags in If-Match or If-None-Match, weak ones as strong; none where it is not sent."""
    tags = (each.strip().removeprefix("W/") for each in request.headers.get(header, "").split(","))
    return [each for each in tags if each]


def revision_meant(request: Request) -> int | None:
    """The revision that `If-Match: "7"` names, 0 for `If-None-Match: *`, None where neither is sent; Problem 400."""
    if wanted(request, "if-none-match") == [ANY]:
        return 0
    tags = wanted(request, "if-match")
    if not tags or tags == [ANY]:
        return None
    text = tags[0].strip('"')
    if len(tags) > 1 or not (text.isascii() and text.isdigit() and len(text) < 16):
        told = 'expected one revision, such as "7", as the ETag said it'
        raise bad_request("bad_header", told, FieldError("header.if-match", told))
    return int(text)


def changed(detail: str) -> Problem:
    """412: it is no longer as its caller saw it."""
    return Problem(HTTPStatus.PRECONDITION_FAILED, "changed", detail)
