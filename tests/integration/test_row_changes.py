"""Rows changed by steps on a real MongoDB: each change once, with its journal entry, however many want one row."""

import asyncio
import random
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import MongoClient

from headrace.contracts.automation import parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.engine import (
    AioHttpTransport,
    Claim,
    Journal,
    NewRow,
    Orchestrator,
    Outcome,
    OwnershipLost,
    PlatformUnavailable,
    Ports,
    RowDelete,
    RowDeleted,
    RowEntry,
    RowMissing,
    RowRefused,
    RowUpdate,
    RowUpdated,
    Started,
    compile_plan,
)
from headrace.settings import Settings
from headrace.storage import Storage

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)


class Database:
    """What is stored, seen from outside."""

    def __init__(self, settings: Settings) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(settings.mongodb, tz_aware=True, tzinfo=UTC)
        self.tickets = self.client[settings.rows_database]["desk.tickets"]
        self._ours = self.client[settings.prefix]

    def row(self, row_id: str) -> dict[str, Any] | None:
        return self.tickets.find_one({"_id": row_id})

    def journal(self, run: str) -> list[bytes]:
        return [
            each["entry"] for each in self._ours["run_journal"].find({"_id": {"$regex": f"^{run}/"}}).sort("_id", 1)
        ]

    def entries_counted(self, run: str) -> int:
        head = self._ours["run_heads"].find_one({"_id": run})
        assert head is not None
        return int(head["entries"])


@pytest.fixture
def database(settings: Settings) -> Generator[Database]:
    found = Database(settings)
    yield found
    found.client.close()


@pytest.fixture
async def workers(settings: Settings, storage: Storage) -> AsyncGenerator[list[Storage]]:
    """Four workers, each with transactions of its own."""
    found = [storage, *(Storage(settings) for _ in range(3))]
    yield found
    for each in found[1:]:
        each.close()


def claim_of(run: str, owner: str = "a") -> Claim:
    return Claim(run, Location("events", 0, 0), Location("jobs", 1, 0), 0, 0, f"{owner}/{run}")


def update(row_id: str, **columns: object) -> RowUpdate:
    return RowUpdate("desk", "tickets", row_id, columns)


def delete(row_id: str) -> RowDelete:
    return RowDelete("desk", "tickets", row_id)


def saying(outcome: object) -> bytes:
    """What became of the row, for the entry."""
    return repr(outcome).encode()


def entry(beginning: bytes = b"") -> RowEntry[Any]:
    return RowEntry(beginning, saying)


async def all_of(asked: Any) -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


async def make(storage: Storage, row_id: str, **columns: object) -> None:
    await storage.rows.create("desk", "tickets", row_id, columns, "somebody")


async def test_an_update_leaves_absent_columns_clears_by_null_and_its_entry_says_how_the_row_stands(
    storage: Storage, database: Database
) -> None:
    await make(storage, "1", state="open", who="ann", n=1)
    await storage.heads.claim(claim_of("run"))
    done = await storage.heads.append_with_row(claim_of("run"), 0, entry(b"then "), update("1", who=None, n=2))
    assert done == RowUpdated({"_id": "1", "state": "open", "n": 2})
    assert database.row("1") == {"_id": "1", "_origin": "somebody", "state": "open", "n": 2}
    assert database.journal("run") == [b"then " + saying(done)]


async def test_what_cannot_be_updated_changes_nothing_and_holds_up_no_neighbour(
    storage: Storage, database: Database
) -> None:
    for number in range(4):
        await make(storage, f"{number}", n=0, large="x" * (2 << 20) if number == 2 else "")
    effects = [update("0", n=1), update("none", n=1), update("2", more="y" * (2 << 20)), update("3", n=1)]
    runs = [f"run-{number}" for number in range(4)]
    for run in runs:
        await storage.heads.claim(claim_of(run))
    asked = zip(runs, effects, strict=True)
    answers = await all_of(storage.heads.append_with_row(claim_of(run), 0, entry(), each) for run, each in asked)
    assert [type(each) for each in answers] == [RowUpdated, RowMissing, RowRefused, RowUpdated]
    assert [len(database.journal(run)) for run in runs] == [1, 0, 0, 1]
    assert [database.entries_counted(run) for run in runs] == [1, 0, 0, 1]
    assert "more" not in (database.row("2") or {})
    assert database.row("none") is None


