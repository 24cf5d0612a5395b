"""Test runs against a real server: called only where the author allows it."""

from datetime import UTC, datetime

import pytest

from headrace.cli.answering import Answering
from headrace.contracts.automation import parse_automation
from headrace.trials import Trial, Tried, try_automation

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("trial", "status", "count"),
    [
        (Trial({}), "error", 0),
        (Trial({}, {"call": {"status": 201}}), "success", 0),
        (Trial({}, allow_effects=True), "error", 0),  # a private address, which the settings do not allow
        (Trial({}, allow_effects=True, allow_private_hosts=True), "success", 1),
        (Trial({}, {"call": {"status": 201}}, allow_effects=True, allow_private_hosts=True), "success", 0),
    ],
)
def test_others_are_called_only_with_effects_allowed_and_without_a_stub(trial: Trial, status: str, count: int) -> None:
    with Answering() as server:
        steps = [{"id": "call", "use": "http.request", "with": {"url": server.url}, "retry": {"attempts": 1}}]
        trigger = {"type": "event", "event": "x"}
        tried = try_automation(
            parse_automation({"name": "a", "app": "b", "trigger": trigger, "steps": steps}), trial, AT
        )
        assert isinstance(tried, Tried)
        assert (tried.record["status"], server.count) == (status, count)
