"""Inputs of `http.request`: hostile until shown otherwise."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from yarl import URL

from headrace.contracts import limits
from headrace.contracts.automation import Duration
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.steps.base import Inputs, Outputs
from headrace.engine.steps.inputs import ShortText, Text
from headrace.engine.web.urls import MASK, is_secret, masked_url, read_url

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers that frame the message or name its receiver: with them an author could smuggle a second request."""

_MAX_HEADERS = 64
_MAX_HEADER_VALUE = 8192
"""Characters; servers commonly refuse a header line beyond 8 KB."""


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _url(text: str) -> str:
    read_url(text)
    return text


def _clean_headers(headers: dict[str, str]) -> dict[str, str]:
    if len(headers) > _MAX_HEADERS:
        raise ValueError(f"{len(headers)} headers; {_MAX_HEADERS} are accepted")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header's name is made of letters, digits and !#$%&'*+.^_`|~-")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name} is set by Headrace")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} holds a line break, or a character outside of Latin-1")
        if len(value) > _MAX_HEADER_VALUE:
            raise ValueError(f"the value of header {name} is longer than {_MAX_HEADER_VALUE}")
    return headers


def _statuses(value: object) -> object:
    return _as_list(value)


def _status(value: object) -> object:
    text = str(value).lower()
    if re.fullmatch(r"[1-5](xx|[0-9]{2})", text):
        return text
    raise ValueError("expected a status such as 200, or a class such as 2xx")


class BasicAuth(Inputs):
    """RFC 7617."""

    type: Literal["basic"]
    username: ShortText
    password: ShortText = ""

    @property
    def header(self) -> str:
        """The value of `Authorization`."""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode(errors="replace")).decode()


class BearerAuth(Inputs):
    """RFC 6750."""

    type: Literal["bearer"]
    token: Annotated[ShortText, Field(min_length=1, max_length=_MAX_HEADER_VALUE, pattern=r"^[\x21-\x7e]+$")]

    @property
    def header(self) -> str:
        """The value of `Authorization`."""
        return f"Bearer {self.token}"


class Expect(Inputs):
    """What counts as success: statuses (`200`, `[200, 404]`) or classes of them (`2xx`)."""

    status: Annotated[tuple[Annotated[str, BeforeValidator(_status)], ...], BeforeValidator(_statuses)]


def _lists(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    found = cast(Mapping[object, object], value)
    return {name: _as_list(item) for name, item in found.items() if item is not None}


def _as_list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else [value]


Parameters = Annotated[dict[str, list[ShortText]], BeforeValidator(_lists)]
"""Names and values of a query or form; an array repeats the name, null leaves it out."""


class HttpInputs(Inputs):
    """A request; at most one of `json`, `form` and `text` is its body. `timeout` is that of one attempt."""

    url: Annotated[ShortText, AfterValidator(_url)]
    method: Annotated[Method, BeforeValidator(_upper)] = "GET"
    query: Parameters = Field(default_factory=dict)
    headers: Annotated[dict[str, ShortText], AfterValidator(_clean_headers)] = Field(default_factory=dict)
    json_: object = Field(default=None, alias="json")
    form: Parameters | None = None
    text: Text | None = None
    auth: Annotated[BasicAuth | BearerAuth, Field(discriminator="type")] | None = None
    timeout: Duration | None = None
    expect: Expect | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        bodies = [name for name in ("json_", "form", "text") if name in self.model_fields_set]
        if len(bodies) > 1:
            raise ValueError("a request has one body: `json`, `form` or `text`")
        in_url = URL(self.url).raw_user is not None
        in_headers = any(name.lower() == "authorization" for name in self.headers)
        if (self.auth is not None) + in_url + in_headers > 1:
            raise ValueError("credentials are given twice: use one of `auth`, the URL, the header Authorization")
        return self


_CREDENTIALS = frozenset(
    (
        "accesstoken",
        "apikey",
        "authorization",
        "clientsecret",
        "passwd",
        "password",
        "privatekey",
        "refreshtoken",
        "secret",
        "token",
    )
)
"""Usual names of credentials in a body, without - and _. Exact: a body is the author's data, and `key` or `code` are
mostly none there, as they are in a URL."""

_MOST_VALUES = limits.STORED_VALUE // 2
"""Values of a body that are looked at: JSON needs two bytes for each, so that a record keeps no larger one whole."""


def masked(rendered: Outputs) -> Outputs:
    """Rendered inputs, not validated yet, as a record may keep them."""
    stored = dict(rendered)
    if "url" in stored:
        stored["url"] = masked_url(stored["url"])
    for name in ("headers", "query"):
        if name in stored:
            stored[name] = _masked_values(stored[name])
    if "auth" in stored:
        stored["auth"] = _masked_auth(stored["auth"])
    for name in ("json", "form"):
        if name in stored:
            stored[name] = _BodyMask().copy(stored[name], 0)
    return stored


class _BodyMask:
    """Copies a body with its credentials masked; what is too deep or too much to be looked at is masked whole."""

    def __init__(self) -> None:
        self._seen = 0

    def copy(self, value: object, depth: int) -> object:
        self._seen += 1
        if isinstance(value, Mapping):
            if self._is_beyond(depth):
                return MASK
            found = cast(Mapping[object, object], value)
            return {
                name: MASK if _is_credential(name) and item is not None else self.copy(item, depth + 1)
                for name, item in found.items()
            }
        if isinstance(value, list | tuple):
            if self._is_beyond(depth):
                return MASK
            return [self.copy(item, depth + 1) for item in cast(Iterable[object], value)]
        return value

    def _is_beyond(self, depth: int) -> bool:
        return depth >= MAX_DEPTH or self._seen > _MOST_VALUES


def _is_credential(name: object) -> bool:
    return isinstance(name, str) and name.lower().replace("-", "").replace("_", "") in _CREDENTIALS


def _masked_values(value: object) -> object:
    if not isinstance(value, Mapping):
        return MASK if value else value
    found = cast(Mapping[object, object], value)
    return {name: MASK if is_secret(str(name)) else item for name, item in found.items()}


def _masked_auth(value: object) -> object:
    if not isinstance(value, Mapping):
        return MASK if value else value
    found = cast(Mapping[object, object], value)
    return {name: item if name in ("type", "username") else MASK for name, item in found.items()}
