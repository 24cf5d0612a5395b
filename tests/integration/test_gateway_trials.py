"""A document is tried on an event over HTTP: nothing outside is touched, nothing is saved, and it ends at its time."""

from typing import Any

import pytest
from conftest import Installation
from gateway_support import APP, Client, client_of, key_of

pytestmark = pytest.mark.integration

PATH = f"/api/v1/apps/{APP}/automations/test"
EVENT = {"type": "order.created", "data": {"total": 21}}


@pytest.fixture
def editor(shared_gateway: Installation) -> Client:
    return client_of(shared_gateway, key_of(shared_gateway, "editor"))


def document(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    trigger = {"type": "event", "event": "order.created"}
    return {"name": "tried", "app": APP, "trigger": trigger, "steps": [*steps], **more}


DOUBLE = {"id": "double", "collect": "{{ trigger.data.total * 2 }}"}
ROW = {"id": "row", "use": "row.create", "with": {"table": "totals", "row": {"total": "{{ trigger.data.total }}"}}}
CALL = {"id": "call", "use": "http.request", "with": {"url": "http://127.0.0.1:1/pay", "method": "POST"}}


def test_what_came_of_it_is_answered_and_nothing_is_saved(editor: Client, shared_gateway: Installation) -> None:
    answer = editor.post(PATH, {"document": document(ROW, DOUBLE), "event": EVENT})
    assert answer.status == 200, answer.body
    assert (answer.json["fired"], answer.json["record"]["status"]) == (True, "success")
    assert answer.json["record"]["collected"] == 42
    assert answer.json["rows"][0]["row"]["total"] == 21
    assert shared_gateway.ask(lambda storage: storage.rows.count(APP, "totals")) == 0
    assert editor.get(f"/api/v1/apps/{APP}/automations/tried").status == 404
    passed_by = editor.post(PATH, {"document": document(DOUBLE), "event": {"type": "order.paid", "data": {}}})
    assert (passed_by.status, passed_by.json["fired"]) == (200, False)


def test_calls_to_others_are_not_made_and_a_stub_stands_for_them(editor: Client) -> None:
    refused = editor.post(PATH, {"document": document({**CALL, "on_error": "stop"}), "event": EVENT}).json["record"]
    assert (refused["status"], refused["error"]["type"]) == ("error", "not_allowed")
    stubs = {"call": {"status": 201, "data": {"paid": True}}}
    told = {"id": "told", "collect": "{{ steps.call.data.paid }}"}
    tried = editor.post(PATH, {"document": document(CALL, told), "event": EVENT, "stubs": stubs}).json["record"]
    assert (tried["status"], tried["collected"]) == ("success", True)
    # Allowed, it is called, if not where nobody may.
    called = editor.post(PATH, {"document": document({**CALL, "on_error": "stop"}), "event": EVENT, "effects": True})
    assert called.json["record"]["error"]["type"] == "address_refused"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"document": document(DOUBLE, app="bank")}, "bad_document"),
        ({"document": document({"id": "x", "use": "no.such"})}, "bad_trial"),
        ({"event": {"what": 1}}, "bad_trial"),
        ({"stubs": {"none": {}}}, "bad_trial"),
        ({"stubs": {"double": "x" * 200_000}}, "too_large"),
        ({"more": 1}, "bad_shape"),
    ],
)
def test_what_cannot_be_tried_is_told(editor: Client, change: dict[str, Any], problem: str) -> None:
    answer = editor.post(PATH, {"document": document(DOUBLE), "event": EVENT, **change})
    assert (answer.status, answer.problem) == (422, problem), answer.body
    assert "headrace-trial-" not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()


def test_it_takes_the_role_that_may_apply(shared_gateway: Installation) -> None:
    operator = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    assert operator.post(PATH, {"document": document(DOUBLE), "event": EVENT}).problem == "forbidden"
