"""One call of any HTTP step: how it is written, sent, signed in, and how its answer is judged."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from yarl import URL

from headrace.contracts import limits
from headrace.contracts.automation import Retry
from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.steps.base import Outputs
from headrace.engine.steps.http_auth import ApiKeyAuth, Auth, OAuth2, without_user
from headrace.engine.steps.http_inputs import Expect
from headrace.engine.steps.oauth import access_token
from headrace.engine.web import answers, jsonpaths
from headrace.engine.web.exchange import exchange
from headrace.engine.web.messages import HttpAnswer, HttpFailure, HttpRequest
from headrace.engine.web.redaction import Redaction
from headrace.engine.web.urls import host_of
from headrace.language.values import equal

USER_AGENT = "Headrace"

MAX_BODY = limits.RECORD
"""Bytes of a request's body: no larger record reaches a run, so more was made of it by multiplication."""

RETRY = Retry(attempts=3, backoff=1.0, factor=2.0, max=30.0)
"""Tries of a call that may be made again: an outside party's bad moment is mostly over within seconds."""

OUTPUTS = {
    "status": "the answer's status",
    "headers": "the answer's headers, names in lower case, without cookies",
    "data": "the body by its content type: JSON and forms parsed, text as it is, anything else as "
    "{_binary: true, content_type, bytes, base64}",
    "truncated": "true where the body was longer than 1 MB and is cut",
}

