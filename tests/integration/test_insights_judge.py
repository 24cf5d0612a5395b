"""When a cron is stopped, on a real MongoDB: which failures count, and whose."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.runs import RunStatus
from headrace.contracts.stats import Delta, read_delta
from headrace.contracts.topics import AUTOMATIONS
from headrace.engine import compile_plan
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import Outcome, Record
from headrace.streams.admin import read_topic
from services.insights.judge import Judge
from services.insights.rows import Failures
from services.orchestrator.stats import Summary, tally

pytestmark = pytest.mark.integration

MOST = 3
DOCUMENT = {
    "name": "nightly",
    "app": "airport",
    "trigger": {"type": "cron", "schedule": "0 3 * * *"},
    "steps": [{"id": "out", "collect": "done"}],
}


class Court:
    """A judge, the row it goes on with, and what it judges."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings = settings.model_copy(update={"max_recurring_errors": MOST})
        self._storage = storage
        self._judge = Judge(self._settings, storage.automations)
        self._offset = 0
        self.row = Failures()

    async def apply(self, description: str = "") -> LiveAutomation:
        document = parse_automation({**DOCUMENT, "description": description})
        return (await self._storage.automations.save(document, "test")).live

    async def runs(self, *statuses: RunStatus, version: int = 1) -> None:
        """One transaction of runs."""
        self._offset += 1
        self.row = await self._judge.judged(self.row, self._offset, self._delta(statuses, version))

    async def again(self, row: Failures, *statuses: RunStatus) -> None:
        """The last transaction once more, from an earlier row: what a worker does that starts after a death."""
        self.row = await self._judge.judged(row, self._offset, self._delta(statuses, 1))

    async def live(self) -> LiveAutomation:
        found = await self._storage.automations.live("airport/nightly")
        assert found is not None
        return found

    def published(self) -> list[str]:
        topic = AUTOMATIONS.full_name(self._settings.prefix)
        records = read_topic(self._settings.kafka, topic)
        return [LiveAutomation.model_validate_json(each.value or b"").state for each in records]

    def _delta(self, statuses: Sequence[RunStatus], version: int) -> Delta:
        plan = compile_plan(parse_automation(DOCUMENT), version)
        records: list[Any] = [{"status": status, "duration_ms": 1.0} for status in statuses]
        place = Record("jobs", 0, 0, 0, None, None, ())
        (made,) = Summary(self._settings)([Outcome(place, 1, (), tally(plan, each)) for each in records])
        return read_delta(made.value)


@pytest.fixture
def court(topics: Settings, storage: Storage) -> Court:
    return Court(topics, storage)


@pytest.mark.parametrize(
    "transactions",
    [
        [["error"], ["error"], ["error"]],
        [["error", "error", "error"]],
        [["error"], ["timed_out", "dead_lettered"]],
        [["success", "error"], ["error"], ["cancelled"], ["error"]],
        # However runs are cut into transactions: the third failure came before the success.
        [["error"], ["error", "error", "success"]],
        [["success", "error", "error", "error", "success"]],
    ],
)
async def test_failures_in_a_row_stop_it(court: Court, transactions: list[list[RunStatus]]) -> None:
    live = await court.apply()
    for each in transactions:
        await court.runs(*each)
    stopped = await court.live()
    assert (stopped.state, stopped.version, stopped.revision) == ("stopped_error", 1, live.revision + 1)
    assert court.published() == ["stopped_error"]
    assert court.row.in_a_row == 0


@pytest.mark.parametrize(
    "transactions",
    [
        [["error", "error"], ["success"], ["error", "error"]],
        [["error", "error", "success", "error", "error"]],
        [["error", "error"], ["stopped"], ["error"]],
        [["cancelled", "cancelled", "cancelled"]],
        [["error", "error"], ["success", "cancelled"]],
    ],
)
async def test_fewer_in_a_row_do_not(court: Court, transactions: list[list[RunStatus]]) -> None:
    await court.apply()
    for each in transactions:
        await court.runs(*each)
    assert (await court.live()).state == "enabled"
    assert court.published() == []


async def test_a_new_version_starts_at_none_and_failures_of_the_old_one_say_nothing_of_it(court: Court) -> None:
    await court.apply()
    await court.runs("error", "error")
    await court.apply("better")
    await court.runs("error", version=1)
    await court.runs("error", "error", version=2)
    assert (await court.live()).state == "enabled"
    await court.runs("error", version=2)
    stopped = await court.live()
    assert (stopped.state, stopped.version) == ("stopped_error", 2)
    assert "version 2" in stopped.reason


async def test_an_automation_that_is_enabled_again_starts_at_none(court: Court, storage: Storage) -> None:
    live = await court.apply()
    await court.runs("error", "error")
    disabled = await storage.automations.change_state(live, "disabled", "by hand", "ann")
    assert disabled is not None
    assert await storage.automations.change_state(disabled, "enabled", "", "ann") is not None
    await court.runs("error", "error")
    assert (await court.live()).state == "enabled"
    await court.runs("error")
    assert (await court.live()).state == "stopped_error"


async def test_what_a_person_disabled_stays_as_it_is(court: Court, storage: Storage) -> None:
    live = await court.apply()
    await storage.automations.change_state(live, "disabled", "by hand", "ann")
    await court.runs("error", "error", "error")
    found = await court.live()
    assert (found.state, found.by) == ("disabled", "ann")


async def test_runs_of_an_automation_that_is_gone_are_no_mistake(court: Court) -> None:
    await court.runs("error", "error", "error")
    assert court.row == Failures(1, 0, 0)


async def test_a_judge_that_dies_before_its_row_is_written_judges_again_and_publishes_again(court: Court) -> None:
    await court.apply()
    await court.runs("error", "error")
    row = court.row
    await court.runs("error")
    await court.again(row, "error")
    found = await court.live()
    assert found.state == "stopped_error"
    assert court.published() == ["stopped_error", "stopped_error"]
    assert court.row.in_a_row == 0


async def test_a_state_is_changed_by_compare_and_set(court: Court, storage: Storage) -> None:
    old = await court.apply()
    await court.apply("better")
    assert await storage.automations.change_state(old, "disabled", "too late", "ann") is None
    assert (await court.live()).state == "enabled"
