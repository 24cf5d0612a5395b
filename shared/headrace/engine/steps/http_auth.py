"""The ways in which a request of an author says who it is."""

import re
from base64 import b64encode
from typing import Annotated, Literal
from urllib.parse import quote_plus

from pydantic import AfterValidator, Field
from yarl import URL

from headrace.contracts.validation import Said
from headrace.engine.steps.base import Inputs
from headrace.engine.steps.inputs import ShortText
from headrace.engine.web.urls import read_url

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


def _url(text: str) -> str:
    read_url(text)
    return text


Url = Annotated[ShortText, AfterValidator(_url)]
"""An absolute URL of http or https."""


def _clean_headers(headers: dict[str, str]) -> dict[str, str]:
    if len(headers) > _MAX_HEADERS:
        raise ValueError(f"{len(headers)} headers; {_MAX_HEADERS} are accepted")
    for name, value in headers.items():
        _clean_name(name)
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} holds a line break, or a character outside of Latin-1")
        if len(value) > _MAX_HEADER_VALUE:
            raise ValueError(f"the value of header {name} is longer than {_MAX_HEADER_VALUE}")
    return headers


def _clean_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header's name is made of letters, digits and !#$%&'*+.^_`|~-")
    if name.lower() in _OURS:
        raise ValueError(f"the header {name} is set by Headrace")
    return name


Headers = Annotated[dict[str, ShortText], AfterValidator(_clean_headers)]
"""Header fields that cannot change where a message ends or goes."""

Secret = Annotated[
    ShortText,
    Field(min_length=1, max_length=_MAX_HEADER_VALUE, pattern=r"^[\x21-\x7e]+$"),
    Said(f"expected 1 to {_MAX_HEADER_VALUE} visible ASCII characters"),
]
"""A credential that stands in a header as it is: printable ASCII without blanks."""


def basic(username: str, password: str) -> str:
    """The value of `Authorization` by RFC 7617."""
    return "Basic " + b64encode(f"{username}:{password}".encode(errors="replace")).decode()


def without_user(url: str) -> tuple[URL, dict[str, str]]:
    """`url` without user and password, and the header that says the same."""
    parsed = URL(url)
    if parsed.raw_user is None and parsed.raw_password is None:
        return parsed, {}
    return parsed.with_user(None), {"Authorization": basic(parsed.user or "", parsed.password or "")}


class BasicAuth(Inputs):
    """RFC 7617."""

    type: Literal["basic"]
    username: ShortText
    password: ShortText = ""

    @property
    def headers(self) -> dict[str, str]:
        """What it adds to a request."""
        return {"Authorization": basic(self.username, self.password)}


class BearerAuth(Inputs):
    """RFC 6750."""

    type: Literal["bearer"]
    token: Secret

    @property
    def headers(self) -> dict[str, str]:
        """What it adds to a request."""
        return {"Authorization": f"Bearer {self.token}"}


class ApiKeyAuth(Inputs):
    """A key under a name of the receiver's, in a header or in the query."""

    type: Literal["api_key"]
    name: Annotated[ShortText, AfterValidator(_clean_name)] = "X-API-Key"
    value: Secret
    in_: Literal["header", "query"] = Field(default="header", alias="in")

    @property
    def headers(self) -> dict[str, str]:
        """What it adds to a request."""
        return {self.name: self.value} if self.in_ == "header" else {}


class OAuth2(Inputs):
    """OAuth 2.0 client credentials (RFC 6749 §4.4): a token is fetched from `token_url` when one is needed.

    `client_auth` is where the client's secret stands in that request: `basic`, which every server supports, or `body`.
    `parameters` are further fields of it, such as `audience`.
    """

    type: Literal["oauth2"]
    token_url: Url
    client_id: Annotated[ShortText, Field(min_length=1)]
    client_secret: Annotated[ShortText, Field(min_length=1)]
    scope: ShortText = ""
    client_auth: Literal["basic", "body"] = "basic"
    parameters: dict[str, ShortText] = Field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Nothing before there is a token."""
        return {}

    @property
    def client_header(self) -> str:
        """The value of `Authorization` for the token's endpoint: both parts form-encoded first (RFC 6749 §2.3.1)."""
        return basic(quote_plus(self.client_id), quote_plus(self.client_secret))


Auth = Annotated[BasicAuth | BearerAuth | ApiKeyAuth | OAuth2, Field(discriminator="type")]
