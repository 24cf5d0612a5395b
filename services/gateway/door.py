"""What happens to every request, whatever it asks: an id, a bound on its body, headers for browsers, a count, a log
line; and to every exception that nobody expected."""

import asyncio
import re
import time
from functools import cache
from http import HTTPStatus
from random import getrandbits

import structlog
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.contracts import limits
from services.gateway.problems import Problem, internal

MOST_BODY = limits.EVENT_BODY
"""Bytes of a request's body; more is refused as soon as it is known."""

MOST_DRAINED = 16 * MOST_BODY
"""Bytes of a refused body that are read and thrown away, so that its sender reads the answer; beyond, the connection
is closed."""

BODY_WITHIN_S = 30.0
"""A megabyte at 300 kbit/s; who is slower holds memory for nothing."""

REQUESTS = Counter("headrace_http_requests_total", "Requests, by part of the API and status", ["part", "status"])
SECONDS = Histogram(
    "headrace_http_seconds",
    "From the request's headers to the answer",
    ["part"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

_PARTS = ("webhooks", "api", "openapi.json")

_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
"""Of a request's id that its sender gave: nothing that a log or a header would take for anything else."""

_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    # Answers are of one caller; what may be kept says so by its ETag, and is asked for again.
    (b"cache-control", b"no-store"),
]


_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")
"""RFC 6797, for a year. Where a proxy ends TLS, this is the proxy's to say."""


class Door:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, whatever happens."""
        if scope["type"] != "http":
            return
        part = next((each for each in _PARTS if scope["path"].startswith(f"/{each}")), "other")
        request_id = _request_id(scope)
        scope["state"]["request_id"] = request_id
        answer = _Answer(send, request_id, scope["scheme"] == "https")
        began = time.perf_counter()
        # Of this request's task, whose context ends with it.
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, _Bounded(scope, receive), answer)
        except ClientDisconnect:
            answer.status = answer.status or 499  # nginx's word for it; nobody reads an answer
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender is answered and no process ends
            structlog.get_logger().exception("request failed", exc_info=error, part=part)
            if not answer.status:
                await internal().response(request_id)(scope, receive, answer)
        took = time.perf_counter() - began
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _tell(scope, answer.status, took)
        counted, timed = _metrics(part, answer.status)
        counted.inc()
        timed.observe(took)


def _tell(scope: Scope, status: int, took: float) -> None:
    """What was refused, or failed; what was done is counted. The path has no secrets: those stand in headers, bodies
    and queries, which no log has."""
    log = structlog.get_logger()
    write = log.info if status < HTTPStatus.INTERNAL_SERVER_ERROR else log.warning
    write("request", method=scope["method"], path=scope["path"][:512], status=status, ms=round(took * 1e3, 1))


@cache
def _metrics(part: str, status: int) -> tuple[Counter, Histogram]:
    # Found once: each look-up takes a lock.
    return REQUESTS.labels(part, str(status)), SECONDS.labels(part)


class _Answer:
    """Sends with our headers, and remembers the status."""

    def __init__(self, send: Send, request_id: str, is_tls: bool) -> None:
        self._send = send
        self._own = [*([_OVER_TLS] if is_tls else []), (b"x-request-id", request_id.encode())]
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message["headers"]}
            more = [each for each in _HEADERS if each[0] not in own]
            message = {**message, "headers": [*message["headers"], *more, *self._own]}
        await self._send(message)


class _Bounded:
    """Receives a body of at most MOST_BODY bytes within BODY_WITHIN_S; raises Problem 413, at the first byte where the
    size is declared, and 408."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        self._received = 0
        self._until: float | None = None
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()  # for the news that the client is gone
        # The parser has seen to it that what is declared is a number.
        if (declared := int(self._declared)) > MOST_BODY:
            raise self._too_large(is_to_close=declared > MOST_DRAINED)
        message = await self._within()
        self._received += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._received > MOST_BODY:
            raise self._too_large(is_to_close=True)
        return message

    async def _within(self) -> Message:
        self._until = self._until or asyncio.get_running_loop().time() + BODY_WITHIN_S
        try:
            async with asyncio.timeout_at(self._until):
                return await self._receive()
        except TimeoutError:
            told = f"the body was not there within {BODY_WITHIN_S:.0f} s"
            close = {"Connection": "close"}
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, "too_slow", told, headers=close) from None

    def _too_large(self, is_to_close: bool) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"the body has more than {MOST_BODY} bytes, which are accepted",
            headers={"Connection": "close"} if is_to_close else None,
        )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value.decode()
    return f"{getrandbits(128):032x}"  # to be found by, not to be guessed
