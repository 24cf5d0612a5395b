"""The read API and what acts through it: the same functions as the command line, under a key's name."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from conftest import Installation, until
from gateway_support import APP, Client, client_of, key_of

from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]
ROOT = f"/api/v1/apps/{APP}"

DOCUMENT: dict[str, Any] = {
    "name": "pay",
    "app": APP,
    "trigger": {"type": "event", "event": "order.*"},
    "steps": [{"id": "out", "collect": "{{ trigger.data.n }}"}],
}
WAITING: dict[str, Any] = {
    **DOCUMENT,
    "name": "slow",
    "trigger": {"type": "event", "event": "wait"},
    "steps": [{"id": "pause", "delay": {"for": "1h"}}],
}


def put(client: Client, document: dict[str, Any], **headers: str) -> Any:
    body = json.dumps(document)
    path = f"{ROOT}/automations/{document['name']}"
    return client.call("PUT", path, body, {"Content-Type": "application/json", **headers})


@pytest.fixture
def gateway(topics: Settings, start_services: Start) -> Installation:
    return Installation(topics, start_services(topics, (*READS, "gateway")))


def test_an_automation_is_applied_run_switched_and_its_runs_are_read(gateway: Installation) -> None:
    editor = client_of(gateway, key_of(gateway, "editor"))
    viewer = client_of(gateway, key_of(gateway, "viewer"))
    # Applied by compare-and-set.
    first = put(editor, DOCUMENT, **{"If-Match": '"0"'})
    assert (first.status, first.headers["etag"], first.json["change"]) == (200, '"1"', "new")
    late = put(editor, DOCUMENT, **{"If-Match": '"0"'})
    assert (late.status, late.problem) == (412, "changed")
    again = put(editor, {**DOCUMENT, "description": "another"}, **{"If-Match": '"1"'})
    assert (again.status, again.json["version"]) == (200, 2)
    assert put(viewer, DOCUMENT).problem == "forbidden"
    # Read.
    shown = viewer.get(f"{ROOT}/automations/pay")
    assert (shown.headers["etag"], shown.json["document"]["description"]) == ('"2"', "another")
    assert viewer.get(f"{ROOT}/automations/pay", **{"If-None-Match": '"2"'}).status == 304
    assert [each["name"] for each in viewer.get(f"{ROOT}/automations").json["automations"]] == ["pay"]
    assert viewer.get(f"{ROOT}/automations/nobody").status == 404
    # Runs, page by page.
    with gateway.publisher(APP) as publisher:
        for number in range(7):
            publisher.event("order.new", {"n": number}, id=str(number))
    gateway.await_quiet()
    found: list[dict[str, Any]] = []
    path = f"{ROOT}/runs?automation=pay&status=success&limit=3"
    while path:
        page = viewer.get(path).json
        found += page["runs"]
        path = f"{ROOT}/runs?automation=pay&status=success&limit=3&cursor={page['next']}" if page["next"] else ""
    assert sorted(each["event"]["id"] for each in found) == [str(number) for number in range(7)]
    assert all("steps" not in each for each in found)
    run = viewer.get(f"{ROOT}/runs/{found[0]['run_id']}").json
    assert (run["status"], run["version"], run["steps"][0]["status"]) == ("success", 2, "success")
    assert viewer.get(f"{ROOT}/runs/{found[0]['run_id']}/steps").json["steps"] == run["steps"]
    # Switched, with the key's name in the audit.
    assert editor.post(f"{ROOT}/automations/pay/pause", {"reason": "the bank is down"}).json["state"] == "paused"
    assert editor.post(f"{ROOT}/automations/pay/disable", {"reason": "no"}).problem == "state"
    assert editor.post(f"{ROOT}/automations/pay/pause", {}).problem == "bad_shape"
    assert editor.post(f"{ROOT}/automations/pay/resume", {}).json["state"] == "enabled"
    assert viewer.post(f"{ROOT}/automations/pay/resume", {}).problem == "forbidden"
    assert viewer.get("/api/v1/audit").problem == "forbidden"
    admin = client_of(gateway, key_of(gateway, "admin", "*"))
    actions = admin.get("/api/v1/audit").json["actions"]
    mine = [each["action"] for each in actions if each["by"].endswith("(editors)")]
    assert mine == ["resume", "pause", "apply", "apply", "apply"]


def test_a_waiting_run_is_cancelled_once_and_by_its_own_app_alone(gateway: Installation) -> None:
    operator = client_of(gateway, key_of(gateway, "operator"))
    other = client_of(gateway, key_of(gateway, "admin", "bank"))
    gateway.apply(WAITING)
    with gateway.publisher(APP) as publisher:
        publisher.event("wait", {})
    gateway.await_quiet()
    (run,) = operator.get(f"{ROOT}/runs?status=waiting").json["runs"]
    path = f"runs/{run['run_id']}"
    assert other.get(f"/api/v1/apps/bank/{path}").problem == "not_found"
    assert other.post(f"/api/v1/apps/bank/{path}/cancel", {"reason": "mine"}).problem == "not_found"
    assert operator.post(f"{ROOT}/{path}/cancel", {}).problem == "bad_shape"
    assert operator.post(f"{ROOT}/{path}/cancel", {"reason": "no one needs it"}).status == 202
    until(lambda: operator.get(f"{ROOT}/{path}").json["status"] == "cancelled", "the run's end")
    assert operator.post(f"{ROOT}/{path}/cancel", {"reason": "again"}).problem == "ended"


def test_dead_letters_are_found_shown_redriven_and_discarded_by_their_app_alone(gateway: Installation) -> None:
    operator = client_of(gateway, key_of(gateway, "operator"))
    other = client_of(gateway, key_of(gateway, "admin", "bank"))
    headers = {"ce_specversion": "1.0", "ce_source": "t", "ce_type": "t", "ce_app": APP}
    for number in range(3):
        gateway.produce("events", b"no json", {**headers, "ce_id": str(number)})
    gateway.await_quiet()
    page = operator.get(f"{ROOT}/dead-letters?error=not_json&limit=2").json
    rest = operator.get(f"{ROOT}/dead-letters?error=not_json&limit=2&cursor={page['next']}").json
    ids = [each["letter"] for each in (*page["letters"], *rest["letters"])]
    assert (len(set(ids)), rest["next"]) == (3, None)
    assert operator.get(f"{ROOT}/dead-letters/{ids[0]}").json["value"] == {"text": "no json"}
    assert other.get(f"/api/v1/apps/bank/dead-letters/{ids[0]}").problem == "not_found"
    assert other.post("/api/v1/apps/bank/dead-letters/discard", {"letters": ids, "reason": "x"}).json["discarded"] == 0
    assert operator.post(f"{ROOT}/dead-letters/redrive", {"letters": ids[:1]}).json["redriven"] == 1
    assert operator.post(f"{ROOT}/dead-letters/discard", {"letters": ids[1:], "reason": "x"}).json["discarded"] == 2
    gateway.await_quiet()
    # Redriven as it was, it is no better.
    (left,) = operator.get(f"{ROOT}/dead-letters").json["letters"]
    assert left["letter"] not in ids


@pytest.mark.parametrize(
    ("kind", "body", "status", "field"),
    [
        ("application/json", {**DOCUMENT, "steps": [{"id": "out", "colect": "1"}]}, 422, "steps.0"),
        (
            "application/json",
            {**DOCUMENT, "trigger": {"type": "event", "event": "x", "when": "{{ rwo }}"}},
            422,
            "trigger.when",
        ),
        ("application/json", {**DOCUMENT, "app": "bank"}, 422, "app"),
        ("application/json", "{", 400, "body"),
        ("application/yaml", "a: [", 400, "body"),
        ("application/yaml", "a: 1\n---\nb: 2\n", 400, "body"),
        ("application/yaml", "a: &a [*a]", 400, "body"),
        ("text/plain", "a: 1", 415, "header.content-type"),
    ],
)
def test_a_wrong_document_is_told_with_the_path_of_each_mistake(
    shared_gateway: Installation, kind: str, body: object, status: int, field: str
) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "viewer"))
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.call("POST", f"{ROOT}/automations/validate", text, {"Content-Type": kind})
    assert answer.status == status, answer.body
    assert answer.problem
    assert [each["field"] for each in answer.json["errors"]] == [field]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "query.limit"),
        ("limit=x", "query.limit"),
        ("status=no", "query.status"),
        ("since=soon", "query.since"),
        ("cursor=x", "query.cursor"),
        ("cursor=WyJ4IiwxXQ", "query.cursor"),
    ],
)
def test_a_wrong_query_names_its_field(shared_gateway: Installation, query: str, field: str) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "viewer"))
    answer = client.get(f"{ROOT}/runs?{query}")
    assert (answer.status, answer.problem) == (422, "bad_shape")
    assert [each["field"] for each in answer.json["errors"]] == [field]
