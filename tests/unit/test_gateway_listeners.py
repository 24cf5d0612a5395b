"""Which webhooks there are, from the records of the topic of automations."""

from typing import Any

import pytest

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.documents import encoded
from headrace.streams import Record
from services.gateway.listeners import Listeners

pytestmark = pytest.mark.unit

GITHUB = {"scheme": "github", "secrets": ["A"]}
TOKEN = {"scheme": "token", "secrets": ["A"]}


def record(name: str, revision: int = 1, state: Any = "enabled", **trigger: Any) -> Record:
    trigger = {"type": "webhook", "id": "hook", **trigger}
    steps = [{"id": "out", "collect": "1"}]
    document = parse_automation({"name": name, "app": "shop", "trigger": trigger, "steps": steps})
    live = LiveAutomation(format=1, revision=revision, version=1, state=state, document=document)
    return Record("automations", 0, 0, 0, f"shop/{name}".encode(), encoded(live), ())


def gone(name: str) -> Record:
    return Record("automations", 0, 0, 0, f"shop/{name}".encode(), None, ())


def known(*records: Record) -> Listeners:
    found = Listeners()
    for each in records:
        found.apply(each)
    return found


def test_a_webhook_is_there_as_long_as_an_automation_listens_whatever_its_state() -> None:
    listeners = known(record("a", state="disabled"), record("b"))
    assert listeners.find("shop", "hook") is not None
    assert listeners.find("bank", "hook") is None
    listeners.apply(gone("b"))
    assert listeners.find("shop", "hook") is not None
    listeners.apply(record("a", 2, id="other"))
    assert listeners.find("shop", "hook") is None
    assert listeners.find("shop", "other") is not None
    listeners.apply(gone("a"))
    assert listeners.find("shop", "other") is None


def test_a_lower_revision_and_a_record_that_nobody_can_read_change_nothing() -> None:
    listeners = known(record("a", 3, verify=GITHUB), record("a", 2))
    listeners.apply(Record("automations", 0, 1, 0, b"shop/a", b"{}", ()))
    found = listeners.find("shop", "hook")
    assert found is not None
    assert [each.scheme for each in found.verifications] == ["github"]


def test_where_automations_disagree_none_opens_what_another_keeps_closed() -> None:
    listeners = known(
        record("a", verify=GITHUB, methods=["POST", "PUT"], dedupe_key="{{ body.a }}"),
        record("b", methods=["POST", "GET"]),
        record("c", verify=TOKEN, dedupe_key="{{ body.a }}"),
    )
    found = listeners.find("shop", "hook")
    assert found is not None
    assert (found.methods, found.dedupe_key) == (frozenset({"POST"}), None)
    assert {each.scheme for each in found.verifications} == {"github", "token"}
