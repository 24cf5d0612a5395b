"""A real server on the loopback that remembers every call, and runs of one step against it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.contracts.runs import StepResult
from headrace.engine import AioHttpTransport, Orchestrator, Ports, RowEffect, RowPage, RowQuery, Started, compile_plan
from headrace.engine.steps import STEPS

AT = datetime(2013, 1, 1, tzinfo=UTC)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NoRows:
    async def apply(self, effect: RowEffect[Any]) -> Any:
        raise AssertionError("no row is changed here")

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        raise AssertionError("no row is read here")

    async def query(self, query: RowQuery) -> RowPage:
        raise AssertionError("no row is read here")


class HandClock:
    """Stands still but for its sleeps and for who moves it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.passed)

    def perf(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Server:
    """Remembers every call; answers by path, by `routes` first."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, str], bytes]] = []
        self.routes: dict[str, Handler] = {}
        self.cut_off = asyncio.Event()
        app = web.Application(client_max_size=20 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    def seen(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        """Headers and body of each call of `path`."""
        return [(headers, body) for _, at, headers, body in self.calls if at.partition("?")[0] == path]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        if handler := self.routes.get(request.path):
            return await handler(request)
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


@asynccontextmanager
async def serving() -> AsyncGenerator[Server]:
    """A server that is up."""
    found = Server()
    await found.server.start_server()
    try:
        yield found
    finally:
        await found.server.close()


def ports(*, private: bool = True, clock: Any = None) -> Ports:
    """Of one process."""
    more = {} if clock is None else {"clock": clock}
    return Ports(rows=NoRows(), http=AioHttpTransport(), allow_private_hosts=private, **more)


async def call(
    inputs: Mapping[str, Any],
    *,
    use: str = "http.request",
    private: bool = True,
    on: Ports | None = None,
    app: str = "shop",
    trigger: Mapping[str, Any] | None = None,
    **more: Any,
) -> StepResult:
    """What the record of a run says of its only step; errors are of the types that the step's table names."""
    step = {"id": "call", "use": use, "with": dict(inputs), **more}
    document = parse_automation({"name": "a", "app": app, "trigger": {"type": "event", "event": "*"}, "steps": [step]})
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    job = Job.model_validate(
        {"format": 1, "run_id": "r-1", "app": app, "automation": "a", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": dict(trigger or {}), "cause": cause}
    )  # fmt: skip
    mine = on or ports(private=private)
    try:
        outcome = await Orchestrator(mine).execute(compile_plan(document, 1), Started(job, Location("jobs", 0, 0), AT))
    finally:
        if on is None:
            await mine.http.close()  # pyright: ignore[reportAttributeAccessIssue]
    result = outcome.record["steps"][0]
    if "error" in result and result["status"] != "timed_out":
        assert result["error"]["type"] in STEPS[use].errors, result["error"]
    return result


def outputs(step: StepResult) -> dict[str, Any]:
    found: Any = step.get("outputs")
    return found
