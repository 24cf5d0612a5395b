"""The access token of OAuth 2.0 client credentials, fetched through the same guarded transport as any request."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import cast
from urllib.parse import urlencode

import orjson

from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.steps.http_auth import OAuth2, without_user
from headrace.engine.web import answers
from headrace.engine.web.messages import HttpAnswer, HttpRequest
from headrace.engine.web.tokens import Token
from headrace.engine.web.urls import host_of

UNSAID_LIFETIME = 300.0
"""Seconds a token is kept whose server says nothing of its life. One that dies earlier is noticed by the 401."""

_LONGEST_LIFETIME = 30 * 86_400.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_CODES = frozenset(
    (
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    )
)
"""Errors of RFC 6749 §5.2: messages quote no other text of an answer."""


async def access_token(auth: OAuth2, run: Run, refused: str | None = None) -> str:
    """A token that is good for now, of this process and app; `refused` is one that was just turned down.

    Raises StepError `oauth_failed`, and HttpFailure where the token's endpoint gives no answer.
    """
    # Apps are apart, even where they happen to know the same secret. Hashed, so that no key holds one.
    key = sha256(f"{run.job.app}\0{auth.model_dump_json()}".encode(errors="replace")).hexdigest()
    return await run.ports.tokens.get(key, run.ports.clock.perf, lambda: _fetched(auth, run), refused)


async def _fetched(auth: OAuth2, run: Run) -> Token:
    url, headers = without_user(auth.token_url)
    form = {"grant_type": "client_credentials", **auth.parameters}
    if auth.scope:
        form["scope"] = auth.scope
    if auth.client_auth == "basic":
        headers["Authorization"] = auth.client_header
    else:
        form |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
    headers |= {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode(form, errors="replace").encode()
    # Redirects are not followed: the client's secret is for this endpoint alone.
    answer = await run.ports.http.send(HttpRequest("POST", str(url), headers, body, run.ports.allow_private_hosts))
    found = _object(answer)
    if not 200 <= answer.status < 300:
        code = found.get("error")
        told = f" ({code})" if code in _CODES else ""
        raise StepError(
            "oauth_failed",
            f"{host_of(url)} gave no token: it answered {answer.status}{told}; check the inputs of auth",
            retryable=answers.is_momentary(answer.status),
            retry_after=answers.retry_after(answer, run.ports.clock.now()),
            nothing_done=True,
        )
    return _token(found, host_of(url))


def _token(found: Mapping[str, object], host: str) -> Token:
    value, kind = found.get("access_token"), found.get("token_type", "Bearer")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or str(kind).lower() != "bearer":
        raise StepError("oauth_failed", f"{host} answered without a bearer token")
    try:
        lifetime = float(str(found.get("expires_in", UNSAID_LIFETIME)))
    except ValueError:
        lifetime = UNSAID_LIFETIME
    # A comparison with NaN is false: it ends as no lifetime at all.
    return Token(value, min(lifetime, _LONGEST_LIFETIME) if lifetime > 0 else 0.0)


def _object(answer: HttpAnswer) -> Mapping[str, object]:
    try:
        found: object = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return cast(Mapping[str, object], found) if isinstance(found, dict) else {}
