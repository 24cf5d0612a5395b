"""Versions that cannot run here: their jobs are told so, one by one."""

from datetime import UTC, datetime

import pytest

from headrace.contracts.automation import parse_automation
from headrace.contracts.jobs import Cause, Job
from headrace.storage import Storage
from services.orchestrator.plans import Plans, UnusablePlan

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)
CAUSE = Cause(id="1", source="s", type="t", topic="e", partition=0, offset=0, time=AT)


def job(version: int) -> Job:
    return Job.model_validate(
        {"format": 1, "run_id": "r", "app": "shop", "automation": "a", "version": version, "generation": 0,
         "segment": 0, "attempt": 1, "key": "k", "priority": "normal", "trigger": {}, "cause": CAUSE}
    )  # fmt: skip


async def test_a_version_whose_step_is_not_installed_here_is_no_failure_of_the_service(storage: Storage) -> None:
    trigger, steps = {"type": "event", "event": "x"}, [{"id": "wave", "use": "acme.wave"}]
    document = parse_automation({"name": "a", "app": "shop", "trigger": trigger, "steps": steps})
    await storage.automations.save(document, "test")  # by someone who has the package
    plans = Plans(storage.automations)
    with pytest.raises(UnusablePlan, match=r"automation shop/a, version 1: steps\.0\.use: unknown step 'acme\.wave'"):
        await plans.load(job(1))
    with pytest.raises(UnusablePlan, match="automation shop/a has no version 2"):
        await plans.load(job(2))
