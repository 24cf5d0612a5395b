"""URLs of automations: read once, by the parser that also connects, so that no two readers disagree about the host."""

import re

from yarl import URL

from headrace.engine.web.messages import HttpFailure

MAX_URL = 8192
"""Characters; servers commonly refuse more."""

MASK = "***"
"""Stands in a record where a secret was."""

_SECRET_WORDS = (
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "apikey",
    "signature",
    "credential",
)
_SECRET_NAMES = frozenset(("key", "sig", "auth", "pwd", "code"))
_UNCLEAN = re.compile(r"[\x00-\x20\x7f]")


def read_url(text: str) -> URL:
    """The URL in `text`; raises ValueError saying what is wrong, without quoting it."""
    if len(text) > MAX_URL:
        raise ValueError(f"the URL has {len(text)} characters; {MAX_URL} are accepted")
    if _UNCLEAN.search(text):
        raise ValueError("the URL holds a space or control character; use the filter urlencode")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        # Its own text may quote the URL.
        why = "its port is no number from 1 to 65535" if "port" in str(error).lower() else "its host cannot be read"
        raise ValueError(f"this is no URL: {why}") from None
    if url.scheme not in ("http", "https"):
        raise ValueError("expected a URL that begins with http:// or https://")
    if not url.raw_host:
        raise ValueError("the URL names no host")
    if port == 0:
        raise ValueError("the URL's port is no number from 1 to 65535")
    return url


def redirected(url: URL, location: str) -> URL:
    """Where a redirect from `url` leads; raises HttpFailure for a place that may not be followed."""
    try:
        return read_url(str(url.join(URL(location)))).with_user(None)
    except ValueError as error:
        raise HttpFailure(
            "bad_redirect", f"{host_of(url)} redirects to a bad place: {error}", retryable=False
        ) from None


def same_origin(one: URL, other: URL) -> bool:
    """Whether credentials meant for `one` may be sent to `other`."""
    return one.origin() == other.origin()


def host_of(url: URL) -> str:
    """The host and an unusual port: as much of a URL as messages quote."""
    return url.host_port_subcomponent or ""


def is_secret(name: str) -> bool:
    """Whether a header or query parameter of this name carries a credential, judged generously."""
    flat = name.lower().replace("-", "").replace("_", "")
    return flat in _SECRET_NAMES or any(word in flat for word in _SECRET_WORDS)


def masked_url(text: object) -> object:
    """`text` with the credentials of a URL masked: user, password, and query parameters that `is_secret`."""
    if not isinstance(text, str):
        return text
    try:
        url = URL(text)
    except ValueError:
        # Not readable as a URL, but it may be one with a mistake in it.
        return re.sub(r"//[^/?#]*@", f"//{MASK}@", text)
    if url.raw_user is not None or url.raw_password is not None:
        text = re.sub(r"//[^/?#]*@", f"//{MASK}@", text, count=1)
    return re.sub(r"([?&])([^=&#]+)=([^&#]*)", _masked_parameter, text)


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={MASK}" if is_secret(found[2]) else found[0]