async def test_deleting_says_whether_there_was_a_row_and_of_many_deletes_one_found_it(
    storage: Storage, database: Database
) -> None:
    await make(storage, "1")
    runs = [f"run-{number}" for number in range(10)]
    await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
    answers = await all_of(storage.heads.append_with_row(claim_of(run), 0, entry(), delete("1")) for run in runs)
    assert sorted(each.deleted for each in answers) == [False] * 9 + [True]
    assert database.row("1") is None
    said = [database.journal(run) for run in runs]
    assert said == [[saying(each)] for each in answers]


async def test_a_hot_row_gets_every_update_once_and_each_entry_says_how_it_then_stood(
    workers: list[Storage], database: Database
) -> None:
    """Four workers, a column for each run: an update that is lost lacks its column."""
    await make(workers[0], "hot", total=0)
    runs = [f"run-{number}" for number in range(100)]
    await asyncio.gather(*(workers[0].heads.claim(claim_of(run)) for run in runs))
    seen: dict[str, int] = {}

    async def work(number: int, run: str) -> None:
        storage = workers[number % 4]
        effect = update("hot", last=run, **{f"c{number}": number})
        done = await storage.heads.append_with_row(claim_of(run), 0, entry(), effect)
        assert done.row["last"] == run
        seen[run] = sum(1 for name in done.row if name.startswith("c"))

    await asyncio.gather(*(work(number, run) for number, run in enumerate(runs)))
    row = database.row("hot") or {}
    assert [row.get(f"c{number}") for number in range(100)] == [*range(100)]
    # Each was the n-th for one n: none was done twice, none was computed on a row that another had changed since.
    assert sorted(seen.values()) == [*range(1, 101)]
    assert seen[row["last"]] == 100
    assert [len(database.journal(run)) for run in runs] == [1] * 100


async def test_a_row_that_others_keep_changing_does_not_hold_up_those_who_have_nothing_to_do_with_it(
    workers: list[Storage], database: Database
) -> None:
    """Another transaction holds the row until it is told to let go."""
    storage = workers[0]
    await make(storage, "held", n=0)
    runs = [f"run-{number}" for number in range(20)]
    await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
    with database.client.start_session() as session:
        session.start_transaction()
        database.tickets.update_one({"_id": "held"}, {"$set": {"n": 1}}, session=session)
        stuck = asyncio.create_task(storage.heads.append_with_row(claim_of("run-0"), 0, entry(), update("held", n=2)))
        others = [
            storage.heads.append_with_row(
                claim_of(run), 0, entry(), NewRow("desk", "tickets", run, {"n": 1}, f"{run}/create")
            )
            for run in runs[1:]
        ]
        assert all(done.created for done in await asyncio.gather(*others))
        assert not stuck.done()
        session.commit_transaction()
    await stuck
    assert (database.row("held") or {})["n"] == 2


