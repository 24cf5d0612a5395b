"""A request, its answer, and the thin port between the HTTP steps and whatever carries them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_ANSWER = 1 << 20
"""Bytes of an answer's body that are kept, after decompression: the language promises "cut at 1 MB"."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `url` is absolute http(s) without user and password; header names and values are clean already.

    `credentials` are names of headers, in lower case, that carry credentials though their names do not say so.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    allow_private_hosts: bool
    credentials: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One answer: header names in lower case, the body decompressed and cut at MAX_ANSWER (then `truncated`)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool = False


class HttpFailure(Exception):
    """No answer, for a reason outside of us. `type` is one stable word; the message quotes no more than the host.

    `nothing_sent`: there was no connection yet.
    """

    def __init__(self, type: str, message: str, *, retryable: bool, nothing_sent: bool = False) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.retryable = retryable
        self.nothing_sent = nothing_sent


class HttpTransport(Protocol):
    """Carries one request, following no redirect, keeping no cookie, limiting no time: its caller does."""

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """The answer, whatever its status. Raises HttpFailure; can be cancelled at any await."""
        ...
