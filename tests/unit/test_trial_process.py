"""The process that tries a document: what it has of the gateway's, and when it ends."""

from pathlib import Path

import orjson
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


async def test_it_has_what_an_apps_file_names_and_nothing_by_which_the_platform_is_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apps.yaml").write_text("apps: {shop: {env: {PLACE: here}, secrets: {KEY: {env: SHOP_KEY}}}}")
    monkeypatch.setenv("SHOP_KEY", "k-1234567")
    for name in ("MONGODB_URI", "KAFKA_BOOTSTRAP_SERVERS", "HEADRACE_SECRETS_KEYS"):
        monkeypatch.setenv(name, "somewhere")
    settings = Settings(apps_file=tmp_path / "apps.yaml")
    assert not {name for name, value in trials.environment_of(settings).items() if value == "somewhere"}
    steps = [{"id": "a", "collect": "{{ [env.PLACE, secrets.KEY | length] }}"}]
    trial = trials.Trial(document={"name": "a", "app": "shop", "trigger": {"type": "manual"}, "steps": steps})
    answer = await trials.tried(trial, settings)
    assert orjson.loads(answer.body)["record"]["collected"] == ["here", 9]