async def test_rows_too_large_for_one_transaction_go_in_several(
    storage: Storage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.storage.journal.MOST_BYTES", 5 << 20)
    runs = [f"run-{number}" for number in range(9)]
    for number, run in enumerate(runs):
        await make(storage, run if number % 2 else "same", text="x" * (1 << 20))
        await storage.heads.claim(claim_of(run))
        if number == 0:
            break
    for number, run in enumerate(runs[1:], 1):
        if number % 2:
            await make(storage, run, text="x" * (1 << 20))
        await storage.heads.claim(claim_of(run))
    asked = ((run, run if number % 2 else "same") for number, run in enumerate(runs))
    done = await asyncio.gather(
        *(storage.heads.append_with_row(claim_of(r), 0, entry(), update(i, **{f"c{r[-1]}": 1})) for r, i in asked)
    )
    assert all(len(each.row["text"]) == 1 << 20 for each in done)
    row = database.row("same") or {}
    assert [name for name in sorted(row) if name.startswith("c")] == ["c0", "c2", "c4", "c6", "c8"]


async def test_an_owner_that_was_followed_neither_updates_nor_deletes(storage: Storage, database: Database) -> None:
    await make(storage, "1", n=0)
    for run in ("updating", "deleting"):
        await storage.heads.claim(claim_of(run))
        await storage.heads.claim(claim_of(run, "b"))
    answers = await all_of(
        [
            storage.heads.append_with_row(claim_of("updating"), 0, entry(), update("1", n=1)),
            storage.heads.append_with_row(claim_of("deleting"), 0, entry(), delete("1")),
        ]
    )
    assert [type(each) for each in answers] == [OwnershipLost] * 2
    assert (database.row("1") or {})["n"] == 0
    assert database.journal("updating") == database.journal("deleting") == []


@pytest.mark.parametrize("name", ["a.b", "a$b", "a.$b", "0"])
async def test_names_of_columns_are_names_and_never_paths_or_operators(
    storage: Storage, database: Database, name: str
) -> None:
    await make(storage, "1", a={"b": "untouched"})
    await storage.heads.claim(claim_of("run"))
    await storage.heads.append_with_row(claim_of("run"), 0, entry(), update("1", **{name: {"$set": {"a": 1}}}))
    assert database.row("1") == {"_id": "1", "_origin": "somebody", "a": {"b": "untouched"}, name: {"$set": {"a": 1}}}
    await storage.rows.apply(update("1", **{name: None}))
    assert database.row("1") == {"_id": "1", "_origin": "somebody", "a": {"b": "untouched"}}


async def test_without_a_journal_rows_change_in_the_same_way(storage: Storage, database: Database) -> None:
    await make(storage, "1", a=1, b=2)
    assert await storage.rows.apply(update("1", a=None, c=3)) == RowUpdated({"_id": "1", "b": 2, "c": 3})
    await asyncio.gather(*(storage.rows.apply(update("1", **{f"c{n}": n})) for n in range(20)))
    assert len(database.row("1") or {}) == 24
    assert await storage.rows.apply(delete("1")) == RowDeleted(deleted=True)
    assert await storage.rows.apply(delete("1")) == RowDeleted(deleted=False)
    with pytest.raises(RowMissing):
        await storage.rows.apply(update("1", a=1))
    assert await storage.rows.get("desk", "tickets", "1") is None


async def test_a_row_that_validation_forbids_is_refused_alone(storage: Storage, database: Database) -> None:
    database.tickets.database.create_collection("desk.tickets", validator={"color": {"$ne": "red"}})
    runs = [f"run-{number}" for number in range(9)]
    for run in runs:
        await make(storage, run, color="blue")
        await storage.heads.claim(claim_of(run))
    effects = [update(run, color="red" if number in (2, 7) else "green") for number, run in enumerate(runs)]
    asked = zip(runs, effects, strict=True)
    answers = await all_of(storage.heads.append_with_row(claim_of(run), 0, entry(), each) for run, each in asked)
    assert [n for n, each in enumerate(answers) if isinstance(each, RowRefused)] == [2, 7]
    assert [n for n, run in enumerate(runs) if not database.journal(run)] == [2, 7]
    assert database.tickets.count_documents({"color": "green"}) == 7


# Whole runs, cut off at any of their calls.

ROW: dict[str, Any] = {"table": "tickets", "id": "{{ trigger.id }}"}
ANNS = {"all": [{"field": "who", "op": "eq", "value": "ann"}]}
STEPS: list[dict[str, Any]] = [
    {"id": "make", "use": "row.create", "with": {**ROW, "row": {"n": 1}}},
    {"id": "before", "use": "row.get", "with": ROW},
    {"id": "more", "use": "row.update", "with": {**ROW, "row": {"n": "{{ steps.before.row.n + 1 }}", "who": "ann"}}},
    {"id": "list", "use": "row.query", "with": {"table": "tickets", "filter": ANNS}},
    {"id": "again", "use": "row.update", "with": {**ROW, "row": {"n": "{{ steps.more.row.n + 1 }}", "who": None}}},
    {"id": "gone", "use": "row.update", "with": {"table": "tickets", "id": "nobody", "row": {"n": 1}}},
    {"id": "drop", "use": "row.delete", "with": {"table": "tickets", "id": "{{ trigger.old }}"}},
    {"id": "out", "collect": "{{ [steps.again.row, steps.list.count, steps.drop.deleted] }}"},
]


def job_of(number: int) -> Job:
    return Job.model_validate(
        {"format": 1, "run_id": f"run-{number:02}", "app": "desk", "automation": "a", "version": 1, "generation": 0,
         "segment": 0, "attempt": 1, "key": "k", "priority": "normal",
         "trigger": {"id": f"t{number}", "old": f"old{number}"},
         "cause": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": number, "time": AT}}
    )  # fmt: skip


PLAN = compile_plan(
    parse_automation({"name": "a", "app": "desk", "trigger": {"type": "event", "event": "*"}, "steps": STEPS}), 1
)


async def execute(storage: Storage, job: Job, owner: str) -> Outcome:
    claim = Claim(job.run_id, Location("e", 0, job.cause.offset), Location("jobs", 0, 9), 0, 0, owner)
    claimed = await storage.heads.claim(claim)
    ports = Ports(rows=storage.rows, http=AioHttpTransport())
    journal = Journal(storage.heads, claim, claimed.journal)
    return await Orchestrator(ports).execute(PLAN, Started(job, Location("jobs", 0, 9), AT), journal)


def shape(outcome: Outcome) -> Any:
    return [(step["id"], step["status"], step.get("outputs"), step.get("error")) for step in outcome.record["steps"]]


async def test_a_run_replayed_sees_the_rows_that_it_first_saw(storage: Storage) -> None:
    await make(storage, "old0")
    first = await execute(storage, job_of(0), "a")
    await storage.rows.apply(update("t0", n=1000))
    again = await execute(storage, job_of(0), "b")
    assert shape(again) == shape(first)
    assert first.record.get("collected") == [{"_id": "t0", "n": 3}, 1, True]
    assert [step["status"] for step in first.record["steps"]] == ["success"] * 5 + ["error", "success", "success"]
    assert first.record["steps"][5].get("error", {}).get("type") == "row_not_found"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_runs_killed_around_any_commit_do_everything_once(
    storage: Storage, database: Database, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the commits end their worker, with the transaction written or not; the job is then delivered again."""
    genuine = AsyncIOMotorClientSession.commit_transaction
    dice = random.Random(7)

    async def deadly(session: AsyncIOMotorClientSession) -> None:
        dies = dice.random() < 0.5
        if after or not dies:
            await genuine(session)
        if dies:
            raise PlatformUnavailable("died")

    for number in range(12):
        await make(storage, f"old{number}")
    monkeypatch.setattr(AsyncIOMotorClientSession, "commit_transaction", deadly)

    async def until_done(number: int) -> Outcome:
        for attempt in range(100):
            try:
                return await execute(storage, job_of(number), f"w{number}/{attempt}")
            except PlatformUnavailable:
                pass
        raise AssertionError("it never came to its end")

    outcomes = await asyncio.gather(*(until_done(number) for number in range(12)))
    for number, outcome in enumerate(outcomes):
        row, listed, deleted = outcome.record.get("collected")  # type: ignore[misc]
        assert row == {"_id": f"t{number}", "n": 3}
        assert 1 <= listed <= 12
        assert deleted
        stored = database.row(f"t{number}") or {}
        assert (stored["n"], "who" in stored) == (3, False)
        assert database.row(f"old{number}") is None
        assert shape(outcome)[0][2]["created"] is True
        keys = [item["key"] for each in database.journal(f"run-{number:02}") for item in orjson.loads(each)["items"]]
        assert len(keys) == len(set(keys))
