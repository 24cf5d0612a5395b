"""`http.request` against a real server on the loopback."""

import asyncio
from collections.abc import AsyncGenerator
from email import message_from_bytes
from typing import Any

import pytest
from aiohttp import web
from http_support import Server, call, outputs, serving

pytestmark = pytest.mark.integration


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with serving() as found:
        yield found


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


async def test_an_attempt_has_a_time_of_its_own_after_which_there_is_another(server: Server) -> None:
    inputs = {"url": f"{server.url}/slow", "timeout": "200ms"}
    step = await call(inputs, retry={"attempts": 2, "backoff": "1ms"})
    assert step.get("error", {}).get("type") == "timeout"
    assert len(server.calls) == 2


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


async def test_a_refused_connection_is_retryable_and_told_as_that(server: Server) -> None:
    step = await call({"url": "http://127.0.0.1:1"}, retry={"attempts": 2, "backoff": "1ms"})
    assert step.get("error", {}).get("retryable") is True
    assert "127.0.0.1, port 1: the connection is refused" in str(step.get("error"))
    assert len(step.get("attempts", [])) == 2


async def test_why_there_is_no_answer_is_told_in_our_words(server: Server) -> None:
    dropped = await call({"url": f"{server.url}/drop"}, retry={"attempts": 1})
    assert "closed the connection without an answer" in str(dropped.get("error"))
    plain = await call({"url": server.url.replace("http://", "https://")}, retry={"attempts": 1})
    assert "does it speak https?" in str(plain.get("error"))


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


async def test_a_multipart_body_arrives_with_its_fields_and_files_whatever_their_names(server: Server) -> None:
    odd = 'a"; x="\r\nX-Evil: 1'
    files = [
        {"filename": "note.txt", "content_type": "text/plain; charset=utf-8", "text": "grüße"},
        {"filename": odd, "base64": "AP8="},
    ]
    parts = {"title": "late", "n": 7, "left_out": None, "tag": ["x", "y"], "file": files}
    step = await call({"url": f"{server.url}/upload", "method": "POST", "multipart": parts})
    assert step["status"] == "success"
    ((headers, body),) = server.seen("/upload")
    message = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    received = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get("Content-Type"),
            part.get_payload(decode=True),
        )
        for part in message.walk()
        if not part.is_multipart()
    ]
    assert received == [
        ("title", None, None, b"late"),
        ("n", None, None, b"7"),
        ("tag", None, None, b"x"),
        ("tag", None, None, b"y"),
        ("file", "note.txt", "text/plain; charset=utf-8", "grüße".encode()),
        ("file", "a%22; x=%22%0D%0AX-Evil: 1", "application/octet-stream", b"\x00\xff"),
    ]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ({"filename": "a"}, "one content"),
        ({"filename": "a", "text": "x", "base64": "eA=="}, "one content"),
        ({"filename": "a", "base64": "secret-content"}, "no base64"),
        ({"filename": "a", "text": "x", "content_type": "text/plain\r\nX: y"}, "content_type"),
    ],
)
async def test_a_file_that_makes_no_sense_is_refused_by_name(server: Server, file: Any, told: str) -> None:
    step = await call(
        {"url": f"{server.url}/x", "method": "POST", "multipart": "{{ trigger.parts }}"}, trigger={"parts": {"f": file}}
    )
    error = step.get("error", {})
    assert error.get("type") == "bad_input"
    assert told in error.get("message", "")
    assert "multipart.f" in error.get("message", "")
    assert "secret-content" not in error.get("message", "")
    assert server.calls == []


@pytest.mark.parametrize(
    ("expect", "type"),
    [
        ({"json": "items[0].id"}, None),
        ({"json": "items"}, None),
        ({"json": {"path": "$.items.0.id", "equals": 7}}, None),
        ({"json": {"path": "ok", "equals": True}}, None),
        ({"json": {"path": "nothing", "equals": None}}, None),
        ({"status": ["2xx"], "json": 'odd["a b"]'}, None),
        ({"json": "items[1]"}, "unexpected_answer"),
        ({"json": {"path": "ok", "equals": 1}}, "unexpected_answer"),
        ({"json": {"path": "items[0].id", "equals": 8}}, "unexpected_answer"),
        ({"status": 201, "json": "items"}, "http_status"),
    ],
)
async def test_an_answer_is_a_success_only_if_its_json_is_what_was_expected(
    server: Server, expect: Any, type: str | None
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "nothing": None, "items": [{"id": 7}], "odd": {"a b": 1}})

    server.routes["/items"] = answer
    step = await call({"url": f"{server.url}/items", "expect": expect})
    assert step.get("error", {}).get("type") == type, step.get("error")
    assert outputs(step)["data"]["items"] == [{"id": 7}]
    assert len(server.calls) == 1


async def test_json_that_says_no_is_an_error_though_its_status_is_fine_and_quotes_no_value(server: Server) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"ok": "private-value"})

    server.routes["/no"] = answer
    step = await call({"url": f"{server.url}/no", "expect": {"json": {"path": "ok", "equals": "other-value"}}})
    message = step.get("error", {}).get("message", "")
    assert "ok" in message
    assert "private-value" not in message
    assert "other-value" not in message


async def test_a_binary_answer_is_base64_with_a_marker(server: Server) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG\x00", content_type="image/png")

    server.routes["/image"] = answer
    step = await call({"url": f"{server.url}/image"})
    assert outputs(step)["data"] == {"_binary": True, "content_type": "image/png", "bytes": 5, "base64": "iVBORwA="}


async def test_five_redirects_are_followed_and_no_sixth(server: Server) -> None:
    async def hop(request: web.Request) -> web.Response:
        left = int(request.query["left"])
        if left == 0:
            return web.json_response({"arrived": True})
        raise web.HTTPFound(f"/hop?left={left - 1}")

    server.routes["/hop"] = hop
    assert outputs(await call({"url": f"{server.url}/hop?left=5"}))["data"] == {"arrived": True}
    step = await call({"url": f"{server.url}/hop?left=6"})
    assert step.get("error", {}).get("type") == "too_many_redirects"


async def test_the_key_of_a_call_is_the_step_key_unless_the_author_gives_one(server: Server) -> None:
    await call({"url": f"{server.url}/x"})
    await call({"url": f"{server.url}/x", "headers": {"idempotency-key": "order-7"}})
    keys = [value for headers, _ in server.seen("/x") for name, value in headers.items() if "key" in name.lower()]
    assert keys == ["r-1/0/call/0", "order-7"]
