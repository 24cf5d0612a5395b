"""An author who wants our network: each way to an inner address is tried, over real sockets, against a server that must
hear nothing."""

from collections.abc import AsyncGenerator
from socket import AF_INET, AddressFamily
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from http_support import Server, call, ports, serving
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.web.addresses import refusal

pytestmark = pytest.mark.integration


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with serving() as found:
        yield found


LOOPBACK = [
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1",
    "0", "0.0.0.0", "localhost", "LOCALHOST.", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[::ffff:0:7f00:1]", "[2002:7f00:1::]",
    "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "user@127.0.0.1", "example.org@127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_spelling_of_the_loopback_is_connected_to(server: Server, host: str) -> None:
    url = f"http://{host}:{server.server.port}/"
    try:
        step = await call({"url": url}, private=False, retry={"attempts": 1}, timeout="10s")
    except ValueError:  # refused when it is saved
        return
    assert step["status"] == "error", step
    assert server.calls == []


CLOSED = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.169.254", "192.0.0.192",
    "100.100.100.200", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.1.2.3", "fd00:ec2::254",
    "fc00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "::ffff:0:a00:1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe", "::a00:1",
]  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_no_address_of_an_inner_network_is_open(address: str) -> None:
    assert refusal(address, allow_private=False)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"]
)
def test_metadata_stays_closed_where_private_addresses_are_open(address: str) -> None:
    assert refusal(address, allow_private=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_internet_is_open(address: str) -> None:
    assert refusal(address, allow_private=False) is None


@given(st.text(max_size=50))
def test_what_is_no_address_is_refused_and_breaks_nothing(text: str) -> None:
    refusal(text, allow_private=False)


class Answers(AbstractResolver):
    """DNS of the attacker's: another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.left = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        self.asked += 1
        found = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return [
            {"hostname": host, "host": each, "port": port, "family": AF_INET, "proto": 0, "flags": 0} for each in found
        ]

    async def close(self) -> None:
        pass


def attacked(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Answers:
    found = Answers(*answers)
    monkeypatch.setattr(aiohttp, "DefaultResolver", lambda: found)
    return found


async def test_a_name_that_leads_inside_is_refused_even_if_only_one_of_its_addresses_does(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in (["127.0.0.1"], ["203.0.113.9", "127.0.0.1"], ["8.8.8.8", "10.0.0.1"]):
        attacked(monkeypatch, answer)
        url = f"http://rebind.example:{server.server.port}/"
        step = await call({"url": url}, private=False, retry={"attempts": 1}, timeout="10s")
        assert "address_refused" in str(step.get("error")), step
        # Whoever asks learns nothing of our network.
        assert "127.0.0.1" not in str(step.get("error"))
    assert server.calls == []


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Private addresses are open here, so that the first answer is one that can be reached; the second never may be.
    dns = attacked(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    mine, url = ports(private=True), f"http://rebind.example:{server.server.port}/"
    first = await call({"url": url}, on=mine, retry={"attempts": 1})
    assert (first["status"], dns.asked, len(server.calls)) == ("success", 1, 1)
    await mine.http.close()  # pyright: ignore[reportAttributeAccessIssue]
    second = await call({"url": url}, on=mine, retry={"attempts": 1})
    assert ("address_refused" in str(second.get("error")), dns.asked) == (True, 2)
    await mine.http.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data", "//169.254.169.254/", "http://[fe80::1]/", "http://2852039166/",
        "http://[::ffff:a9fe:a9fe]/", "http://metadata.example/", "file:///etc/passwd", "gopher://127.0.0.1/",
        "ftp://127.0.0.1/",
    ],
)  # fmt: skip
async def test_a_redirect_leads_nowhere_that_a_call_may_not_go(
    server: Server, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    attacked(monkeypatch, ["169.254.169.254"])

    async def to(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    server.routes["/go"] = to
    step = await call({"url": f"{server.url}/go"}, private=True, retry={"attempts": 1}, timeout="10s")
    assert step["status"] == "error", step
    assert len(server.calls) == 1


STEPS_THAT_CALL: dict[str, dict[str, Any]] = {
    "http.request": {},
    "webhook.send": {"json": {}, "secret": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
    "slack.send": {"text": "x"},
    "discord.send": {"content": "x"},
    "teams.send": {"text": "x"},
    "make.send": {"fields": {}},
    "n8n.send": {"fields": {}},
    "zapier.send": {"fields": {}},
}


@pytest.mark.parametrize("use", STEPS_THAT_CALL)
async def test_every_step_that_calls_out_goes_through_the_same_check(server: Server, use: str) -> None:
    inputs = {"url": server.url, **STEPS_THAT_CALL[use]}
    step = await call(inputs, use=use, private=False, retry={"attempts": 1}, timeout="10s")
    assert step.get("error", {}).get("type") == "address_refused", step
    assert server.calls == []


async def test_the_place_where_a_token_is_asked_for_is_checked_too(server: Server) -> None:
    auth = {
        "type": "oauth2", "token_url": f"{server.url}/token", "client_id": "a", "client_secret": "hunter2",
    }  # fmt: skip
    inputs = {"url": "http://8.8.8.8/", "auth": auth}
    step = await call(inputs, private=False, retry={"attempts": 1}, timeout="10s")
    assert ("may not be called" in str(step.get("error")), server.calls) == (True, []), step
    assert "hunter2" not in str(step)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\nGET / HTTP/1.1", "a\0b"])
@pytest.mark.parametrize("where", ["value", "name", "url", "query"])
async def test_what_an_event_says_never_adds_a_header_or_a_request(server: Server, value: str, where: str) -> None:
    said = "{{ trigger.evil }}"
    inputs: dict[str, Any] = {
        "value": {"url": f"{server.url}/x", "headers": {"X-Own": said}},
        "name": {"url": f"{server.url}/x", "headers": "{{ {trigger.evil: 'x'} }}"},
        "url": {"url": f"{server.url}/{said}"},
        "query": {"url": f"{server.url}/x", "query": {"q": said}},
    }[where]
    try:
        step = await call(inputs, trigger={"evil": value}, retry={"attempts": 1})
    except ValueError:
        return
    assert len(server.calls) <= 1
    for _, _, headers, _ in server.calls:
        assert "X-Evil" not in headers
    if where in ("value", "name"):
        assert (step["status"], server.calls) == ("error", []), step
