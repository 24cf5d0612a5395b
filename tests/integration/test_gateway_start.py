"""Automations that people and programs start over HTTP."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from conftest import Installation
from dlq_support import audit
from gateway_support import APP, client_of, key_of, records

from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]
ROOT = f"/api/v1/apps/{APP}"
DOCUMENT: dict[str, Any] = {
    "name": "refund",
    "app": APP,
    "trigger": {"type": "manual"},
    "fields": {"order": "text", "amount": {"type": "number", "default": 1}},
    "steps": [{"id": "out", "collect": "{{ [trigger.fields.order, trigger.fields.amount, user.name] }}"}],
}


@pytest.fixture
def gateway(topics: Settings, start_services: Start) -> Installation:
    return Installation(topics, start_services(topics, (*READS, "gateway")))


def test_a_manual_automation_is_started_once_for_each_idempotency_key(gateway: Installation) -> None:
    gateway.apply(DOCUMENT, {**DOCUMENT, "name": "by-event", "trigger": {"type": "event", "event": "x"}, "fields": {}})
    operator = client_of(gateway, key_of(gateway, "operator"))
    path = f"{ROOT}/automations/refund/start"
    asked = {"fields": {"order": "o-1", "amount": "7"}}
    first = operator.post(path, asked, **{"Idempotency-Key": "a"})
    assert (first.status, first.headers["location"]) == (202, first.json["url"])
    assert first.json["url"] == f"{ROOT}/runs/{first.json['run_id']}"
    assert operator.post(path, asked, **{"Idempotency-Key": "a"}).json == first.json
    # Another key, another caller's same key, and none at all: runs of their own.
    other = client_of(gateway, key_of(gateway, "operator"))
    others = [
        operator.post(path, asked, **{"Idempotency-Key": "b"}),
        other.post(path, asked, **{"Idempotency-Key": "a"}),
    ]
    others += [operator.post(path, asked), operator.post(path, asked)]
    ids = {first.json["run_id"], *(each.json["run_id"] for each in others)}
    assert len(ids) == 5
    runs = gateway.runs(APP)
    assert {each["_id"] for each in runs} == ids
    assert all(each["collected"] == ["o-1", 7, "operators"] for each in runs)
    assert operator.get(first.json["url"]).json["status"] == "success"
    assert [each["action"] for each in audit(gateway)].count("start") == 6


def test_what_would_come_to_nothing_is_refused_at_the_door(gateway: Installation) -> None:
    gateway.apply(DOCUMENT, {**DOCUMENT, "name": "by-event", "trigger": {"type": "event", "event": "x"}, "fields": {}})
    operator = client_of(gateway, key_of(gateway, "operator"))
    path = f"{ROOT}/automations/refund/start"
    viewer = client_of(gateway, key_of(gateway, "viewer"))
    assert viewer.post(path, {"fields": {"order": "o"}}).problem == "forbidden"
    wrong = operator.post(path, {"fields": {"amount": "much", "other": 1}})
    assert (wrong.status, wrong.problem) == (422, "bad_fields")
    assert all(name in wrong.json["detail"] for name in ("'order' is missing", "'other' is not known", "'amount'"))
    assert operator.post(path, {"field": {}}).problem == "bad_shape"
    assert operator.post(f"{ROOT}/automations/none/start", {}).status == 404
    assert operator.post(f"{ROOT}/automations/by-event/start", {}).problem == "not_manual"
    assert operator.post(path, {"fields": {"order": "o"}}, **{"Idempotency-Key": "k" * 256}).problem == "bad_header"
    assert operator.post(f"{ROOT}/automations/refund/disable", {"reason": "closed"}).status == 200
    assert operator.post(path, {"fields": {"order": "o"}}).problem == "state"
    assert records(gateway, "events") == []