ERRORS = {
    "bad_input": "an input does not fit; the message names it. Not retried",
    "http_status": "the answer's status is not the expected one. Retried if 5xx, 408, 425 or 429, after `Retry-After`; "
    "a call that is made at most once only if 429, or 503 with `Retry-After`",
    "timeout": "no answer in time. Retried, unless the call is made at most once",
    "connection": "the name could not be resolved, or the connection failed or broke. Retried; a call that is made at "
    "most once only if there was no connection yet",
    "bad_certificate": "the other side's certificate is not valid. Not retried",
    "bad_answer": "what came back is no HTTP, or its body no gzip though it says so. Not retried",
    "address_refused": "the URL leads to a loopback, private, link-local or metadata address. Not retried",
    "unknown_outcome": "the worker died during the call, and `on_unknown: fail` does not make it again. Not retried",
}
"""Types of errors that all HTTP steps have."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call, all but what is made anew at each attempt. `credentials` are names of headers, as in HttpRequest.

    `redaction` knows the credentials of the call: its outputs and errors go through it.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    redaction: Redaction
    credentials: frozenset[str] = frozenset()
    oauth: OAuth2 | None = None
    timeout: float | None = None
    expect: Expect | None = None
    follows_redirects: bool = True


def written(
    url: str,
    *,
    method: str = "POST",
    query: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str],
    body: tuple[str, bytes | None],
    auth: Auth | None = None,
    redaction: Redaction,
) -> Call:
    """A call whose URL holds neither user nor password, with the headers of its body and of `auth`.

    Raises StepError `bad_input` for a body that is too large.
    """
    parsed, in_url = without_user(url)
    added = list(query)
    if isinstance(auth, ApiKeyAuth) and auth.in_ == "query":
        added.append((auth.name, auth.value))
    if added:
        parsed = parsed.extend_query(added)
    content_type, content = body
    if content is not None and len(content) > MAX_BODY:
        raise StepError("bad_input", f"inputs: the body has {len(content)} bytes; {MAX_BODY} are accepted")
    given = auth.headers if auth is not None else {}
    all_headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate", **in_url, **given}
    if content_type:
        all_headers["Content-Type"] = content_type
    for name, value in headers.items():
        # One field of a name: the author's replaces ours, however it is spelt.
        all_headers = {ours: text for ours, text in all_headers.items() if ours.lower() != name.lower()}
        all_headers[name] = value
    return Call(
        method=method,
        url=str(parsed),
        headers=all_headers,
        body=content,
        redaction=redaction,
        credentials=frozenset(name.lower() for name in given),
        oauth=auth if isinstance(auth, OAuth2) else None,
    )


async def perform(call: Call, run: Run, added: Mapping[str, str] | None = None) -> Outputs:
    """Makes one attempt at `call`, with `added` headers; the outputs, or a StepError of the types in ERRORS."""
    headers = {**call.headers, **(added or {})}
    if not any(name.lower() == "idempotency-key" for name in headers):
        # The author's own key wins: it may name something larger than this step.
        headers["Idempotency-Key"] = run.key
    request = HttpRequest(
        call.method, call.url, headers, call.body, run.ports.allow_private_hosts, credentials=call.credentials
    )
    limit = asyncio.timeout(call.timeout)
    redirected: list[int] = []
    try:
        async with limit:
            answer, redaction = await _answer(call, request, run, redirected)
    except HttpFailure as failure:
        message = call.redaction.text(failure.message)
        nothing_done = failure.nothing_sent and not redirected
        raise StepError(failure.type, message, retryable=failure.retryable, nothing_done=nothing_done) from failure
    except TimeoutError:
        if not limit.expired():
            raise
        host = host_of(URL(call.url))
        raise StepError("timeout", f"{host} did not answer within {call.timeout:g} s", retryable=True) from None
    # What redirected may have done what it was asked to: it is not known of an answer that comes after.
    return _judged(answer, call.expect, redaction, run, nothing_done=not redirected and answers.is_refusal(answer))


async def _answer(call: Call, request: HttpRequest, run: Run, redirected: list[int]) -> tuple[HttpAnswer, Redaction]:
    """The answer, and what knows the credentials by now; the redirects that are followed come into `redirected`."""

    def is_final(status: int) -> bool:
        if not call.follows_redirects or _is_named(status, call.expect):
            return True
        redirected.append(status)
        return False

    http = run.ports.http
    if call.oauth is None:
        return await exchange(http, request, is_final), call.redaction
    token = await access_token(call.oauth, run)
    answer = await exchange(http, _with_token(request, token), is_final)
    if answer.status == 401:
        # It may have been revoked before its time. A request that was not let in has had no effect: it is safe again.
        token = await access_token(call.oauth, run, refused=token)
        answer = await exchange(http, _with_token(request, token), is_final)
    return answer, call.redaction.plus(token)


def _with_token(request: HttpRequest, token: str) -> HttpRequest:
    headers = {**request.headers, "Authorization": f"Bearer {token}"}
    return HttpRequest(
        request.method, request.url, headers, request.body, request.allow_private_hosts, request.credentials
    )


def _judged(
    answer: HttpAnswer, expect: Expect | None, redaction: Redaction, run: Run, *, nothing_done: bool
) -> Outputs:
    """The outputs, or the error that the answer is."""
    read = answers.outputs(answer)
    outputs = cast(Outputs, redaction.value(read))
    wanted = expect.status if expect else ()
    if not (_is_named(answer.status, expect) if wanted else 200 <= answer.status < 300):
        raise StepError(
            "http_status",
            f"the answer's status is {answer.status}; expected {', '.join(wanted) or '2xx'}",
            retryable=answers.is_momentary(answer.status),
            retry_after=answers.retry_after(answer, run.ports.clock.now()),
            nothing_done=nothing_done,
            outputs=outputs,
        )
    if expect and expect.json_ and (why := _unexpected(read["data"], expect)):
        raise StepError("unexpected_answer", why, outputs=outputs)
    return {"success": True, **outputs}


def _is_named(status: int, expect: Expect | None) -> bool:
    wanted = expect.status if expect else ()
    return str(status) in wanted or f"{status // 100}xx" in wanted


def _unexpected(data: object, expect: Expect) -> str | None:
    """Why the answer's JSON is not what was expected; None if it is."""
    wanted = expect.json_
    if wanted is None:
        return None
    exists, found = jsonpaths.find(data, jsonpaths.parse(wanted.path))
    if not exists:
        return f"the answer has nothing at {wanted.path}, which `expect` names"
    if "equals" in wanted.model_fields_set and not equal(found, wanted.equals):
        return f"what the answer has at {wanted.path} is not what `expect` says it equals"
    return None
