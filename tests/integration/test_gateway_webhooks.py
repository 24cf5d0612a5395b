"""Webhooks over real HTTP: what is answered 202 is one event, and what is not its sender's comes to nothing."""

import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Installation, until
from gateway_support import APP, Client, client_of, records

from headrace.contracts.automation import DocumentError
from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]

OLD, NEW = "the old secret of the shop", "the new secret of the shop"
STANDARD_KEY = bytes(range(32))
SECRETS = {"OLD": OLD, "NEW": NEW, "EMPTY": "", "STANDARD": "whsec_" + b64encode(STANDARD_KEY).decode()}

BODY = b'{"id": "evt_1", "n": 7}'
JSON = {"Content-Type": "application/json"}


def automation(name: str, **trigger: Any) -> dict[str, object]:
    steps = [{"id": "out", "collect": "{{ trigger.body }}"}]
    return {"name": name, "app": APP, "trigger": {"type": "webhook", "id": name, **trigger}, "steps": steps}


def signature(secret: str | bytes, signed: bytes) -> bytes:
    return hmac.new(secret.encode() if isinstance(secret, str) else secret, signed, sha256).digest()


def github(secret: str, body: bytes = BODY) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + signature(secret, body).hex(), "X-GitHub-Delivery": "d-1", **JSON}


def stripe(secret: str, at: float, body: bytes = BODY) -> dict[str, str]:
    signed = signature(secret, b"%d.%b" % (at, body)).hex()
    return {"Stripe-Signature": f"t={int(at)},v1={'0' * 64},v1={signed},v0=1", **JSON}


def standard(key: bytes, at: float, id: str = "msg_1", body: bytes = BODY) -> dict[str, str]:
    signed = b64encode(signature(key, b"%b.%d.%b" % (id.encode(), at, body))).decode()
    return {"webhook-id": id, "webhook-timestamp": str(int(at)), "webhook-signature": f"v1a,x v1,{signed}", **JSON}


@pytest.fixture
def settings_with_apps(topics: Settings, tmp_path: Path) -> Settings:
    apps = tmp_path / "apps.yaml"
    apps.write_text(yaml.safe_dump({"apps": {APP: {"secrets": SECRETS}}}))
    return topics.model_copy(update={"apps_file": apps})


@pytest.fixture
def gateway(settings_with_apps: Settings, start_services: Start) -> Installation:
    return Installation(settings_with_apps, start_services(settings_with_apps, ("gateway",)))


def open_door(gateway: Installation, name: str, **trigger: Any) -> Client:
    """A webhook of this name that the gateway knows, and a client."""
    gateway.apply(automation(name, **trigger))
    client = client_of(gateway)
    # It reads the topic of automations every 50 ms; what it answers to this method is no delivery.
    until(lambda: client.call("PATCH", f"/webhooks/{APP}/{name}").status != 404, f"the webhook {name}")
    return client


def test_a_delivery_is_one_run_however_often_it_comes(settings_with_apps: Settings, start_services: Start) -> None:
    services = start_services(settings_with_apps, (*READS, "gateway"))
    installation = Installation(settings_with_apps, services)
    client = open_door(installation, "push", verify={"scheme": "github", "secrets": ["NEW"]})
    for _ in range(3):
        answer = client.call("POST", f"/webhooks/{APP}/push?a=1&a=2&token=hidden", BODY, github(NEW))
        assert (answer.status, answer.json) == (202, {"id": "d-1"})
    (run,) = installation.runs(APP)
    assert (run["status"], run["collected"], run["event"]["id"]) == ("success", {"id": "evt_1", "n": 7}, "d-1")
    assert installation.dead_letters() == []


def test_the_record_is_what_the_matcher_reads_and_holds_no_credential(gateway: Installation) -> None:
    verify = {"scheme": "hmac", "secrets": ["NEW"], "header": "X-Sign", "encoding": "base64", "prefix": "v0="}
    client = open_door(gateway, "orders", verify=verify, dedupe_key="{{ body.id }}-{{ headers['x-part'] }}")
    sent = {"X-Sign": "v0=" + b64encode(signature(NEW, BODY)).decode(), "X-Part": "2", "Cookie": "a=b", **JSON}
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    credentials = {"Authorization": "Bearer abc", "X-Api-Key": "k", "Traceparent": trace, "X-Hub-Signature": "sha1=1"}
    answer = client.call("POST", f"/webhooks/{APP}/orders?a=1&a=2&b=&api_key=k", BODY, {**sent, **credentials})
    assert (answer.status, answer.json) == (202, {"id": "evt_1-2"})
    ((key, value, headers),) = records(gateway, "webhooks")
    assert key == f"{APP}/orders".encode()
    assert value == {
        "method": "POST",
        "query": {"a": ["1", "2"], "b": ""},
        "body": {"id": "evt_1", "n": 7},
        "headers": {
            "accept-encoding": "identity",
            "content-type": "application/json",
            "host": f"127.0.0.1:{client.port}",
            "traceparent": trace,
            "x-part": "2",
        },
    }
    time = headers.pop("ce_time")
    assert time.endswith("+00:00")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": "evt_1-2",
        "ce_source": f"/webhooks/{APP}/orders",
        "ce_type": "webhook",
        "ce_app": APP,
        "traceparent": trace,
        "content-type": "application/json",
    }
    log = gateway.process("gateway-0").log.read_text()
    assert not [each for each in (NEW, sent["X-Sign"], "abc") if each in log]


