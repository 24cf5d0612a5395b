"""What a run came to in its earlier generations stays known."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from conftest import until
from pymongo import MongoClient

from headrace.contracts.runs import RunRecord, RunStatus
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.storage.precedence import order, supersedes
from headrace.storage.runs import HISTORY_FIELDS, MOST_HISTORY

pytestmark = pytest.mark.integration

AT = datetime.now(UTC).replace(microsecond=0)
"""Not long ago: what is older than its retention may go at any time."""


def record(run: str, generation: int, sequence: int = 1, status: RunStatus = "dead_lettered", **more: Any) -> RunRecord:
    found: dict[str, Any] = {
        "format": 1, "run_id": run, "app": "shop", "automation": "a", "version": 1 + generation, "status": status,
        "generation": generation, "sequence": sequence, "attempt": 1, "key": "k", "steps": [],
        "error": None if status == "success" else {"type": "t", "message": f"{generation}", "retryable": True},
        "event": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT},
        "job": {"topic": "j", "partition": 0, "offset": 0}, "event_time": AT,
        "started_at": AT, "finished_at": AT + timedelta(seconds=generation), "duration_ms": 1.0, **more,
    }  # fmt: skip
    return found  # pyright: ignore[reportReturnType]


def came_to(stored: RunRecord) -> dict[str, object]:
    return {name: stored[name] for name in HISTORY_FIELDS}


async def stored(storage: Storage, run: str) -> dict[str, Any]:
    found = await storage.runs.get(run)
    assert found is not None
    return found


async def test_a_run_that_succeeds_at_last_tells_what_it_came_to_before(storage: Storage) -> None:
    records = [record("r", 0), record("r", 1), record("r", 2, status="success")]
    for each in records:
        await storage.runs.apply([each], AT)
    found = await stored(storage, "r")
    assert (found["status"], found["generation"], found["version"]) == ("success", 2, 3)
    assert found["history"] == [came_to(each) for each in records[:2]]
    again = await storage.runs.apply(records, AT)
    assert (again.collapsed, await stored(storage, "r")) == (3, found)


async def test_a_batch_of_several_generations_leaves_the_same_history_as_one_by_one(storage: Storage) -> None:
    records = [record("r", 0, 0, "running"), record("r", 0), record("r", 1, 2, "running"), record("r", 1, 3)]
    await storage.runs.apply([*records, record("r", 2, status="success")], AT)
    assert (await stored(storage, "r"))["history"] == [came_to(records[1]), came_to(records[3])]


async def test_in_any_batches_records_leave_what_they_leave_one_by_one(storage: Storage) -> None:
    chance = Random(7)
    statuses: tuple[RunStatus, ...] = ("running", "retrying", "dead_lettered", "success")
    for number in range(60):
        run, model, history = f"r{number}", None, []
        records = [
            record(run, chance.randrange(3), chance.randrange(4), chance.choice(statuses))
            for _ in range(chance.randrange(1, 9))
        ]
        for each in records:
            if model is None:
                model = each
            elif supersedes(each, model):
                history += [came_to(model)] if each["generation"] > model["generation"] else []
                model = each
        left = records
        while left:
            size = chance.randrange(1, 5)
            await storage.runs.apply(left[:size], AT)
            left = left[size:]
        found = await stored(storage, run)
        assert model is not None
        assert (order(model), model["status"]) == ((found["generation"], found["sequence"]), found["status"]), records
        assert found.get("history", []) == history, records


async def test_what_is_not_at_its_end_is_kept_however_long_that_is_and_what_is_goes_after_its_retention(
    settings: Settings,
) -> None:
    with MongoClient[dict[str, Any]](settings.mongodb) as client:
        runs = client[settings.prefix]["runs"]
        runs.create_index("recorded_at", expireAfterSeconds=30 * 86_400)  # as an earlier version left it
        storage = Storage(settings.model_copy(update={"runs_retention_days": 20}))
        await storage.prepare()
        storage.close()
        settings = settings.model_copy(update={"runs_retention_days": 10})
        storage = Storage(settings)
        await storage.prepare()
        await storage.prepare()
        (expiry,) = [each for each in runs.list_indexes() if "expireAfterSeconds" in each]
        assert expiry["expireAfterSeconds"] == 10 * 86_400
        before = client.admin.command("setParameter", 1, ttlMonitorSleepSecs=1)["was"]
        try:
            long_ago = datetime.now(UTC) - timedelta(days=11)
            resting: tuple[RunStatus, ...] = ("waiting", "retrying", "running")
            await storage.runs.apply([record(each, 0, status=each) for each in (*resting, "success")], long_ago)
            await storage.runs.apply([record("lately", 0, status="success")], datetime.now(UTC))
            until(lambda: runs.count_documents({"_id": "success"}) == 0, "the end of the run that has ended")
            assert {each["_id"] for each in runs.find()} == {*resting, "lately"}
        finally:
            client.admin.command("setParameter", 1, ttlMonitorSleepSecs=before)
            storage.close()


async def test_history_is_bounded_to_the_newest(storage: Storage) -> None:
    last = MOST_HISTORY + 5
    await storage.runs.apply([record("r", generation) for generation in range(last + 1)], AT)
    kept = [each["generation"] for each in (await stored(storage, "r"))["history"]]
    assert kept == [*range(last - MOST_HISTORY, last)]


async def test_whatever_a_record_holds_its_later_generation_holds_too(storage: Storage) -> None:
    deep: Any = "deep"
    for _ in range(60):
        deep = [deep]
    odd = {"$expr": {"$gt": ["$a", 1]}, "a.b": 1, "": 2, "$": "$$NOW", "text": "$status", "deep": deep}
    for generation in range(2):
        result = {"id": "s", "outputs": odd, "started_at": AT}
        applied = await storage.runs.apply([record("r", generation, steps=[result], collected=odd)], AT)
        assert applied.refused == ()
    found = await stored(storage, "r")
    assert found["generation"] == 1
    assert (found["collected"], found["steps"][0]["outputs"]) == (odd, odd)


async def test_a_record_that_cannot_be_stored_costs_no_other_of_its_generation(storage: Storage) -> None:
    await storage.runs.apply([record(run, 0) for run in "abc"], AT)
    too_large = record("b", 1, collected="x" * (17 << 20))
    applied = await storage.runs.apply([record("a", 1), too_large, record("c", 1, status="success")], AT)
    assert [index for index, _ in applied.refused] == [1]
    assert [(await stored(storage, run))["generation"] for run in "abc"] == [1, 0, 1]
