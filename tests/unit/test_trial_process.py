"""A trial that does not end is ended."""

import pytest

from headrace.settings import Settings
from services.gateway import trials
from services.gateway.problems import Problem

pytestmark = pytest.mark.unit


async def test_a_trial_that_does_not_end_in_time_is_ended_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "WITHIN_S", 0.05)  # no interpreter starts within it
    steps = [{"id": "a", "collect": "1"}]
    trial = trials.Trial(document={"name": "a", "app": "shop", "trigger": {"type": "manual"}, "steps": steps})
    with pytest.raises(Problem, match="had not ended after"):
        await trials.tried(trial, Settings())
