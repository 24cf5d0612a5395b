"""How calls say who they are, whom they tell, and that nothing of it is kept."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from http_support import HandClock, Server, call, outputs, ports, serving

pytestmark = pytest.mark.integration

SECRET = "s3cr3t/Pa+ss=w0rd"
BASIC = b64encode(f"ann:{SECRET}".encode()).decode()
WAYS: list[dict[str, Any]] = [
    {"auth": {"type": "basic", "username": "ann", "password": SECRET}},
    {"auth": {"type": "bearer", "token": SECRET}},
    {"auth": {"type": "api_key", "value": SECRET}},
    {"auth": {"type": "api_key", "name": "X-Fleet", "value": SECRET}},
    {"auth": {"type": "api_key", "name": "fleet", "value": SECRET, "in": "query"}},
    {"headers": {"Authorization": f"Token {SECRET}"}},
    {"headers": {"Cookie": f"theme=dark; session={SECRET}"}},
    {"query": {"api_key": SECRET}},
]


class Issuer:
    """A token endpoint whose tokens are numbered."""

    def __init__(self, server: Server, **answer: Any) -> None:
        self.server = server
        self.answer = {"token_type": "Bearer", "expires_in": 3600, **answer}
        self.issued = 0
        server.routes["/token"] = self._issue
        server.routes["/api"] = self._check
        self.good: set[str] = set()

    @property
    def auth(self) -> dict[str, Any]:
        return {
            "type": "oauth2",
            "token_url": f"{self.server.url}/token",
            "client_id": "desk",
            "client_secret": SECRET,
        }

    async def _issue(self, request: web.Request) -> web.Response:
        self.issued += 1
        token = f"token-{self.issued}-of-the-desk"
        self.good.add(token)
        return web.json_response({"access_token": token, **self.answer})

    async def _check(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return web.json_response({"echo": token}, status=200 if token in self.good else 401)


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with serving() as found:
        yield found


def shows_credentials(value: object) -> bool:
    text = repr(value)
    return any(part in text for part in (SECRET, BASIC, "s3cr3t", "of-the-desk"))


async def test_an_api_key_goes_where_the_receiver_wants_it(server: Server) -> None:
    await call({"url": f"{server.url}/x", "auth": {"type": "api_key", "name": "X-Fleet", "value": SECRET}})
    await call({"url": f"{server.url}/y?a=1", "auth": {"type": "api_key", "name": "k", "value": "a&b", "in": "query"}})
    (_, _, headers, _), (_, path, _, _) = server.calls
    assert headers["X-Fleet"] == SECRET
    assert path == "/y?a=1&k=a%26b"


@pytest.mark.parametrize("way", WAYS)
async def test_another_origin_gets_no_credentials_from_a_redirect_and_the_same_one_does(
    server: Server, way: dict[str, Any]
) -> None:
    async with serving() as other:

        async def away(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(f"{other.url}/landed")

        async def along(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect("/landed")

        server.routes |= {"/away": away, "/along": along}
        for path in ("away", "along"):
            assert (await call({"url": f"{server.url}/{path}", **way}))["status"] == "success"
        assert not shows_credentials(other.calls)
        # A query is not forwarded anywhere: the target has its own.
        assert shows_credentials(server.seen("/landed")) == ("query" not in repr(way))


async def echo(request: web.Request) -> web.Response:
    everything = {
        "headers": dict(request.headers),
        "url": str(request.url),
        "cookies": dict(request.cookies),
        "text": f"you sent {request.headers} to {request.rel_url.raw_path_qs}",
        "body": (await request.read()).decode(),
    }
    return web.json_response(
        everything, status=int(request.query.get("as", "200")), headers={"X-Echo": str(request.url)}
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", ["200", "400"])
async def test_credentials_that_a_server_echoes_are_not_kept(server: Server, way: dict[str, Any], status: str) -> None:
    server.routes["/echo"] = echo
    query = {"as": status, **way.get("query", {})}
    said = {"method": "POST", "text": f"my key is {SECRET}, remember"}
    step = await call({"url": f"{server.url}/echo", **way, "query": query, **said})
    assert shows_credentials(server.calls)
    assert not shows_credentials(step)
    assert outputs(step)["status"] == int(status)
    assert "my key is ***, remember" in outputs(step)["data"]["body"]


async def test_a_token_is_fetched_once_for_all_runs_of_a_process(server: Server) -> None:
    issuer = Issuer(server)
    on = ports()
    steps = await asyncio.gather(*(call({"url": f"{server.url}/api", "auth": issuer.auth}, on=on) for _ in range(20)))
    assert [step["status"] for step in steps] == ["success"] * 20
    ((headers, body),) = server.seen("/token")
    assert parse_qs(body.decode()) == {"grant_type": ["client_credentials"]}
    # Both parts are form-encoded before they are joined: RFC 6749 §2.3.1.
    assert headers["Authorization"] == "Basic " + b64encode(b"desk:s3cr3t%2FPa%2Bss%3Dw0rd").decode()
    assert not any(shows_credentials(step) for step in steps)
    await on.http.close()  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_client_may_show_its_secret_in_the_body_with_further_parameters(server: Server) -> None:
    issuer = Issuer(server)
    auth = {**issuer.auth, "client_auth": "body", "scope": "read write", "parameters": {"audience": "fleet"}}
    assert (await call({"url": f"{server.url}/api", "auth": auth}))["status"] == "success"
    ((headers, body),) = server.seen("/token")
    assert "Authorization" not in headers
    assert parse_qs(body.decode()) == {
        "grant_type": ["client_credentials"], "audience": ["fleet"], "scope": ["read write"], "client_id": ["desk"],
        "client_secret": [SECRET],
    }  # fmt: skip


@pytest.mark.parametrize(("lifetime", "kept"), [(3600, 3569), ("60", 29), (20, 9), (None, 269)])
async def test_a_token_is_given_up_shortly_before_it_expires(server: Server, lifetime: Any, kept: float) -> None:
    issuer = Issuer(server, expires_in=lifetime) if lifetime else Issuer(server)
    if lifetime is None:
        del issuer.answer["expires_in"]
    clock = HandClock()
    on = ports(clock=clock)
    inputs = {"url": f"{server.url}/api", "auth": issuer.auth}
    await call(inputs, on=on)
    clock.passed = kept
    await call(inputs, on=on)
    assert issuer.issued == 1
    clock.passed = kept + 2
    await call(inputs, on=on)
    assert issuer.issued == 2
    await on.http.close()  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_revoked_token_is_fetched_anew_once_and_the_call_made_again(server: Server) -> None:
    issuer = Issuer(server)
    on = ports()
    inputs = {"url": f"{server.url}/api", "auth": issuer.auth}
    await call(inputs, on=on)
    issuer.good.clear()
    step = await call(inputs, on=on)
    assert (step["status"], issuer.issued, len(server.seen("/api"))) == ("success", 2, 3)
    assert len({headers["Idempotency-Key"] for headers, _ in server.seen("/api")}) == 1
    await on.http.close()  # pyright: ignore[reportAttributeAccessIssue]


async def test_who_is_not_let_in_with_a_fresh_token_either_is_told_so(server: Server) -> None:
    issuer = Issuer(server)

    async def nobody(request: web.Request) -> web.Response:
        return web.json_response({"you": request.headers["Authorization"]}, status=401)

    server.routes["/api"] = nobody
    step = await call({"url": f"{server.url}/api", "auth": issuer.auth})
    assert step.get("error", {}).get("type") == "http_status"
    assert (issuer.issued, len(server.seen("/api"))) == (2, 2)
    assert outputs(step)["data"] == {"you": "Bearer ***"}
    assert not shows_credentials(step)


async def test_apps_do_not_share_tokens(server: Server) -> None:
    issuer = Issuer(server)
    on = ports()
    for app in ("shop", "airport", "shop"):
        await call({"url": f"{server.url}/api", "auth": issuer.auth}, on=on, app=app)
    assert issuer.issued == 2
    await on.http.close()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("status", "body", "told", "retryable"),
    [
        (401, '{"error": "invalid_client", "error_description": "s3cr3t"}', "(invalid_client)", False),
        (400, '{"error": "s3cr3t"}', "answered 400;", False),
        (503, "s3cr3t", "answered 503;", True),
        (302, "", "answered 302;", False),
        (200, "[]", "without a bearer token", False),
        (200, '{"access_token": "a b"}', "without a bearer token", False),
        (200, '{"access_token": "a\\r\\nX-Evil: 1"}', "without a bearer token", False),
        (200, '{"access_token": 7}', "without a bearer token", False),
        (200, '{"access_token": "abc", "token_type": "mac"}', "without a bearer token", False),
    ],
)
async def test_a_token_endpoint_that_gives_no_token_is_an_error_that_quotes_nothing_of_it(
    server: Server, status: int, body: str, told: str, retryable: bool
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers={"Location": "/landed"})

    issuer = Issuer(server)
    server.routes["/token"] = answer
    step = await call({"url": f"{server.url}/api", "auth": issuer.auth}, retry={"attempts": 1})
    error = step.get("error", {})
    assert (error.get("type"), error.get("retryable")) == ("oauth_failed", retryable)
    assert told in error.get("message", "")
    assert not shows_credentials(step)
    assert server.seen("/api") == server.seen("/landed") == []


async def test_a_token_is_fetched_from_nowhere_that_a_request_may_not_go(server: Server) -> None:
    auth = {**Issuer(server).auth, "token_url": f"{server.url}/token"}
    step = await call({"url": "https://api.example.com", "auth": auth}, private=False, retry={"attempts": 1})
    assert step.get("error", {}).get("type") == "address_refused"
    assert server.calls == []


@pytest.mark.parametrize(
    "inputs",
    [
        {"auth": {"type": "bearer", "token": SECRET}, "headers": {"authorization": SECRET}},
        {"auth": {"type": "api_key", "name": "X-Fleet", "value": SECRET}, "headers": {"x-fleet": SECRET}},
        {"auth": {"type": "api_key", "name": "Host", "value": SECRET}},
        {"auth": {"type": "api_key", "value": f"{SECRET}\r\nX-Evil: 1"}},
        {"auth": {"type": "magic", "token": SECRET}},
        {"auth": {"type": "bearer", "tokn": SECRET}},
        {"auth": {"type": "oauth2", "token_url": f"ftp://x/{SECRET}", "client_id": "a", "client_secret": SECRET}},
    ],
)
async def test_credentials_that_make_no_sense_are_refused_without_quoting_them(server: Server, inputs: Any) -> None:
    more = {name: f"{{{{ trigger.{name} }}}}" for name in inputs}
    step = await call({"url": f"{server.url}/x", **more}, trigger=inputs)
    assert step.get("error", {}).get("type") == "bad_input"
    assert server.calls == []
    assert not shows_credentials(step)
