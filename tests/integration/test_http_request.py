"""`http.request` against a real server on the loopback."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.runs import StepResult
from headrace.engine import AioHttpTransport, Orchestrator, Ports, RowEffect, RowPage, RowQuery, Started, compile_plan

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)


class NoRows:
    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("no row is changed here")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")


class Server:
    """Remembers every call; answers by path."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []
        self.cut_off = asyncio.Event()
        app = web.Application(client_max_size=10 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        match request.match_info["path"].split("/"):
            case ["status", code]:
                return web.Response(status=int(code), text="no")
            case ["twice"]:
                return web.Response(status=503 if len(self.calls) < 2 else 200, headers={"Retry-After": "0"})
            case ["slow"]:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cut_off.set()
                    raise
                return web.Response()
            case ["to", "link-local"]:
                raise web.HTTPFound("http://169.254.169.254/latest/meta-data")
            case ["to", "file"]:
                raise web.HTTPFound("file:///etc/passwd")
            case ["to", "self"]:
                raise web.HTTPFound("/to/self")
            case ["large"]:
                return web.Response(body=b"x" * (2 << 20))
            case ["drop"]:
                if request.transport is not None:
                    request.transport.close()
                return web.Response()
            case ["cookie"]:
                answer = web.json_response({"ok": True})
                answer.set_cookie("session", "secret-cookie")
                return answer
            case _:
                return web.json_response({"path": request.path_qs})


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    found = Server()
    await found.server.start_server()
    yield found
    await found.server.close()


async def call(inputs: dict[str, Any], *, private: bool = True, **more: Any) -> StepResult:
    step = {"id": "call", "use": "http.request", "with": inputs, **more}
    document = parse_automation(
        {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": [step]}
    )
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": "r-1", "app": "shop", "automation": "a", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": {}, "cause": cause}
    )  # fmt: skip
    ports = Ports(rows=NoRows(), http=AioHttpTransport(), allow_private_hosts=private)
    outcome = await Orchestrator(ports).execute(compile_plan(document, 1), Started(job, Location("jobs", 0, 0), AT))
    return outcome.record["steps"][0]


def outputs(step: StepResult) -> dict[str, Any]:
    found: Any = step.get("outputs")
    return found


@pytest.mark.parametrize(
    ("inputs", "content_type", "body"),
    [
        ({"json": {"a": [1, None]}}, "application/json", b'{"a":[1,null]}'),
        ({"form": {"a": "1", "b": ["x y", "z"]}}, "application/x-www-form-urlencoded", b"a=1&b=x+y&b=z"),
        ({"text": "grüße"}, "text/plain; charset=utf-8", "grüße".encode()),
    ],
)
async def test_a_body_arrives_as_it_was_meant(server: Server, inputs: Any, content_type: str, body: bytes) -> None:
    step = await call(
        {"url": f"{server.url}/x", "method": "POST", "query": {"q": "a&b"}, "headers": {"X-Own": "1"}, **inputs}
    )
    assert step["status"] == "success"
    ((method, path, headers, received),) = server.calls
    assert (method, path, headers["Content-Type"], received) == ("POST", "/x?q=a%26b", content_type, body)
    assert headers["X-Own"] == "1"
    assert headers["Idempotency-Key"]
    assert (outputs(step)["status"], outputs(step)["data"]) == (200, {"path": "/x?q=a%26b"})


async def test_a_call_is_repeated_under_the_same_key_until_it_passes(server: Server) -> None:
    step = await call({"url": f"{server.url}/twice"}, retry={"attempts": 3, "backoff": "1ms"})
    assert (step["status"], len(server.calls)) == ("success", 2)
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in server.calls}) == 1


async def test_a_status_that_is_expected_is_a_success(server: Server) -> None:
    step = await call({"url": f"{server.url}/status/404", "expect": {"status": [404]}})
    assert (step["status"], outputs(step)["status"]) == ("success", 404)


async def test_a_time_out_really_cancels_the_call(server: Server) -> None:
    step = await call({"url": f"{server.url}/slow"}, timeout="200ms", retry={"attempts": 1})
    assert step["status"] == "timed_out"
    await asyncio.wait_for(server.cut_off.wait(), 10)


@pytest.mark.parametrize(
    ("path", "type"),
    [("to/link-local", "address_refused"), ("to/file", "redirect"), ("to/self", "redirect"), ("drop", "connection")],
)
async def test_what_an_answer_leads_to_is_an_error_that_names_it(server: Server, path: str, type: str) -> None:
    step = await call({"url": f"{server.url}/{path}"}, retry={"attempts": 1})
    assert step["status"] == "error"
    assert type in step.get("error", {}).get("type", ""), step.get("error")


@pytest.mark.parametrize(
    "url",
    ["{}", "http://localhost:1", "http://[::1]:1", "http://0.0.0.0:1", "http://169.254.169.254", "http://2130706433:1",
     "http://[::ffff:127.0.0.1]:1", "http://10.0.0.1", "http://0x7f.1:1"],
)  # fmt: skip
async def test_private_addresses_are_closed_by_default(server: Server, url: str) -> None:
    step = await call({"url": url.replace("{}", server.url)}, private=False, retry={"attempts": 1}, timeout="5s")
    assert step["status"] == "error"
    assert server.calls == []


async def test_link_local_addresses_are_closed_in_any_case() -> None:
    step = await call({"url": "http://169.254.169.254/"}, private=True, retry={"attempts": 1}, timeout="5s")
    assert "address_refused" in step.get("error", {}).get("type", ""), step.get("error")


async def test_a_refused_connection_is_retryable(server: Server) -> None:
    step = await call({"url": "http://127.0.0.1:1"}, retry={"attempts": 2, "backoff": "1ms"})
    assert step.get("error", {}).get("retryable") is True
    assert len(step.get("attempts", [])) == 2


async def test_an_answer_is_cut_at_a_megabyte_and_says_so(server: Server) -> None:
    step = await call({"url": f"{server.url}/large"})
    assert step["status"] == "success"
    assert outputs(step)["truncated"] is True


async def test_credentials_and_cookies_reach_neither_the_record_nor_an_error(server: Server) -> None:
    in_url = server.url.replace("http://", "http://user:secret-password@")
    in_header = {"headers": {"Authorization": "Bearer secret-token"}}
    for path in ("cookie", "status/400"):
        assert "secret" not in repr(await call({"url": f"{in_url}/{path}"}))
        assert "secret" not in repr(await call({"url": f"{server.url}/{path}", **in_header}))
    assert {headers["Authorization"] for _, _, headers, _ in server.calls} == {
        "Basic dXNlcjpzZWNyZXQtcGFzc3dvcmQ=",
        "Bearer secret-token",
    }


@pytest.mark.parametrize(
    "headers", [{"X-A": "a\r\nX-B: b"}, {"X\r\nY": "a"}, {"Host": "elsewhere"}, {"Content-Length": "5"}]
)
async def test_headers_that_would_change_the_request_are_refused(server: Server, headers: dict[str, str]) -> None:
    try:
        step = await call({"url": f"{server.url}/x", "headers": headers})
    except ValueError:
        return
    assert step["status"] == "error"
    assert server.calls == []
