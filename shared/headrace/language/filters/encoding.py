"""Filters for JSON, hashes, base64 and URLs."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote, unquote

import orjson

from headrace.language import limits
from headrace.language.errors import Misuse, Unfit
from headrace.language.filters.arguments import Filter, items_of, json_of, text_of
from headrace.language.kinds import bytes_of
from headrace.language.scope import Scope
from headrace.language.values import MISSING


def _to_json(scope: Scope, value: object, indent: bool = False) -> str:
    return json_of(scope, value, indent)


def _from_json(scope: Scope, value: object) -> object:
    if value is None or value is MISSING:
        raise Unfit("JSON text", value)
    text = text_of(scope, value)
    # What is read may take twenty times the memory of its text.
    scope.work(len(text))
    try:
        return orjson.loads(bytes_of(text))
    except orjson.JSONDecodeError as error:
        raise Misuse(f"not JSON: {error}") from None


def _hash(name: str) -> Filter:
    def apply(scope: Scope, value: object) -> str:
        return hashlib.new(name, bytes_of(text_of(scope, value)), usedforsecurity=False).hexdigest()

    return apply


def _hmac(scope: Scope, value: object, key: object) -> str:
    return hmac.new(bytes_of(text_of(scope, key)), bytes_of(text_of(scope, value)), "sha256").hexdigest()


def _base64_encode(scope: Scope, value: object) -> str:
    return base64.b64encode(bytes_of(text_of(scope, value))).decode()


def _base64_decode(scope: Scope, value: object) -> str:
    try:
        return base64.b64decode(text_of(scope, value), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Misuse("not base64 of a text") from None


def _url_encode(scope: Scope, value: object) -> str:
    return _quoted(scope, value, "")


def _url_decode(scope: Scope, value: object) -> str:
    text = text_of(scope, value)
    scope.work(len(text))
    return unquote(text)


def _urlencode(scope: Scope, value: object) -> str:
    """Jinja's: an object or pairs as a query, text as a path."""
    if isinstance(value, Mapping):
        pairs = list(cast(Mapping[object, object], value).items())
        scope.make(len(pairs))
    elif isinstance(value, list | tuple):
        pairs = [_pair(each) for each in items_of(scope, cast(object, value))]
    else:
        return _quoted(scope, value, "/")
    return limits.joined([f"{_quoted(scope, name, '')}={_quoted(scope, each, '')}" for name, each in pairs], "&")


def _pair(value: object) -> tuple[object, object]:
    pair = cast("list[object]", value) if isinstance(value, list | tuple) else []
    if len(pair) != 2:
        raise Unfit("an object, or pairs of names and values", cast(object, value))
    return pair[0], pair[1]


def _quoted(scope: Scope, value: object, safe: str) -> str:
    text = text_of(scope, value)
    scope.work(len(text))
    return quote(bytes_of(text), safe=safe)


ENCODING: Mapping[str, Filter] = {
    "base64_decode": _base64_decode,
    "base64_encode": _base64_encode,
    "from_json": _from_json,
    "hmac_sha256": _hmac,
    "md5": _hash("md5"),
    "sha256": _hash("sha256"),
    "to_json": _to_json,
    "tojson": _to_json,
    "url_decode": _url_decode,
    "url_encode": _url_encode,
    "urlencode": _urlencode,
}
