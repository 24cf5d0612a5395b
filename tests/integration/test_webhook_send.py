"""`webhook.send` against a receiver that checks signatures as the specification has it."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web
from http_support import AT, HandClock, Server, call, outputs, ports, serving

from headrace.contracts.automation import DocumentError

pytestmark = pytest.mark.integration

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_" + b64encode(bytes(range(32))).decode()


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with serving() as found:
        yield found


async def send(server: Server, path: str = "/hook", **inputs: Any) -> Any:
    return await call({"url": f"{server.url}{path}", "json": {"a": 1}, "secret": OLD, **inputs}, use="webhook.send")


def verified_by(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """What a receiver does (Standard Webhooks 1.0.0, signature scheme)."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(b64decode(secret.removeprefix("whsec_")), signed, sha256).digest()
    given = [part.split(",") for part in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and b64decode(value) == expected for version, value in given)


@pytest.mark.parametrize("payload", [{"json": {"type": "flight.late", "data": {"n": 1}}}, {"text": "grüße"}])
async def test_a_receiver_can_check_who_sent_a_webhook(server: Server, payload: dict[str, Any]) -> None:
    step = await call({"url": f"{server.url}/hook", "secret": OLD, **payload}, use="webhook.send")
    assert step["status"] == "success"
    ((headers, body),) = server.seen("/hook")
    assert verified_by(OLD, headers, body)
    assert not verified_by(NEW, headers, body)
    assert outputs(step)["id"] == headers["webhook-id"]
    assert headers["Idempotency-Key"] == "r-1/0/call/0"


async def test_while_secrets_are_rotated_the_holder_of_either_can_check(server: Server) -> None:
    await send(server, secret=[NEW, OLD])
    ((headers, body),) = server.seen("/hook")
    assert verified_by(OLD, headers, body)
    assert verified_by(NEW, headers, body)


async def test_every_attempt_has_the_same_id_and_its_own_time(server: Server) -> None:
    async def third(request: web.Request) -> web.Response:
        return web.Response(status=200 if len(server.calls) == 3 else 503)

    server.routes["/hook"] = third
    on = ports(clock=HandClock())
    inputs = {"url": f"{server.url}/hook", "json": 1, "secret": OLD}
    retry = {"attempts": 3, "backoff": "5s", "factor": 1}
    assert (await call(inputs, use="webhook.send", on=on, retry=retry))["status"] == "success"
    seen = server.seen("/hook")
    assert [int(headers["webhook-timestamp"]) - AT.timestamp() for headers, _ in seen] == [0, 5, 10]
    assert len({headers["webhook-id"] for headers, _ in seen}) == 1
    assert all(verified_by(OLD, headers, body) for headers, body in seen)
    assert "." not in seen[0][0]["webhook-id"]
    await on.http.close()  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_redirect_is_no_delivery(server: Server) -> None:
    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("/landed")

    server.routes["/hook"] = away
    step = await send(server)
    assert step["error"]["type"] == "http_status"
    assert server.seen("/landed") == []


async def test_a_secret_is_kept_nowhere_even_where_the_receiver_echoes_it(server: Server) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"is it {OLD.removeprefix('whsec_')} or {NEW}?")

    server.routes["/hook"] = echo
    step = await send(server, secret=[OLD, NEW], json={"note": f"the secret is {OLD}"})
    assert step["inputs"] == {"url": f"{server.url}/hook", "json": {"note": "the secret is ***"}, "secret": "***"}
    assert step["outputs"]["data"] == "is it *** or ***?"


@pytest.mark.parametrize(
    "inputs",
    [
        {"secret": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        {"secret": "whsec_!!!"},
        {"secret": "whsec_" + b64encode(bytes(23)).decode()},
        {"secret": "whsec_" + b64encode(bytes(65)).decode()},
        {"secret": []},
        {"secret": [OLD] * 9},
        {"headers": {"Webhook-Id": "mine"}},
        {"text": "a second payload"},
    ],
)
async def test_what_could_not_be_checked_by_a_receiver_is_refused_when_saved(server: Server, inputs: Any) -> None:
    with pytest.raises(DocumentError) as refused:
        await send(server, **inputs)
    assert "MfKQ" not in str(refused.value)
    assert server.calls == []
