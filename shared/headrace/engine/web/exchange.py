"""A request and the redirects it meets: at most five, each checked like the first."""

from collections.abc import Callable
from dataclasses import replace

from yarl import URL

from headrace.engine.web.messages import HttpAnswer, HttpFailure, HttpRequest, HttpTransport
from headrace.engine.web.urls import host_of, is_secret, redirected, same_origin

MAX_REDIRECTS = 5
"""Promised by the language; browsers allow 20, an API that needs more than a few is a loop."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_BODY_HEADERS = frozenset(("content-type", "content-encoding", "content-language"))


async def exchange(transport: HttpTransport, request: HttpRequest, final: Callable[[int], bool]) -> HttpAnswer:
    """The answer at the end of the redirects; an answer whose status is `final` is not followed.

    Raises HttpFailure, also for a redirect that may not be followed. The transport checks every address.
    """
    for _ in range(MAX_REDIRECTS + 1):
        answer = await transport.send(request)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location or final(answer.status):
            return answer
        request = _followed(request, answer.status, location)
    host = host_of(URL(request.url))
    raise HttpFailure("too_many_redirects", f"more than {MAX_REDIRECTS} redirects, the last to {host}", retryable=False)


def _followed(request: HttpRequest, status: int, location: str) -> HttpRequest:
    """The request that a redirect asks for (RFC 9110 §15.4): another origin gets no credentials."""
    before = URL(request.url)
    url = redirected(before, location)
    headers = dict(request.headers)
    if not same_origin(before, url):
        headers = {
            name: value
            for name, value in headers.items()
            if not is_secret(name) and name.lower() not in request.credentials
        }
    becomes_get = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    if becomes_get:
        headers = {name: value for name, value in headers.items() if name.lower() not in _BODY_HEADERS}
        return replace(request, url=str(url), headers=headers, method="GET", body=None)
    return replace(request, url=str(url), headers=headers)
