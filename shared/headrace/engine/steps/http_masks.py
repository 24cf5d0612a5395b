"""What a record may keep of the inputs of a call: everything but credentials. The inputs aren't validated yet."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import cast
from urllib.parse import quote_plus

from yarl import URL

from headrace.contracts import limits
from headrace.engine.plain import MAX_DEPTH
from headrace.engine.steps.base import Outputs
from headrace.engine.web.redaction import ANYWHERE, Redaction
from headrace.engine.web.urls import MASK, is_secret, masked_url

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

_PUBLIC = frozenset(("type", "username", "name", "in", "token_url", "client_id", "scope", "client_auth"))
"""Parts of `auth` that are no credentials; a misspelt one may be."""

WEBHOOK_SECRET = "whsec_"
"""What the secret of a webhook begins with (Standard Webhooks, 1.0.0); the rest of it is base64."""

_MOST_VALUES = limits.STORED_VALUE // 2
"""Values of a body that are looked at: JSON needs two bytes for each, so that a record keeps no larger one whole."""


def masked(rendered: Outputs) -> Outputs:
    """Rendered inputs of a call as a record may keep them."""
    stored = dict(rendered)
    if "url" in stored:
        stored["url"] = masked_url(stored["url"])
    for name in ("headers", "query"):
        if name in stored:
            stored[name] = _masked_values(stored[name])
    if "auth" in stored:
        stored["auth"] = _masked_auth(stored["auth"])
    if stored.get("secret"):
        stored["secret"] = MASK
    for name in ("json", "form", "multipart"):
        if name in stored:
            stored[name] = _BodyMask().copy(stored[name], 0)
    redaction = Redaction(credentials(rendered))
    return {name: redaction.value(value) for name, value in stored.items()}


def credentials(rendered: Outputs) -> Iterator[str]:
    """The credentials in rendered inputs, in each form in which they are sent; none from bodies, which are data."""
    yield from _of_auth(rendered.get("auth"))
    for secret in _texts(rendered.get("secret")):
        yield from (secret, secret.removeprefix(WEBHOOK_SECRET))
    yield from _of_url(rendered.get("url"))
    for name in ("headers", "query"):
        values = rendered.get(name)
        if not isinstance(values, Mapping):
            continue
        for key, value in cast(Mapping[object, object], values).items():
            if is_secret(str(key)):
                # A short one may be none: the names are guessed.
                yield from (part for text in _texts(value) for part in _parts(text) if len(part) >= ANYWHERE)


def _parts(text: str) -> Iterator[str]:
    """The value of a header, what follows a scheme such as Bearer in it, and the values of cookies."""
    yield from (text, text.partition(" ")[2])
    yield from (crumb.partition("=")[2].strip() for crumb in text.split(";"))


def _of_auth(auth: object) -> Iterator[str]:
    if not isinstance(auth, Mapping):
        yield from _texts(auth)
        return
    found = cast(Mapping[object, object], auth)
    for name, value in found.items():
        if name not in _PUBLIC:
            yield from _texts(value)
    for user, password in (("username", "password"), ("client_id", "client_secret")):
        for one in _texts(found.get(user)):
            for other in _texts(found.get(password)):
                yield _base64(f"{one}:{other}")
                yield _base64(f"{quote_plus(one)}:{quote_plus(other)}")


def _of_url(url: object) -> Iterator[str]:
    if not isinstance(url, str):
        return
    try:
        parsed = URL(url)
        user, password = parsed.user or "", parsed.password or ""
    except ValueError:
        return
    if user or password:
        yield password
        yield _base64(f"{user}:{password}")
    yield from (value for name, value in parsed.query.items() if is_secret(name) and len(value) >= ANYWHERE)


def _texts(value: object) -> Iterator[str]:
    """The texts in a credential, which may be a number or a list."""
    for item in cast(Iterable[object], value) if isinstance(value, list | tuple) else (value,):
        if isinstance(item, str):
            yield item
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield str(item)


def _base64(text: str) -> str:
    return b64encode(text.encode(errors="replace")).decode()


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
    return {name: _public(name, item) if name in _PUBLIC else MASK for name, item in found.items()}


def _public(name: object, item: object) -> object:
    return masked_url(item) if name == "token_url" else item
