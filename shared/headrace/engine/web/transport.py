"""HttpTransport over aiohttp: one connection pool for a process, opened at the first request."""

import asyncio
import ssl
import zlib
from os import strerror
from socket import AF_INET, AddressFamily

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from headrace.engine.web.addresses import is_literal, refusal
from headrace.engine.web.messages import MAX_ANSWER, HttpAnswer, HttpFailure, HttpRequest

CONNECT_SECONDS = 10.0
"""For name, TCP and TLS together: a silent host is given up early enough to be tried again in a step's 30 s."""

CONNECTIONS = 200
"""Open at once per process; beyond it requests queue, inside their step's timeout."""

CONNECTIONS_PER_HOST = 50
"""So that one slow host cannot take all of them."""

_CHUNK = 64 << 10


class AioHttpTransport:
    """Sends requests through aiohttp. `close()` ends its connections; afterwards it may be used again.

    Proxies of the environment are ignored: behind one, the address connected to would not be the one checked.
    """

    def __init__(self) -> None:
        # Apart, because a pooled connection to a private host must never serve who may not reach it.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Closes the connections; requests under way fail."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def send(self, request: HttpRequest) -> HttpAnswer:
        """The answer to `request`, whatever its status; raises HttpFailure."""
        url = URL(request.url)
        host = url.raw_host or ""
        if is_literal(host):
            _check(host, allow_private=request.allow_private_hosts)
        session = self._session(request.allow_private_hosts)
        try:
            async with session.request(
                request.method, url, headers=request.headers, data=request.body, allow_redirects=False
            ) as response:
                body, truncated = await _read(response)
                return HttpAnswer(response.status, _headers(response), body, truncated)
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise _failure(error, url) from error

    def _session(self, allow_private: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(allow_private)
        if session is None or session.closed:
            session = self._sessions[allow_private] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(aiohttp.DefaultResolver(), allow_private=allow_private),
                    limit=CONNECTIONS,
                    limit_per_host=CONNECTIONS_PER_HOST,
                ),
                # Without a jar: cookies of one run never reach another's request.
                cookie_jar=aiohttp.DummyCookieJar(),
                # Decompressed by us, a bounded number of bytes: 1 MB of gzip can be 1 GB of zeros.
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT_SECONDS),
                trust_env=False,
                skip_auto_headers=("Content-Type",),
            )
        return session


class GuardedResolver(AbstractResolver):
    """Resolves through another resolver and refuses names that lead, even partly, to addresses closed to authors."""

    def __init__(self, inner: AbstractResolver, *, allow_private: bool) -> None:
        self._inner = inner
        self._allow_private = allow_private

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        """The addresses of `host`, which aiohttp connects to without asking anyone again."""
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await self._inner.resolve(host, port, family)
        for result in found:
            _check(result["host"], allow_private=self._allow_private, name=host)
        return found

    async def close(self) -> None:
        """Closes the inner resolver."""
        await self._inner.close()


def _check(address: str, *, allow_private: bool, name: str = "") -> None:
    if why := refusal(address, allow_private=allow_private):
        # Not the address behind a name: whoever asks could map our network by it.
        raise HttpFailure("address_refused", f"{name or address} may not be called: {why}", retryable=False)


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body, decompressed, at most MAX_ANSWER bytes of it, and whether there was more."""
    body = bytearray()
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if encoding in ("gzip", "x-gzip", "deflate") else None
    async for chunk in response.content.iter_chunked(_CHUNK):
        if inflate is None:
            body += chunk
        else:
            try:
                body += inflate.decompress(chunk, MAX_ANSWER + 1 - len(body))
            except zlib.error:
                host = response.url.raw_host
                raise HttpFailure("bad_answer", f"{host} sent a body that is no {encoding}", retryable=False) from None
        if len(body) > MAX_ANSWER:
            response.close()
            return bytes(body[:MAX_ANSWER]), True
    return bytes(body), False


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Names in lower case; values of a repeated name joined, as RFC 9110 §5.3 allows."""
    joined: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _failure(error: Exception, url: URL) -> HttpFailure:
    """What an aiohttp exception means for the author. Its own text may quote the URL, so it is not used."""
    host = url.raw_host or ""
    match error:
        case TimeoutError():
            return HttpFailure("timeout", f"{host} did not answer in time", retryable=True)
        case aiohttp.ClientConnectorCertificateError():
            return HttpFailure("bad_certificate", f"the certificate of {host} is not valid", retryable=False)
        case aiohttp.ClientConnectorDNSError():
            text = f"the name {host} could not be resolved"
            return HttpFailure("connection", text, retryable=True, nothing_sent=True)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return HttpFailure("bad_input", "url: this is no URL", retryable=False)
        case aiohttp.ClientResponseError():
            return HttpFailure("bad_answer", f"{host} answered with something that is no HTTP", retryable=False)
        case aiohttp.ClientConnectorError():
            return HttpFailure("connection", _unconnected(error, url), retryable=True, nothing_sent=True)
        case aiohttp.ServerDisconnectedError():
            return HttpFailure("connection", f"{host} closed the connection without an answer", retryable=True)
        case _:
            text = f"the connection to {host} failed ({type(error).__name__})"
            return HttpFailure("connection", text, retryable=True)


def _unconnected(error: aiohttp.ClientConnectorError, url: URL) -> str:
    """Why there is no connection, without the address behind the name."""
    place = f"{url.raw_host}, port {url.port}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no TLS could be agreed with {place}; does it speak https?"
    if isinstance(error.os_error, ConnectionRefusedError):
        return f"{place}: the connection is refused, nothing listens there"
    code = error.os_error.errno
    return f"{place}: no connection could be made" + (f" ({strerror(code)})" if code else "")
