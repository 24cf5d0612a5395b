"""A stranger, or the holder of another app's key, at the gateway: every route is tried, and what may not be stays so.

The routes are those of the OpenAPI document, so a new one is tried without being named here.
"""

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Installation, until
from gateway_support import APP, Client, client_of, key_of
from pymongo import MongoClient

pytestmark = pytest.mark.integration

ROWS = f"/api/v1/apps/{APP}/tables/tickets/rows"
JSON = {"Content-Type": "application/json"}
SECRET = "hunter2-of-the-shop"


NAMES = {"app": APP, "table": "tickets", "name": "pay", "id": "r-1", "topic": "headrace.jobs.dlq"}


def routes(client: Client) -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and types of bodies of everything that needs a key; its parameters filled in."""
    for path, methods in client.get("/openapi.json").json["paths"].items():
        if path.startswith("/api/"):
            filled = re.sub(r"{(\w+)(:path)?}", lambda found: NAMES.get(found[1], "1"), path)
            for method, described in methods.items():
                yield method.upper(), filled, list(described.get("requestBody", {}).get("content", JSON.values()))


PUBLIC = {"/api/v1/schemas/automation"}
"""What needs no key: it says what the manual says."""


def test_no_route_opens_without_a_key_or_with_one_of_another_app(shared_gateway: Installation) -> None:
    shop = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    assert shop.post(ROWS, {"_id": "r-1", "secret": SECRET}).status in (201, 409)
    other = client_of(shared_gateway, key_of(shared_gateway, "admin", "bank"))
    stranger = client_of(shared_gateway)
    tried = list(routes(stranger))
    assert len(tried) > 30
    assert {path for _, path, _ in tried} > PUBLIC
    for method, path, _ in (each for each in tried if each[1] not in PUBLIC):
        assert stranger.call(method, path, "{}", JSON).status == 401, (method, path)
        if f"/apps/{APP}" in path:
            # Before anything of what is there, or of the shape of a body, is told.
            for body in ("{}", "[]", json.dumps({"value": "x"})):
                answer = other.call(method, path, body, JSON)
                assert (answer.status, answer.problem) == (403, "forbidden"), (method, path)
        elif path != "/api/v1/me":
            answer = other.call(method, path, "{}", JSON)
            assert SECRET not in answer.body.decode()
            assert APP not in str(answer.json.get("keys", "")), (method, path)
    assert shop.get(f"{ROWS}/r-1").json["secret"] == SECRET
    actions = shared_gateway.ask(lambda storage: storage.audit.find(1000))
    assert [each for each in actions if "(admins)" in each.by and "bank" not in str(each.asked)] == []


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2f..%2fbank", "bank%2ftables", "a%00b", "$where", "a.b", "%24ne", "a%0d%0aX-Evil:1",
             "a%5c..%5cb", "%f0%9f%98%80", "A", "a" * 5000],
)  # fmt: skip
def test_a_name_leads_nowhere_but_to_the_thing_of_this_name(shared_gateway: Installation, name: str) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "admin", APP))
    for path in (
        f"/api/v1/apps/{name}/runs",
        f"/api/v1/apps/{APP}/tables/{name}",
        f"/api/v1/apps/{APP}/tables/{name}/rows",
        f"/api/v1/apps/{APP}/automations/{name}",
        f"/api/v1/apps/{APP}/runs/{name}",
        f"/api/v1/apps/{APP}/secrets/{name}",
        f"/api/v1/keys/{name}",
        f"/webhooks/{APP}/{name}",
        f"/webhooks/{name}/x",
    ):
        for method in ("GET", "PUT", "DELETE"):
            answer = client.call(method, path, "{}", JSON)
            assert 400 <= answer.status < 500, (method, path, answer.status)
            assert answer.problem
            assert "x-evil" not in answer.headers


OPERATORS: list[Any] = [
    {"$gt": ""}, {"$ne": None}, {"$where": "sleep(5000)"}, {"$regex": ".*"}, {"$function": {"body": "x", "args": []}},
    {"$expr": {"$eq": [1, 1]}}, {"$ref": "x", "$id": 1}, {"$oid": "0" * 24}, {"$date": 0}, ["$secret"], "$secret",
    "$$ROOT", {"a.b": 1}, {"": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", OPERATORS, ids=str)
def test_an_operator_in_a_value_is_data_or_is_refused_and_asks_mongodb_nothing(
    shared_gateway: Installation, value: Any
) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    client.post(ROWS, {"_id": "r-1", "secret": SECRET})
    id = f"op-{abs(hash(str(value)))}"
    made = client.post(ROWS, {"_id": id, "odd": value, "secret": "mine"})
    assert made.status in (201, 409, 422), made.body
    if made.status == 201:
        assert client.get(f"{ROWS}/{id}").json["odd"] == value
        changed = client.call("PATCH", f"{ROWS}/{id}", orjson.dumps({"odd": [value]}), JSON)
        assert changed.status == 200, changed.body
        assert client.get(f"{ROWS}/{id}").json["odd"] == [value]
    # As the value that is looked for it fits itself alone.
    for operator in ("eq", "ne", "gt", "in", "contains"):
        asked = {"filter": {"all": [{"field": "secret", "op": operator, "value": value}]}, "limit": 200}
        answer = client.post(f"{ROWS}/query", asked)
        assert answer.status in (200, 422), (operator, answer.body)
        if answer.status == 200 and operator in ("eq", "in"):
            assert answer.json["rows"] == [], operator
    # As an id, or anything else of a request, it is no name.
    assert client.post(ROWS, {"_id": value, "x": 1}).status in (201, 409, 422)
    if not isinstance(value, str):
        assert client.post(f"{ROWS}/query", {"filter": value}).status == 422
        assert client.post(f"{ROWS}/query", {"cursor": value}).status == 422
        assert client.post(f"{ROWS}/query", {"sort": [value]}).status == 422


@pytest.mark.parametrize("name", ["$where", "$set", "a.b", "a.$b", "", "__proto__", "_id.x", "a\0b", "$" * 500])
def test_an_operator_as_a_column_is_refused_or_is_a_column_of_this_name(
    shared_gateway: Installation, name: str
) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    client.post(ROWS, {"_id": "r-1", "secret": SECRET})
    made = client.post(ROWS, {name: {"secret": "changed"}})
    assert made.status in (201, 400, 422), made.body
    if made.status == 201:
        assert made.json[name] == {"secret": "changed"}
    assert client.call("PATCH", f"{ROWS}/r-1", orjson.dumps({name: {"secret": "x"}}), JSON).status in (200, 400, 422)
    assert client.get(f"{ROWS}/r-1").json["secret"] == SECRET
    for asked in (
        {"filter": {"all": [{"field": name, "op": "eq", "value": 1}]}},
        {"sort": [{"column": name}]},
    ):
        answer = client.post(f"{ROWS}/query", asked)
        assert answer.status in (200, 400, 422), answer.body


@pytest.mark.parametrize(
    "query",
    [
        "automation[$ne]=x", "automation=%24ne", "status[$ne]=x", "automation=a&automation=b", "limit=1;drop",
        "cursor=%7B%22%24gt%22%3A%22%22%7D", "cursor=" + "A" * 2000, "key[$gt]=", "since=%24now",
        "%24where=1", "a=" + "%00", "limit=99999999999999999999",
    ],
)  # fmt: skip
def test_an_operator_in_a_query_finds_nothing_more(shared_gateway: Installation, query: str) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "viewer"))
    for path in ("runs", "dead-letters", "automations", "tables", "tables/tickets/rows"):
        answer = client.get(f"/api/v1/apps/{APP}/{path}?{query}")
        assert answer.status in (200, 400, 422), (path, answer.status, answer.body)


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
HOSTILE = [
    pytest.param(DEEP, id="deep object"),
    pytest.param(b"[" * 500_000, id="open lists"),
    pytest.param(b"[" * 400_000 + b"]" * 400_000, id="deep lists"),
    pytest.param(b"9" * 900_000, id="huge number"),
    pytest.param(b'{"value":' + b"9" * 10_000 + b"}", id="large number"),
    pytest.param(b'{"value":1e999999}', id="infinite number"),
    pytest.param(b'{"value":NaN}', id="nan"),
    pytest.param(b'{"value":"\\ud800"}', id="half a surrogate"),
    pytest.param(b'{"value":"\xff"}', id="no utf-8"),
    pytest.param(b'{"value":"\\u0000","a\\u0000b":1}', id="nul"),
    pytest.param(b"\x00" * 1000, id="zeros"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param(b'{"a":1,' * 100_000, id="open names"),
    pytest.param(b"[" + b"{}," * 300_000 + b"{}]", id="many objects"),
    pytest.param(b'{"__proto__":{"x":1},"constructor":{"prototype":{}}}', id="prototype"),
    pytest.param(b"true", id="true"),
    pytest.param(b'"text"', id="text"),
    pytest.param(b"null", id="null"),
    pytest.param(b"", id="nothing"),
    pytest.param(gzip.compress(b"0" * 50_000_000), id="bomb"),
]


@pytest.mark.parametrize("body", HOSTILE)
def test_no_body_makes_a_route_fail(shared_gateway: Installation, body: bytes) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "admin", "*"))
    for method, path, kinds in routes(client):
        if method == "GET":
            continue
        for kind in kinds:
            answer = client.call(method, path, body, {"Content-Type": kind})
            # 503: of what needs Kafka's services, none runs here; the key of secrets is not set.
            assert answer.status < 500 or answer.problem == "no_secrets_key", (method, path, kind, answer.body)
    assert client.get("/api/v1/me").status == 200


def test_a_body_that_unpacks_to_gigabytes_is_never_unpacked(shared_gateway: Installation) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "admin", "*"))
    packed = gzip.compress(b"0" * 100_000_000)
    for method, path, _ in routes(client):
        if method != "GET":
            sent = {**JSON, "Content-Encoding": "gzip"}
            assert 400 <= client.call(method, path, packed, sent).status < 500 or method == "DELETE", (method, path)


def test_yaml_that_multiplies_itself_is_refused(shared_gateway: Installation) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "editor"))
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    began = time.monotonic()
    for text in (laughs, "a: !!python/object/apply:os.system ['true']", "- " * 50_000, "a: " * 50_000, "[" * 50_000):
        answer = client.call("PUT", f"/api/v1/apps/{APP}/automations/x", text, {"Content-Type": "application/yaml"})
        assert answer.status in (400, 413, 422), answer.body[:500]
    # Of the first, unfolded, a machine has no memory; that it ends at all is the point, and 60 s is no measure.
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: -1\r\n",
        b"X: a\r\n Transfer-Encoding: chunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"X\r: a\r\n",
    ],
)
def test_no_second_request_hides_in_the_body_of_a_first(shared_gateway: Installation, head: bytes) -> None:
    hidden = b"0\r\n\r\nGET /api/v1/hidden HTTP/1.1\r\nHost: x\r\nX-Request-Id: hidden\r\nConnection: close\r\n\r\n"
    sent = b"POST /webhooks/shop/none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n" + hidden
    answer = client_of(shared_gateway).raw(sent)
    assert b"x-request-id: hidden" not in answer
    assert len(re.findall(rb"HTTP/1\.1 \d{3} ", answer)) <= 1, answer


def test_what_a_caller_says_adds_no_header_to_an_answer_and_no_line_to_the_log(shared_gateway: Installation) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    evil = "a\r\nSet-Cookie: evil=1\r\n\r\n<script>"
    made = client.post(ROWS, {"_id": evil, "x": 1})
    assert made.status in (201, 409, 422)
    assert "set-cookie" not in made.headers
    for path in ("/%0d%0aSet-Cookie:%20evil=1", f"/webhooks/{APP}/x%0d%0aSet-Cookie:evil", "/a%0a%7B%22level%22:1%7D"):
        answer = client.get(f"{path}?q=%0d%0aSet-Cookie:%20evil=1", **{"X-Request-Id": "a%0d%0ab"})
        assert "set-cookie" not in answer.headers
        assert answer.headers["content-type"] == "application/problem+json"
    answer = client_of(shared_gateway).raw(
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\tb\r\nConnection: close\r\n\r\n"
    )
    assert b"a\tb" not in answer
    log = shared_gateway.process("gateway-0").log
    until(lambda: "/nothing" in log.read_text(), "the log to have it")
    for line in log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def test_no_credential_that_a_caller_sends_stands_in_a_log_or_an_answer(shared_gateway: Installation) -> None:
    key = key_of(shared_gateway, "editor")
    client, marker = client_of(shared_gateway, key), "hunter2-marker-of-this-test"
    for path, body in (
        (f"/api/v1/apps/{APP}/secrets/KEY", {"value": marker}),
        (f"/api/v1/apps/{APP}/secrets/KEY", {"value": [marker]}),
        (f"/api/v1/apps/{APP}/secrets/KEY", {"valu": marker}),
        (f"/api/v1/apps/{APP}/secrets/KEY", marker),
        (f"/api/v1/apps/{APP}/automations/x", {"steps": marker}),
    ):
        assert marker not in client.call("PUT", path, json.dumps(body), JSON).body.decode()
    client.call("GET", f"/api/v1/apps/{APP}/runs?token={marker}", headers={"Cookie": f"a={marker}"})
    client_of(shared_gateway, marker).get("/api/v1/me")
    client_of(shared_gateway, key[:-1] + "0").get("/api/v1/me")
    client.call("POST", f"/webhooks/{APP}/none?token={marker}", marker, {"X-Hub-Signature-256": marker})
    client.get("/the-end-of-this-test")
    log: Path = shared_gateway.process("gateway-0").log
    until(lambda: "/the-end-of-this-test" in log.read_text(), "the log to have it")
    assert marker not in log.read_text()
    assert key.rpartition("_")[2] not in log.read_text()


def test_a_bug_of_ours_says_nothing_but_where_the_log_has_it(shared_gateway: Installation) -> None:
    with MongoClient[dict[str, Any]](shared_gateway.settings.mongodb) as mongo:
        # No such document comes from us: reading it fails in a way that nobody expects.
        mongo[shared_gateway.settings.prefix]["api_keys"].replace_one({"_id": "0" * 12}, {"odd": 1}, upsert=True)
    try:
        answer = client_of(shared_gateway, f"hr_{'0' * 12}_{'0' * 64}").get(f"/api/v1/apps/{APP}/runs")
        assert (answer.status, answer.problem) == (500, "internal")
        assert "scopes" not in answer.body.decode()
        id, log = answer.json["request_id"], shared_gateway.process("gateway-0").log
        until(lambda: any(id in line and "KeyError" in line for line in log.read_text().splitlines()), "the log's line")
    finally:
        with MongoClient[dict[str, Any]](shared_gateway.settings.mongodb) as mongo:
            mongo[shared_gateway.settings.prefix]["api_keys"].delete_one({"_id": "0" * 12})
