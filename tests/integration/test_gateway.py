"""The gateway's door: who may come in, what is refused, and how that is said."""

import json
import re
import shlex
import signal
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import DEADLINE_S, Installation, until
from gateway_support import APP, Client, client_of, key_of

from headrace.api_keys import first_key, revoke_key
from headrace.embedded import Supervisor
from headrace.settings import Settings
from headrace.storage import Storage

pytestmark = pytest.mark.integration

PAGE = (Path(__file__).parents[2] / "docs/gateway.md").read_text()

Start = Callable[[Settings, Sequence[str]], Supervisor]


@pytest.fixture
def gateway(topics: Settings, start_services: Start) -> Installation:
    return Installation(topics, start_services(topics, ("gateway",)))


def test_whoever_has_no_valid_key_is_refused_as_such(gateway: Installation) -> None:
    good = key_of(gateway, "viewer")
    expired = key_of(gateway, "admin", expires_at=datetime.now(UTC) + timedelta(seconds=1))
    until(lambda: client_of(gateway, expired).get("/api/v1/me").status == 401, "the key to expire")
    wrong = [
        "",
        "x",
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good + "0",
        "hr_000000000000_" + "0" * 64,
        "\u00e9",
        expired,
    ]
    for key in wrong:
        answer = client_of(gateway, key).get("/api/v1/me")
        assert (answer.status, answer.problem) == (401, "unauthorized"), key
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client_of(gateway).get("/api/v1/me", Authorization=f"Basic {good}").status == 401
    answer = client_of(gateway, good).get("/api/v1/me")
    assert (answer.status, answer.json["scopes"]) == (200, {APP: "viewer"})


def test_a_revoked_key_opens_nothing_more(gateway: Installation) -> None:
    made = gateway.headrace("keys", "create", "ci", "--role", "editor", "--all-apps", "--by", "ann", "--json")
    key = json.loads(made.stdout)
    client = client_of(gateway, key["text"])
    assert client.get("/api/v1/me").json == {"key": key["key"], "name": "ci", "scopes": {"*": "editor"}}
    assert gateway.headrace("keys", "revoke", key["key"], "--by", "bob").returncode == 0
    until(lambda: client.get("/api/v1/me").status == 401, "the key to be forgotten")
    again = gateway.headrace("keys", "revoke", key["key"])
    assert (again.returncode, "was revoked by bob" in again.stderr) == (1, True)
    listed = gateway.headrace("keys", "list", "--json").stdout
    assert [(each["key"], each["state"], each["used_at"] is None) for each in json.loads(listed)] == [
        (key["key"], "revoked", False)
    ]
    audited = json.loads(gateway.headrace("audit", "--json").stdout)
    assert [(each["action"], each["by"], each["count"]) for each in audited] == [
        ("revoke_key", "bob", 1),
        ("create_key", "ann", 1),
    ]
    assert key["text"] not in listed + str(audited)


def test_what_a_key_may_not_do_is_forbidden_in_each_app_by_itself(gateway: Installation) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "t"}
    sent = {"Content-Type": "application/cloudevents+json"}
    viewer, other = key_of(gateway, "viewer"), key_of(gateway, "admin", "bank")
    for key in (viewer, other):
        answer = client_of(gateway, key).post(f"/api/v1/apps/{APP}/events", event, **sent)
        assert (answer.status, answer.problem) == (403, "forbidden")
    assert client_of(gateway, other).post("/api/v1/apps/bank/events", event, **sent).status == 202


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/me", 405),
        ("GET", "/../../etc/passwd", 404),
        ("POST", "/webhooks/shop/nobody", 404),
        ("GET", "/docs", 404),
    ],
)
def test_what_is_not_there_is_a_problem_document(
    shared_gateway: Installation, method: str, path: str, status: int
) -> None:
    answer = client_of(shared_gateway).call(method, path)
    assert answer.status == status
    assert answer.problem in ("not_found", "method")


