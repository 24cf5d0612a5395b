"""uvicorn's HTTP/1.1, with bounds on what a client may send before there is a request."""

import asyncio
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.problems import MEDIA_TYPE, Problem

MOST_HEAD = 32 << 10
"""Bytes of a request's URL and headers. Apache and nginx take 8 KB a line; a dozen of the largest signatures fit."""

MOST_HEADERS = 100
"""As Apache's LimitRequestFields."""

HEAD_WITHIN_S = 10.0
"""A client that has not sent its headers by then holds a connection for nothing."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large or too slow: the parser itself takes any."""

    _head = 0
    _late: asyncio.TimerHandle | None = None
    _is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The parser's: a request begins."""
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser's: the head is there."""
        self._have_head()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD or len(self.headers) > MOST_HEADERS:
            self._is_over = True
            raise ValueError("the head is too large")  # the parser makes it an error of its own, which is answered
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client. Of a head that never ends nobody else is told."""
        super().data_received(data)
        if self._late is not None and not self.transport.is_closing():
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._is_over = True
                self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP, as a problem; uvicorn's own is text."""
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if self._is_over else HTTPStatus.BAD_REQUEST
        detail = (
            f"the URL and headers have more than {MOST_HEAD} bytes, or {MOST_HEADERS} headers"
            if self._is_over
            else "this is no HTTP/1.1 request"
        )
        body = Problem(status, "bad_http", detail).body(uuid4().hex)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._have_head()
        self._head = 0
        self._late = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _have_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        transport: Any = self.transport
        if not transport.is_closing():
            transport.close()
