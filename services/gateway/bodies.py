"""What a request's body and query say, whatever they are made of."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl

import orjson
from pydantic import StringConstraints

from headrace.contracts import limits
from headrace.contracts.errors import ContractError
from headrace.contracts.representable import refuse_deep, refuse_huge_numbers
from services.gateway.problems import FieldError, Problem, bad_request

JSON, FORM, TEXT = "application/json", "application/x-www-form-urlencoded", "text/plain"

MOST_FIELDS = 1_000
"""Of a form or query: each is a value in a job, and forms that people fill in have dozens."""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
"""Why somebody asks for it, for whoever looks at it later."""

_TEXTS = ("text/", "application/xml")
_NUL = "\0"


def media_type(content_type: str) -> str:
    """The type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON's, or is made of it."""
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


def read_body(content_type: str, body: bytes) -> object:
    """The body as a job may carry it: parsed JSON, a form's names with values, a text; null for none.

    Raises Problem 400 for what it is not, 415 for a type that is none of these.
    """
    if not body:
        return None
    kind = media_type(content_type)
    if is_json(kind):
        return read_json(body)
    if kind == FORM:
        return read_pairs(_text(body, "body"), "body")
    if kind.startswith(_TEXTS) or (kind.startswith("application/") and kind.endswith("+xml")):
        text = _text(body, "body")
        if _NUL in text:
            raise bad_request("not_text", "the body holds NUL, which no text has", FieldError("body", "it holds NUL"))
        return text
    raise unsupported(content_type, f"{JSON}, {FORM} and text/* are accepted")


def read_json(body: bytes) -> object:
    """Parsed JSON; raises Problem 400 for what is none, or could not be kept as it is."""
    try:
        refuse_huge_numbers(body, "the body")
        refuse_deep(body, "the body")
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = f"the body is not JSON ({error})"
        raise bad_request("not_json", detail, FieldError("body", "expected JSON")) from None
    except ContractError as error:
        raise bad_request(error.type, error.message, FieldError("body", error.message)) from None
    if b"\\u0000" in body and _has_nul_name(found):
        told = FieldError("body", "NUL in a name")
        raise bad_request("not_representable", "a name in the body holds NUL, which no database keeps", told)
    return found


def read_pairs(text: str, where: str) -> dict[str, str | list[str]]:
    """A form or query: of a name that is there twice all values. Raises Problem 400."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except UnicodeDecodeError:
        raise bad_request("not_utf8", f"the {where} is not UTF-8", FieldError(where, "expected UTF-8")) from None
    except ValueError:
        told = f"the {where} has more than {MOST_FIELDS} fields"
        raise bad_request("over_limit", told, FieldError(where, told)) from None
    found: dict[str, str | list[str]] = {}
    for name, value in pairs:
        if _NUL in name or _NUL in value:
            raise bad_request("not_text", f"the {where} holds NUL", FieldError(where, "it holds NUL"))
        before = found.get(name)
        if before is None:
            found[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            found[name] = [before, value]
    return found


def written(value: object) -> bytes:
    """A record's value; raises Problem 413 where it would not travel, 400 where it is nested too deeply."""
    made = orjson.dumps(value)
    if len(made) > limits.RECORD:
        told = f"as JSON the request has {len(made)} bytes; {limits.RECORD} are accepted"
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", told)
    try:
        refuse_deep(made, "the body")
    except ContractError as error:
        raise bad_request(error.type, error.message, FieldError("body", error.message)) from None
    return made


def unsupported(content_type: str, expected: str) -> Problem:
    """415."""
    told = f"content type {content_type[:128]!r}" if content_type else "a body without a content type"
    return Problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "content_type",
        f"{told} is not understood; {expected}",
        errors=[FieldError("header.content-type", expected)],
    )


def _text(body: bytes, where: str) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise bad_request("not_utf8", f"the {where} is not UTF-8", FieldError(where, "expected UTF-8")) from None


def _has_nul_name(value: object) -> bool:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if any(_NUL in name for name in each):
                return True
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
    return False