def test_either_of_two_live_secrets_signs_and_no_other(gateway: Installation) -> None:
    client = open_door(gateway, "push", verify={"scheme": "github", "secrets": ["OLD", "NEW"]})
    assert [client.call("POST", f"/webhooks/{APP}/push", BODY, github(each)).status for each in (OLD, NEW)] == [
        202,
        202,
    ]
    for headers in (github("another"), github(NEW, b"{}"), {**github(NEW), "X-Hub-Signature-256": "sha1=00"}, JSON):
        answer = client.call("POST", f"/webhooks/{APP}/push", BODY, headers)
        assert (answer.status, answer.problem) == (401, "unverified")
        assert answer.json["errors"][0]["field"] == "header.x-hub-signature-256"
    assert len(records(gateway, "webhooks")) == 2


def test_what_was_recorded_cannot_be_sent_again_later(gateway: Installation) -> None:
    now = time.time()
    verify = {"scheme": "stripe", "secrets": ["NEW"], "tolerance": "60s"}
    paid = open_door(gateway, "paid", verify=verify)
    kept = open_door(gateway, "kept", verify={"scheme": "standard", "secrets": ["STANDARD"], "tolerance": "60s"})
    answers = [paid.call("POST", f"/webhooks/{APP}/paid", BODY, stripe(NEW, now + late)) for late in (0, -90, 90)]
    assert [each.status for each in answers] == [202, 401, 401]
    assert answers[0].json == {"id": "evt_1"}
    signed = [standard(STANDARD_KEY, now + late) for late in (0, -90, 90)]
    answers = [kept.call("POST", f"/webhooks/{APP}/kept", BODY, each) for each in signed]
    assert [each.status for each in answers] == [202, 401, 401]
    assert answers[0].json == {"id": "msg_1"}
    another_id = {**signed[0], "webhook-id": "msg_2"}
    assert kept.call("POST", f"/webhooks/{APP}/kept", BODY, another_id).status == 401


def test_a_token_is_compared_with_its_prefix(gateway: Installation) -> None:
    verify = {"scheme": "token", "secrets": ["NEW"], "header": "Authorization", "prefix": "Bearer "}
    client = open_door(gateway, "hook", verify=verify, methods=["POST", "GET"])
    for text, status in (
        (f"Bearer {NEW}", 202),
        (NEW, 401),
        ("Bearer ", 401),
        (f"Bearer {NEW} ", 202),
        ("Bearer x", 401),
    ):
        assert client.call("GET", f"/webhooks/{APP}/hook", headers={"Authorization": text}).status == status, text
    assert client.call("DELETE", f"/webhooks/{APP}/hook").headers["allow"] == "GET, POST"
    (first, *_) = records(gateway, "webhooks")
    assert (first[1]["body"], first[1]["method"], "authorization" in first[1]["headers"]) == (None, "GET", False)


def test_a_webhook_whose_secret_is_missing_or_empty_believes_nobody(gateway: Installation) -> None:
    client = open_door(gateway, "push", verify={"scheme": "github", "secrets": ["EMPTY", "NONE"]})
    answer = client.call("POST", f"/webhooks/{APP}/push", BODY, github(""))
    assert (answer.status, answer.problem) == (503, "unavailable")
    assert records(gateway, "webhooks") == []
    assert "EMPTY" not in answer.body.decode()
    assert "EMPTY or NONE" in gateway.process("gateway-0").log.read_text()


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"a": 1', 400),
        ("application/json", b"\xff\xfe", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'{"a":' * 400 + b"1" + b"}" * 400, 400),
        ("application/json", b'{"a": 123456789012345678901234567890}', 400),
        ("application/json", b'{"a": 1e999}', 400),
        ("application/json", b'{"a": NaN}', 400),
        ("application/json", b'{"a\\u0000b": 1}', 400),
        ("application/json", b'{"a": "\x00"}', 400),
        ("application/json", b'{"a": "\\ud800"}', 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"a=%00", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(1001)), 400),
        ("text/plain", b"\xff", 400),
        ("text/plain", b"a\x00b", 400),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("", b"abc", 415),
        ("application/json", b"x" * ((1 << 20) + 1), 413),
        ("application/json", b"", 202),
        ("application/vnd.x+json; charset=utf-8", b"[1]", 202),
        ("application/x-www-form-urlencoded", b"a=1&a=2&b=%C3%A4", 202),
        ("text/xml", "<a>ü</a>".encode(), 202),
        ("text/plain", b"\x01" * (1 << 20), 202),
    ],
)
def test_a_hostile_body_is_refused_in_words_and_any_other_is_kept(
    shared_gateway: Installation, content_type: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    client = open_door(shared_gateway, "any")
    answer = client.call("POST", f"/webhooks/{APP}/any", body, headers)
    assert answer.status == status, answer.body
    if status != 202:
        assert answer.problem
        assert len(answer.json["detail"]) < 300


def test_two_automations_cannot_open_one_webhook_in_two_ways(gateway: Installation) -> None:
    verify = {"scheme": "github", "secrets": ["NEW"]}
    client = open_door(gateway, "push", verify=verify)
    open_one = {**automation("push"), "name": "other"}
    with pytest.raises(DocumentError, match=r"'push' of app 'shop' .* different `methods`, `verify` or `dedupe_key`"):
        gateway.apply(open_one)
    gateway.apply({**automation("push", verify=verify), "name": "other"})
    assert client.call("POST", f"/webhooks/{APP}/push", BODY, JSON).status == 401
    # Both at once.
    gateway.apply(open_one, automation("push"))
    until(lambda: client.call("POST", f"/webhooks/{APP}/push", BODY, JSON).status == 202, "the door to be open")