def test_every_answer_has_the_request_id_and_tells_browsers_nothing_to_do(gateway: Installation) -> None:
    client = client_of(gateway)
    answer = client.get("/openapi.json", **{"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers
    hostile = client.get("/openapi.json", **{"X-Request-Id": 'a" level=error'})
    assert len(hostile.headers["x-request-id"]) == 32
    client.get("/nowhere", **{"X-Request-Id": "look-for-me"})
    log = gateway.process("gateway-0").log
    until(lambda: '"request_id":"look-for-me"' in log.read_text().replace(": ", ":"), "the log to name the request")


def test_the_openapi_document_has_every_path_with_examples_and_is_gzipped(shared_gateway: Installation) -> None:
    answer = client_of(shared_gateway).get("/openapi.json")
    paths = answer.json["paths"]
    assert {"/webhooks/{app}/{id}", "/api/v1/apps/{app}/events", "/api/v1/me"} <= set(paths)
    assert "example" in str(paths["/api/v1/apps/{app}/events"]["post"]["requestBody"])
    packed = client_of(shared_gateway).get("/openapi.json", **{"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.body[:2]) == ("gzip", b"\x1f\x8b")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(gateway: Installation) -> None:
    client, key = client_of(gateway), key_of(gateway, "operator")
    head = f"POST /api/v1/apps/{APP}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/cloudevents+json\r\n"
    # Of the declared gigabyte nothing is sent; of the other body nobody knows how large it is.
    assert b" 413 " in client.raw(f"{head}Content-Length: {1 << 30}\r\n\r\n".encode()).split(b"\r\n")[0]
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert b" 413 " in client.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 17).split(b"\r\n")[0]
    just_over = client_of(gateway, key).call("POST", f"/api/v1/apps/{APP}/events", b"x" * ((1 << 20) + 1))
    assert (just_over.status, just_over.problem) == (413, "too_large")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad\x00Name: 1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
def test_what_is_no_http_ends_its_connection_with_a_problem(
    shared_gateway: Installation, sent: bytes, status: bytes
) -> None:
    answer = client_of(shared_gateway).raw(sent)
    assert answer.split(b" ")[1] == status, answer
    assert b"application/problem+json" in answer
    assert client_of(shared_gateway).get("/openapi.json").status == 200


def test_while_mongodb_is_away_a_key_is_not_refused_but_asked_for_again(
    topics: Settings, start_services: Start
) -> None:
    # A port that nobody listens on.
    away = topics.model_copy(update={"mongodb_uri": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"})
    gateway = Installation(away, start_services(away, ("gateway",)))
    answer = client_of(gateway, "hr_000000000000_" + "0" * 64).get("/api/v1/me")
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_taken_port_is_a_wrong_setting(gateway: Installation) -> None:
    taken = gateway.settings.model_copy(update={"http_port": client_of(gateway).port})
    done = Installation(taken, gateway.services).headrace("service", "gateway")
    assert (done.returncode, "HEADRACE_HTTP_PORT" in done.stdout + done.stderr) == (2, True)


def test_sigterm_lets_requests_end_and_then_ends_the_process(gateway: Installation) -> None:
    key, process = key_of(gateway, "operator"), gateway.process("gateway-0")
    client = client_of(gateway, key)
    body = b'{"specversion":"1.0","id":"last","source":"/t","type":"t"}'
    with socket.create_connection(("127.0.0.1", client.port), timeout=DEADLINE_S) as connection:
        head = (
            f"POST /api/v1/apps/{APP}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/cloudevents+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:10])
        log_before = process.log.read_text()
        process.stats().send_signal(signal.SIGTERM)
        until(lambda: _refuses(client), "the gateway to take no more")
        connection.sendall(body[10:])
        assert b" 202 " in connection.recv(65_536)
    gone = process.stats().wait(DEADLINE_S)
    assert gone in (0, None)
    assert '"stopped"' in Path(process.log).read_text()[len(log_before) :]


def _refuses(client: Client) -> bool:
    try:
        client.get("/openapi.json")
    except ConnectionError:
        return True
    return False


def test_the_commands_of_the_page_make_keys_and_list_them(gateway: Installation) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.S)
    for line in block.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert program == ".venv/bin/headrace"
        done = gateway.headrace(*arguments)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), (line, done.stderr)
    listed = json.loads(gateway.headrace("keys", "list", "--json").stdout)
    assert [each["scopes"] for each in listed] == [{"shop": "operator"}, {"*": "editor"}]
    paths = client_of(gateway).get("/openapi.json").json["paths"]
    assert [path for path in paths if path.removeprefix("/api/v1/apps/{app}").split("/")[1] not in PAGE] == []


async def test_only_an_installation_without_keys_is_given_a_first_one(storage: Storage) -> None:
    made = await first_key(storage, "ann")
    assert made is not None
    assert made.key.scopes == {"*": "admin"}
    (kept,) = await storage.keys.all()
    assert made.text.rpartition("_")[2] not in repr(kept)
    await revoke_key(storage, made.key.id, "ann")
    # Else whoever revokes the last one would open the door again at the next start.
    assert await first_key(storage, "ann") is None
