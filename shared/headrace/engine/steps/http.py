"""`http.request`: a call to the world outside, at least once, under a key that stays the same."""

import asyncio
from base64 import b64encode
from typing import ClassVar
from urllib.parse import urlencode

from yarl import URL

from headrace.contracts.automation import Retry
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Outputs, Perform, checked
from headrace.engine.steps.http_inputs import HttpInputs, masked
from headrace.engine.web import answers
from headrace.engine.web.exchange import exchange
from headrace.engine.web.messages import HttpAnswer, HttpFailure, HttpRequest
from headrace.engine.web.urls import host_of

USER_AGENT = "Headrace"

_TRY_AGAIN = frozenset((408, 425, 429))
"""Statuses below 500 that speak of the moment, not of the request (RFC 9110, 8470, 6585)."""


class HttpRequestStep(AwaitingStep):
    """Sends one HTTP request and keeps its answer."""

    use = "http.request"
    inputs = HttpInputs
    outputs: ClassVar[dict[str, str]] = {
        "status": "the answer's status",
        "headers": "the answer's headers, names in lower case, without cookies",
        "data": "the body: parsed where it is JSON, else text",
        "truncated": "true where the body was longer than 1 MB and is cut",
    }
    effect = "at_least_once"
    retry = Retry(attempts=3, backoff=1.0, factor=2.0, max=30.0)

    def stored(self, rendered: Outputs) -> Outputs:
        """Without credentials."""
        return masked(rendered)

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and writes the request, all but its key."""
        inputs = checked(HttpInputs, rendered)
        url, headers, body = _written(inputs)

        async def perform(run: Run) -> Outputs:
            # The author's own key wins: it may name something larger than this step.
            named = headers if _has(headers, "idempotency-key") else {**headers, "Idempotency-Key": run.key}
            request = HttpRequest(inputs.method, url, named, body, run.ports.allow_private_hosts)
            return _judged(await _answer(inputs, request, run), inputs, run)

        return perform


async def _answer(inputs: HttpInputs, request: HttpRequest, run: Run) -> HttpAnswer:
    limit = asyncio.timeout(inputs.timeout)
    try:
        async with limit:
            return await exchange(run.ports.http, request, lambda status: _is_expected(status, inputs))
    except HttpFailure as failure:
        raise StepError(failure.type, failure.message, retryable=failure.retryable) from failure
    except TimeoutError:
        if not limit.expired():
            raise
        host = host_of(URL(request.url))
        raise StepError("timeout", f"{host} did not answer within {inputs.timeout:g} s", retryable=True) from None


def _judged(answer: HttpAnswer, inputs: HttpInputs, run: Run) -> Outputs:
    """The outputs, or the error that the answer's status is."""
    outputs = answers.outputs(answer)
    if _is_expected(answer.status, inputs) if inputs.expect else 200 <= answer.status < 300:
        return {"success": True, **outputs}
    expected = ", ".join(inputs.expect.status) if inputs.expect else "2xx"
    raise StepError(
        "http_status",
        f"the answer's status is {answer.status}; expected {expected}",
        retryable=answer.status >= 500 or answer.status in _TRY_AGAIN,
        retry_after=answers.retry_after(answer, run.ports.clock.now()),
        outputs=outputs,
    )


def _is_expected(status: int, inputs: HttpInputs) -> bool:
    wanted = inputs.expect.status if inputs.expect else ()
    return str(status) in wanted or f"{status // 100}xx" in wanted


def _written(inputs: HttpInputs) -> tuple[str, dict[str, str], bytes | None]:
    """URL without credentials, headers and body."""
    url = URL(inputs.url)
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
    if url.raw_user is not None or url.raw_password is not None:
        credentials = f"{url.user or ''}:{url.password or ''}"
        headers["Authorization"] = "Basic " + b64encode(credentials.encode()).decode()
        url = url.with_user(None)
    if pairs := _pairs(inputs.query):
        url = url.extend_query(pairs)
    if inputs.auth is not None:
        headers["Authorization"] = inputs.auth.header
    content_type, body = _body(inputs)
    if content_type:
        headers["Content-Type"] = content_type
    for name, value in inputs.headers.items():
        # One field of a name: the author's replaces ours, however it is spelt.
        headers = {ours: text for ours, text in headers.items() if ours.lower() != name.lower()}
        headers[name] = value
    return str(url), headers, body


def _body(inputs: HttpInputs) -> tuple[str, bytes | None]:
    if "json_" in inputs.model_fields_set:
        return "application/json", dumps(inputs.json_)
    if inputs.form is not None:
        return "application/x-www-form-urlencoded", urlencode(_pairs(inputs.form), errors="replace").encode()
    if inputs.text is not None:
        return "text/plain; charset=utf-8", inputs.text.encode(errors="replace")
    return "", None


def _pairs(parameters: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, values in parameters.items() for value in values]


def _has(headers: dict[str, str], name: str) -> bool:
    return any(given.lower() == name for given in headers)
