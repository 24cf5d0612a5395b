"""What an automation was, how it has changed, and what is wrong with a document that nobody has applied."""

from typing import Any

import orjson
import pytest
from conftest import Installation
from gateway_support import APP, client_of, key_of

from headrace.schema import automation_schema

pytestmark = pytest.mark.integration

ROOT = f"/api/v1/apps/{APP}"


def document(name: str, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    trigger = {"type": "event", "event": name}
    return {"name": name, "app": APP, "trigger": trigger, "steps": [*steps], **more}


FIRST, SECOND = {"id": "a", "collect": "1"}, {"id": "b", "use": "log", "with": {"text": "x"}}


def test_versions_are_listed_shown_and_compared(shared_gateway: Installation) -> None:
    shared_gateway.apply(document("pay", FIRST))
    shared_gateway.apply(document("pay", FIRST, SECOND, timeout="60s"))
    shared_gateway.apply(document("pay", {**FIRST, "collect": "2"}, SECOND))
    viewer = client_of(shared_gateway, key_of(shared_gateway, "viewer"))
    root = f"{ROOT}/automations/pay/versions"
    page = viewer.get(f"{root}?limit=2").json
    assert [each["version"] for each in page["versions"]] == [3, 2]
    assert (page["live"], page["versions"][0]["by"]) == (3, "test")
    rest = viewer.get(f"{root}?limit=2&cursor={page['next']}").json
    assert ([each["version"] for each in rest["versions"]], rest["next"]) == ([1], None)
    assert viewer.get(f"{root}/1").json["document"]["steps"] == [FIRST]
    compared = viewer.get(f"{root}/1/diff/3").json
    assert compared["differences"] == [
        {"path": "steps[a].collect", "what": "changed", "before": "1", "after": "2"},
        {"path": "steps[b]", "what": "added", "after": SECOND},
    ]
    back = viewer.get(f"{root}/2/diff/1").json["differences"]
    assert [(each["path"], each["what"]) for each in back] == [("timeout", "removed"), ("steps[b]", "removed")]
    assert viewer.get(f"{root}/1/diff/1").json["differences"] == []
    # What is not there, not a number, or another app's.
    for number, status in (("4", 404), ("0", 422), ("x", 422), ("9" * 20, 422)):
        assert viewer.get(f"{root}/{number}").status == status
    assert viewer.get(f"{root}/1/diff/4").status == 404
    assert viewer.get(f"{ROOT}/automations/none/versions").status == 404
    stranger = client_of(shared_gateway, key_of(shared_gateway, "admin", "bank"))
    assert stranger.get(root).problem == "forbidden"
    assert stranger.get("/api/v1/apps/bank/automations/pay/versions/1").status == 404


def test_a_document_is_validated_and_linted_and_not_saved(shared_gateway: Installation) -> None:
    viewer = client_of(shared_gateway, key_of(shared_gateway, "viewer"))
    path = f"{ROOT}/automations/validate"
    assert viewer.post(path, document("draft", FIRST)).json == {"automation": "shop/draft", "findings": []}
    misspelt = {"id": "b", "use": "log", "with": {"text": "{{ steps.none.value }}"}}
    (found,) = viewer.post(path, document("draft", FIRST, misspelt)).json["findings"]
    assert (found["rule"], found["severity"], found["path"]) == ("unknown-step", "error", "steps.1.with.text")
    wrong = viewer.post(path, document("draft", {"id": "b", "use": "lag"}))
    assert (wrong.status, wrong.problem) == (422, "bad_document")
    assert viewer.get(f"{ROOT}/automations/draft").status == 404


def test_the_schema_of_documents_is_served_to_editors(shared_gateway: Installation) -> None:
    client = client_of(shared_gateway)
    answer = client.get("/api/v1/schemas/automation")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/schema+json")
    assert answer.json == orjson.loads(orjson.dumps(automation_schema()))
    again = client.get("/api/v1/schemas/automation", **{"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
