"""Run heads on a real MongoDB: one owner for a run at any time, and what it writes is written whole or not at all."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClientSession
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from headrace.contracts.cloudevents import Location
from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import Claim, Claimed, OwnershipLost
from headrace.engine.rows import NewRow, RowConflict, RowCreated, RowEntry, RowRefused
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.storage.claims import JournalIncomplete
from headrace.storage.heads import HEAD_OUTLIVES_JOURNAL

pytestmark = pytest.mark.integration

Commit = Callable[[AsyncIOMotorClientSession], Awaitable[None]]

MEGABYTE = 1 << 20


class Database:
    """What is stored, seen from outside."""

    def __init__(self, settings: Settings) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(settings.mongodb, tz_aware=True, tzinfo=UTC)
        self.ours = self.client[settings.prefix]
        self.rows = self.client[settings.rows_database]

    def head(self, run: str) -> dict[str, Any]:
        found = self.ours["run_heads"].find_one({"_id": run})
        assert found is not None
        return found

    def journal(self, run: str) -> list[bytes]:
        found = self.ours["run_journal"].find({"_id": {"$regex": f"^{run}/"}}).sort("_id", 1)
        return [each["entry"] for each in found]


@pytest.fixture
def database(settings: Settings) -> Generator[Database]:
    found = Database(settings)
    yield found
    found.client.close()


@pytest.fixture
async def other(settings: Settings, storage: Storage) -> AsyncGenerator[Storage]:
    """A second worker's."""
    found = Storage(settings)
    yield found
    found.close()


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Commit], Commit]], None]:
    """Puts something around the driver's commit: a server fails where one wants it only with test commands enabled."""

    def put(around: Callable[[Commit], Commit]) -> None:
        genuine = AsyncIOMotorClientSession.commit_transaction
        monkeypatch.setattr(AsyncIOMotorClientSession, "commit_transaction", around(genuine))

    return put


@pytest.fixture
def commits(commit: Callable[[Callable[[Commit], Commit]], None]) -> list[int]:
    """One for each transaction that this process commits; the server's own count has everybody's."""
    counted: list[int] = []

    def count(genuine: Commit) -> Commit:
        async def committed(session: AsyncIOMotorClientSession) -> None:
            counted.append(1)
            await genuine(session)

        return committed

    commit(count)
    return counted


def claim_of(
    run: str, owner: str = "a", *, source: int = 0, job: int = 0, generation: int = 0, segment: int = 0
) -> Claim:
    return Claim(run, Location("events", 0, source), Location("jobs", 1, job), generation, segment, f"{owner}/{run}")


def row_of(run: str, row_id: str, table: str = "tickets", **columns: object) -> NewRow:
    return NewRow("desk", table, row_id, {"text": "hello", **columns}, f"{run}/0/create")


def said(entry: bytes) -> RowEntry[RowCreated]:
    """An entry that says the same whatever becomes of the row."""
    return RowEntry(entry, lambda outcome: b"")


async def all_of(asked: Sequence[Awaitable[object]]) -> list[Any]:
    """What each gave, raised or not."""
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_claims_made_together_all_own_their_new_runs(storage: Storage, database: Database) -> None:
    answers = await asyncio.gather(*(storage.heads.claim(claim_of(f"run-{n}", source=n)) for n in range(1200)))
    assert answers == [Claimed("new")] * 1200
    assert database.ours["run_heads"].count_documents({}) == 1200
    head = database.head("run-7")
    assert len(head.pop("session")) == 16
    assert head == {
        "_id": "run-7",
        "source": ["events", 0, 7],
        "job": ["jobs", 1, 0],
        "generation": 0,
        "segment": 0,
        "owner": "a/run-7",
        "entries": 0,
    }


async def test_duplicates_copies_redeliveries_and_later_segments_are_told_apart_in_one_batch(
    storage: Storage, database: Database
) -> None:
    names = ("duplicate", "earlier", "copy", "redelivered", "later", "redriven", "old", "untouched")
    for name in names:
        await storage.heads.claim(claim_of(name, source=1, job=1, generation=1, segment=1))
        await storage.heads.append(claim_of(name), 0, name.encode())
    asked = {
        "duplicate": claim_of("duplicate", "b", source=2, job=2, generation=1, segment=1),
        "earlier": claim_of("earlier", "b", source=1, job=2, generation=1, segment=0),
        "copy": claim_of("copy", "b", source=1, job=2, generation=1, segment=1),
        "redelivered": claim_of("redelivered", "b", source=1, job=1, generation=1, segment=1),
        "later": claim_of("later", "b", source=1, job=2, generation=1, segment=2),
        "redriven": claim_of("redriven", "b", source=1, job=2, generation=2, segment=0),
        "old": claim_of("old", "b", source=1, job=2, generation=0, segment=5),
        "fresh": claim_of("fresh", "b", source=1, job=2, generation=3, segment=5),
    }
    answers = await asyncio.gather(*(storage.heads.claim(claim) for claim in asked.values()))
    assert dict(zip(asked, answers, strict=True)) == {
        "duplicate": Claimed("duplicate"),
        "earlier": Claimed("stale"),
        "copy": Claimed("stale"),
        "redelivered": Claimed("taken_over", (b"redelivered",)),
        "later": Claimed("advanced", (b"later",)),
        "redriven": Claimed("advanced", (b"redriven",)),
        "old": Claimed("stale"),
        "fresh": Claimed("new"),
    }
    for name in ("duplicate", "earlier", "copy", "old", "untouched"):
        head = database.head(name)
        assert (head["owner"], head["generation"], head["segment"]) == (f"a/{name}", 1, 1)
    for name in ("redelivered", "later", "redriven"):
        head, claim = database.head(name), asked[name]
        assert (head["owner"], head["generation"], head["segment"]) == (claim.owner, claim.generation, claim.segment)
        assert (head["source"], head["job"]) == ([*claim.source], [*claim.job])


async def test_claims_of_one_run_made_at_once_find_each_other_in_their_order(storage: Storage) -> None:
    asked = [
        claim_of("run", "a", job=1),
        claim_of("run", "b", job=2),
        claim_of("run", "c", job=1),
        claim_of("run", "d", source=5),
        claim_of("run", "e", job=3, segment=1),
        claim_of("run", "f", job=1),
    ]
    answers = await asyncio.gather(*(storage.heads.claim(claim) for claim in asked))
    assert [each.standing for each in answers] == ["new", "stale", "taken_over", "duplicate", "advanced", "stale"]


async def test_of_many_workers_that_claim_one_record_the_last_owns(
    storage: Storage, other: Storage, database: Database
) -> None:
    """Each compare-and-set that another one beat is judged again, and none is dropped: Kafka decides who is right."""
    for round in range(10):
        runs = [f"run-{round}-{n}" for n in range(20)]
        asked = [
            worker.heads.claim(claim_of(run, owner))
            for worker, owners in ((storage, "abc"), (other, "xyz"))
            for owner in owners
            for run in runs
        ]
        random.shuffle(asked)
        answers = await asyncio.gather(*asked)
        assert sum(each.standing == "new" for each in answers) == 20
        assert sum(each.standing == "taken_over" for each in answers) == 100
        able = await all_of([storage.heads.append(claim_of(run, o), 0, o.encode()) for o in "abcxyz" for run in runs])
        assert sum(each is None for each in able) == 20
        assert [len(database.journal(run)) for run in runs] == [1] * 20


async def test_of_copies_and_later_segments_claimed_by_two_workers_at_once_one_of_each_owns_and_none_goes_back(
    storage: Storage, other: Storage, database: Database
) -> None:
    for round in range(20):
        runs = [f"run-{round}-{n}" for n in range(20)]
        await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
        asked = [
            (worker, claim_of(run, f"{segment}/{job}", segment=segment, job=10 * segment + job))
            for run in runs
            for segment in (1, 2)
            for job, worker in ((1, storage), (2, other), (3, storage), (4, other))
        ]
        random.shuffle(asked)
        answers = await asyncio.gather(*(worker.heads.claim(claim) for worker, claim in asked))
        owned = [claim for (_, claim), answer in zip(asked, answers, strict=True) if answer.standing == "advanced"]
        assert {answer.standing for answer in answers} == {"advanced", "stale"}
        for run in runs:
            segments = [claim.segment for claim in owned if claim.run_id == run]
            assert sorted(segments) in ([2], [1, 2])
            last = next(claim for claim in owned if claim.run_id == run and claim.segment == 2)
            assert database.head(run)["owner"] == last.owner


async def test_an_owner_that_was_followed_writes_neither_entry_nor_row_and_holds_up_no_neighbour(
    storage: Storage, database: Database
) -> None:
    for run in ("kept", "lost", "lost-with-row", "kept-with-row"):
        await storage.heads.claim(claim_of(run))
    for run in ("lost", "lost-with-row"):
        await storage.heads.claim(claim_of(run, "b"))
    before = database.head("lost")
    answers = await all_of(
        [
            storage.heads.append(claim_of("kept"), 0, b"kept"),
            storage.heads.append(claim_of("lost"), 0, b"lost"),
            storage.heads.append_with_row(claim_of("lost-with-row"), 0, said(b"lost"), row_of("lost-with-row", "1")),
            storage.heads.append_with_row(claim_of("kept-with-row"), 0, said(b"kept"), row_of("kept-with-row", "2")),
            storage.heads.append(claim_of("nobody-claimed-it"), 0, b"lost"),
        ]
    )
    lost = [isinstance(each, OwnershipLost) for each in answers]
    assert lost == [False, True, True, False, True], answers
    assert answers[3].created
    assert database.head("lost") == before
    assert [each["entry"] for each in database.ours["run_journal"].find()] == [b"kept", b"kept"]
    assert [each["_id"] for each in database.rows["desk.tickets"].find()] == ["2"]
    assert await storage.heads.claim(claim_of("lost", "c")) == Claimed("taken_over")


async def test_a_row_and_its_entry_are_written_together_as_the_rows_store_writes_it(
    storage: Storage, database: Database
) -> None:
    await storage.heads.claim(claim_of("run"))
    created = await storage.heads.append_with_row(
        claim_of("run"), 0, said(b"entry"), row_of("run", "1", amount=3, when=None)
    )
    assert created.created
    assert created.row == {"_id": "1", "text": "hello", "amount": 3, "when": None}
    await storage.rows.create("desk", "tickets", "2", {"text": "hello", "amount": 3, "when": None}, "run/0/create")
    ours, theirs = database.rows["desk.tickets"].find().sort("_id", 1)
    assert [*ours.items()][1:] == [*theirs.items()][1:]
    assert database.journal("run") == [b"entry"]
    assert database.head("run")["entries"] == 1


async def test_a_row_that_the_same_step_made_is_answered_as_it_is_and_the_entry_is_written(
    storage: Storage, database: Database
) -> None:
    runs = ["first", "second", "third"]
    for run in runs:
        await storage.heads.claim(claim_of(run))
    await storage.rows.create("desk", "tickets", "2", {"text": "edited since"}, "second/0/create")
    answers = await asyncio.gather(
        *(storage.heads.append_with_row(claim_of(r), 0, said(b"e"), row_of(r, str(n))) for n, r in enumerate(runs, 1))
    )
    assert [each.created for each in answers] == [True, False, True]
    assert answers[1].row == {"_id": "2", "text": "edited since"}
    assert [database.journal(run) for run in runs] == [[b"e"]] * 3
    assert [database.head(run)["entries"] for run in runs] == [1] * 3


async def test_a_row_of_another_step_is_a_conflict_and_then_neither_is_written(
    storage: Storage, database: Database
) -> None:
    runs = ["first", "second", "third"]
    for run in runs:
        await storage.heads.claim(claim_of(run))
    await storage.rows.create("desk", "tickets", "2", {"text": "somebody's"}, "another")
    answers = await all_of(
        [storage.heads.append_with_row(claim_of(r), 0, said(b"e"), row_of(r, str(n))) for n, r in enumerate(runs, 1)]
    )
    assert isinstance(answers[1], RowConflict)
    assert answers[0].created
    assert answers[2].created
    assert [database.journal(run) for run in runs] == [[b"e"], [], [b"e"]]
    assert database.head("second")["entries"] == 0
    await storage.heads.append(claim_of("second"), 0, b"the step failed")
    assert database.journal("second") == [b"the step failed"]


async def test_of_two_runs_that_want_one_row_at_once_one_has_a_conflict(storage: Storage, database: Database) -> None:
    for run in ("first", "second"):
        await storage.heads.claim(claim_of(run))
    answers = await all_of(
        [storage.heads.append_with_row(claim_of(run), 0, said(b"e"), row_of(run, "1")) for run in ("first", "second")]
    )
    assert answers[0].created
    assert isinstance(answers[1], RowConflict)
    assert [database.journal(run) for run in ("first", "second")] == [[b"e"], []]


@pytest.mark.parametrize("fault", ["validator", "nesting to store", "nesting to read"])
async def test_a_row_that_mongodb_refuses_is_refused_alone_and_its_entry_with_it(
    storage: Storage, database: Database, fault: str
) -> None:
    database.rows.create_collection("desk.tickets", validator={"color": {"$ne": "red"}})
    deep: object = 1
    for _ in range(210 if fault == "nesting to read" else 190):  # the server then names the row, or only the command
        deep = {"a": deep}
    bad: dict[str, Any] = {"color": "red"} if fault == "validator" else {"deep": deep}
    runs = [f"run-{n}" for n in range(30)]
    await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
    rows = [row_of(run, run, "tickets", **(bad if n in (3, 17, 18) else {})) for n, run in enumerate(runs)]
    answers = await all_of(
        [storage.heads.append_with_row(claim_of(run), 0, said(b"e"), row) for run, row in zip(runs, rows, strict=True)]
    )
    assert [n for n, each in enumerate(answers) if isinstance(each, RowRefused)] == [3, 17, 18], answers
    assert sum(getattr(each, "created", False) for each in answers) == 27
    assert [n for n, run in enumerate(runs) if not database.journal(run)] == [3, 17, 18]
    assert sum(database.head(run)["entries"] for run in runs) == 27
    assert database.rows["desk.tickets"].count_documents({}) == 27


@pytest.mark.parametrize(
    ("app", "table", "row"),
    [
        ("system", "views", {}),
        ("desk", "a..b", {}),
        ("desk", "a$b", {}),
        ("desk", "t" * 300, {}),
        ("desk", "tickets", {"_origin": "forged"}),
        ("desk", "tickets", {"number": 1 << 64}),
        ("desk", "tickets", {"text": "x" * 4 * MEGABYTE}),
    ],
    ids=["reserved app", "dots", "dollar", "long name", "reserved column", "no BSON", "too large"],
)
async def test_a_row_that_can_never_be_stored_is_refused_and_its_neighbour_is_written(
    storage: Storage, database: Database, app: str, table: str, row: dict[str, object]
) -> None:
    for run in ("bad", "good"):
        await storage.heads.claim(claim_of(run))
    answers = await all_of(
        [
            storage.heads.append_with_row(claim_of("bad"), 0, said(b"e"), NewRow(app, table, "1", row, "origin")),
            storage.heads.append_with_row(claim_of("good"), 0, said(b"e"), row_of("good", "2")),
        ]
    )
    assert isinstance(answers[0], RowRefused)
    assert answers[1].created
    assert [database.journal(run) for run in ("bad", "good")] == [[], [b"e"]]


async def test_a_thousand_runs_at_once_are_all_right_and_take_few_transactions(
    storage: Storage, database: Database, commits: list[int]
) -> None:
    async def work(number: int) -> None:
        run = f"run-{number}"
        claim = claim_of(run, source=number)
        assert await storage.heads.claim(claim) == Claimed("new")
        await storage.heads.append(claim, 0, b"%d-0" % number)
        created = await storage.heads.append_with_row(claim, 1, said(b"%d-1" % number), row_of(run, run, number=number))
        assert created.created
        await storage.heads.append(claim, 2, b"%d-2" % number)

    await asyncio.gather(*(work(number) for number in range(1000)))
    assert len(commits) <= 30  # 3,000 appends
    answers = await asyncio.gather(*(storage.heads.claim(claim_of(f"run-{n}", "b", source=n)) for n in range(1000)))
    for number, answer in enumerate(answers):
        assert answer == Claimed("taken_over", tuple(b"%d-%d" % (number, entry) for entry in range(3)))
    rows = {row["_id"]: row for row in database.rows["desk.tickets"].find()}
    assert len(rows) == 1000
    assert all(rows[f"run-{n}"]["number"] == n for n in range(1000))


async def test_nothing_is_written_by_an_earlier_owner_once_a_take_over_has_returned(
    storage: Storage, other: Storage, database: Database
) -> None:
    async def write(run: str, acknowledged: list[bytes], reached: asyncio.Event, wanted: int) -> None:
        """Writes on and on, as a worker that knows nothing of the take-over."""
        for number in range(10_000):
            if number == wanted:
                reached.set()
            entry = b"%d" % number
            if number % 3:
                await storage.heads.append(claim_of(run), number, entry)
            else:
                row = NewRow("desk", "tickets", f"{run}-{number}", {"number": number}, f"{run}/{number}")
                await storage.heads.append_with_row(claim_of(run), number, said(entry), row)
            acknowledged.append(entry)

    async def take_over(run: str, acknowledged: list[bytes]) -> tuple[tuple[bytes, ...], object]:
        reached = asyncio.Event()
        writer = asyncio.create_task(write(run, acknowledged, reached, random.randrange(5)))
        await reached.wait()
        answer = await other.heads.claim(claim_of(run, "b"))
        assert answer.standing == "taken_over"
        return answer.journal, (await all_of([writer]))[0]

    for round in range(15):
        runs = [f"run-{round}-{n}" for n in range(8)]
        await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
        acknowledged: list[list[bytes]] = [[] for _ in runs]
        ended = await asyncio.gather(*(take_over(run, done) for run, done in zip(runs, acknowledged, strict=True)))
        for run, (journal, end), done in zip(runs, ended, acknowledged, strict=True):
            assert isinstance(end, OwnershipLost), end
            assert journal == tuple(b"%d" % number for number in range(len(journal)))
            assert database.journal(run) == [*journal]
            assert done == [*journal][: len(done)]
            rows = database.rows["desk.tickets"].count_documents({"_id": {"$regex": f"^{run}-"}})
            assert rows == len(range(0, len(journal), 3))


async def test_a_journal_comes_back_in_its_order_however_large_its_entries_are(storage: Storage) -> None:
    claim = claim_of("run")
    await storage.heads.claim(claim)
    entries = [b"%d" % number * (5 * MEGABYTE if number in (3, 4) else 1) for number in range(12)]
    for number, entry in enumerate(entries):
        await storage.heads.append(claim, number, entry)
    assert await storage.heads.claim(claim_of("run", "b")) == Claimed("taken_over", tuple(entries))
    with pytest.raises(ValueError, match="bytes"):
        await storage.heads.append(claim_of("run", "b"), 12, bytes(16 * MEGABYTE))


async def test_large_entries_of_many_runs_go_together_as_far_as_a_transaction_carries(
    storage: Storage, commits: list[int]
) -> None:
    claims = [claim_of(f"run-{number}") for number in range(7)]
    await asyncio.gather(*(storage.heads.claim(claim) for claim in claims))
    await asyncio.gather(*(storage.heads.append(claim, 0, bytes(5 * MEGABYTE)) for claim in claims))
    assert 4 <= len(commits) < 7
    answers = await asyncio.gather(*(storage.heads.claim(replace(claim, owner="b")) for claim in claims))
    assert [len(entry) for answer in answers for entry in answer.journal] == [5 * MEGABYTE] * 7


async def test_entries_of_one_run_asked_for_at_once_are_written_in_their_order(storage: Storage) -> None:
    claim = claim_of("run")
    await storage.heads.claim(claim)
    await asyncio.gather(*(storage.heads.append(claim, number, b"%d" % number) for number in range(10)))
    answer = await storage.heads.claim(claim_of("run", "b"))
    assert answer.journal == tuple(b"%d" % number for number in range(10))


async def test_an_entry_that_an_earlier_try_wrote_counts_as_written_and_another_one_does_not(
    storage: Storage, database: Database
) -> None:
    for run in ("run", "neighbour"):
        await storage.heads.claim(claim_of(run))
    await storage.heads.append_with_row(claim_of("run"), 0, said(b"same"), row_of("run", "1"))
    again, neighbour = await asyncio.gather(
        storage.heads.append_with_row(claim_of("run"), 0, said(b"same"), row_of("run", "1")),
        storage.heads.append_with_row(claim_of("neighbour"), 0, said(b"e"), row_of("neighbour", "2")),
    )
    assert (again.created, neighbour.created) == (False, True)
    assert database.head("run")["entries"] == 1
    with pytest.raises(RuntimeError, match="exists already"):
        await storage.heads.append(claim_of("run"), 0, b"another")
    assert database.journal("run") == [b"same"]


def unknown() -> OperationFailure:
    return OperationFailure("lost", 91, {"errorLabels": ["UnknownTransactionCommitResult"]})


async def test_a_commit_whose_answer_was_lost_is_asked_for_again_and_written_once(
    storage: Storage, database: Database, commit: Callable[[Callable[[Commit], Commit]], None]
) -> None:
    calls: list[int] = []

    def lose_the_first_answer(genuine: Commit) -> Commit:
        async def committed(session: AsyncIOMotorClientSession) -> None:
            calls.append(1)
            await genuine(session)
            if len(calls) == 1:
                raise unknown()

        return committed

    await storage.heads.claim(claim_of("run"))
    commit(lose_the_first_answer)
    created = await storage.heads.append_with_row(claim_of("run"), 0, said(b"e"), row_of("run", "1"))
    assert created.created
    assert len(calls) == 2
    assert database.journal("run") == [b"e"]
    assert database.head("run")["entries"] == 1


async def test_a_worker_that_died_or_hangs_in_a_transaction_holds_up_its_heirs_for_moments_and_writes_nothing(
    storage: Storage,
    other: Storage,
    database: Database,
    commit: Callable[[Callable[[Commit], Commit]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.storage.claims.OPEN_TRANSACTION_S", 0.3)
    reached, woken = asyncio.Event(), asyncio.Event()

    def hang(genuine: Commit) -> Commit:
        async def committed(session: AsyncIOMotorClientSession) -> None:
            reached.set()
            await woken.wait()
            await genuine(session)

        return committed

    runs = [f"run-{number}" for number in range(20)]
    await asyncio.gather(*(storage.heads.claim(claim_of(run)) for run in runs))
    commit(hang)
    appends = [asyncio.create_task(storage.heads.append(claim_of(run), 0, b"late")) for run in runs]
    await reached.wait()
    async with asyncio.timeout(20):  # MongoDB itself ends such a transaction after 60 s to 120 s
        answers = await asyncio.gather(*(other.heads.claim(claim_of(run, "b")) for run in runs[5:]))
    assert answers == [Claimed("taken_over")] * 15
    woken.set()
    ended = await all_of(appends)
    assert ended[:5] == [None] * 5
    assert all(isinstance(each, OwnershipLost) for each in ended[5:]), ended
    assert [len(database.journal(run)) for run in runs] == [1] * 5 + [0] * 15


@pytest.mark.parametrize("written", [True, False])
async def test_a_commit_that_nobody_can_tell_of_is_an_outage_and_the_next_claim_finds_the_truth(
    storage: Storage,
    commit: Callable[[Callable[[Commit], Commit]], None],
    written: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose_all_answers(genuine: Commit) -> Commit:
        async def committed(session: AsyncIOMotorClientSession) -> None:
            if written:
                await genuine(session)
            raise unknown()

        return committed

    claims = [claim_of(f"run-{number}") for number in range(3)]
    await asyncio.gather(*(storage.heads.claim(claim) for claim in claims))
    with monkeypatch.context():
        commit(lose_all_answers)
        answers = await all_of([storage.heads.append(claim, 0, b"e") for claim in claims])
    assert all(isinstance(each, PlatformUnavailable) for each in answers), answers
    monkeypatch.undo()
    again = [replace(claim, owner=f"b/{claim.run_id}") for claim in claims]
    found = await asyncio.gather(*(storage.heads.claim(claim) for claim in again))
    assert found == [Claimed("taken_over", (b"e",) if written else ())] * 3
    await asyncio.gather(*(storage.heads.append(claim, int(written), b"f") for claim in again))


async def test_a_mongodb_that_is_away_is_an_outage_to_everyone_who_asks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.storage.client.SELECTION_TIMEOUT_MS", 200)
    storage = Storage(settings.model_copy(update={"mongodb_uri": SecretStr("mongodb://127.0.0.1:1")}))
    answers = await all_of(
        [
            storage.heads.claim(claim_of("run")),
            storage.heads.append(claim_of("run"), 0, b"e"),
            storage.heads.append_with_row(claim_of("other"), 0, said(b"e"), row_of("other", "1")),
            storage.heads.expire({"run": 0}, datetime.now(UTC)),
            storage.suspects.found(["a"]),
            storage.suspects.mark(["a"]),
            storage.suspects.count("a"),
            storage.suspects.clear(["a"]),
        ]
    )
    storage.close()
    assert all(isinstance(each, PlatformUnavailable) for each in answers), answers


async def test_runs_that_have_ended_expire_and_one_that_goes_on_does_not(storage: Storage, database: Database) -> None:
    at = datetime(2099, 1, 1, tzinfo=UTC)
    for run in ("ended", "redriven", "alive"):
        await storage.heads.claim(claim_of(run))
        await storage.heads.append(claim_of(run), 0, b"0")
        await storage.heads.append(claim_of(run), 1, b"1")
    for _ in range(2):
        await storage.heads.expire({"ended": 0, "redriven": 0, "pure": 0}, at)
    await storage.heads.expire({}, at)
    redriven = await storage.heads.claim(claim_of("redriven", "b", job=1, generation=1))
    assert redriven == Claimed("advanced", (b"0", b"1"))
    assert {
        each["_id"]: each["expires_at"] for each in database.ours["run_heads"].find({"expires_at": {"$gt": at}})
    } == {"ended": at + HEAD_OUTLIVES_JOURNAL}
    expiring = database.ours["run_journal"].find({"expires_at": at})
    assert sorted(each["_id"] for each in expiring) == ["ended/00000000", "ended/00000001"]
    assert database.ours["run_journal"].count_documents({"expires_at": {"$exists": True}}) == 2
    for name in ("run_heads", "run_journal"):
        assert [i["expireAfterSeconds"] for i in database.ours[name].list_indexes() if "expires_at" in i["key"]] == [0]


async def test_a_run_that_was_redriven_does_not_expire_for_its_former_end(storage: Storage, database: Database) -> None:
    """Whoever writes down ends may be late, or do it again."""
    at = datetime(2099, 1, 1, tzinfo=UTC)
    await storage.heads.claim(claim_of("run"))
    await storage.heads.append(claim_of("run"), 0, b"0")
    await storage.heads.claim(claim_of("run", "b", job=1, generation=1))
    await storage.heads.expire({"run": 0}, at)
    assert database.ours["run_heads"].count_documents({"expires_at": {"$exists": True}}) == 0
    assert database.ours["run_journal"].count_documents({"expires_at": {"$exists": True}}) == 0
    await storage.heads.expire({"run": 1}, at)
    assert database.ours["run_journal"].count_documents({"expires_at": at}) == 1


async def test_a_run_that_has_ended_expires_also_where_who_does_not_know_claims_it_again(
    storage: Storage, database: Database
) -> None:
    at = datetime(2099, 1, 1, tzinfo=UTC)
    await storage.heads.claim(claim_of("run"))
    await storage.heads.append(claim_of("run"), 0, b"0")
    await storage.heads.expire({"run": 0}, at)
    assert await storage.heads.claim(claim_of("run", "b")) == Claimed("taken_over", (b"0",))
    assert database.ours["run_heads"].count_documents({"expires_at": at + HEAD_OUTLIVES_JOURNAL}) == 1
    assert database.ours["run_journal"].count_documents({"expires_at": at}) == 1


async def test_a_run_whose_journal_has_gone_is_not_begun_anew(storage: Storage, database: Database) -> None:
    for run in ("run", "neighbour"):
        await storage.heads.claim(claim_of(run))
        await storage.heads.append(claim_of(run), 0, b"0")
        await storage.heads.append(claim_of(run), 1, b"1")
    database.ours["run_journal"].delete_one({"_id": "run/00000000"})
    answers = await all_of([storage.heads.claim(claim_of(run, "b")) for run in ("run", "neighbour")])
    assert isinstance(answers[0], JournalIncomplete)
    assert answers[1] == Claimed("taken_over", (b"0", b"1"))


async def test_a_caller_who_gives_up_holds_up_nobody(storage: Storage, database: Database) -> None:
    claims = [claim_of(f"run-{number}") for number in range(20)]
    asked = [asyncio.create_task(storage.heads.claim(claim)) for claim in claims]
    await asyncio.sleep(0)
    asked[3].cancel()
    answers = await all_of(asked)
    assert isinstance(answers[3], asyncio.CancelledError)
    assert [each for n, each in enumerate(answers) if n != 3] == [Claimed("new")] * 19
    appends = [asyncio.create_task(storage.heads.append(claim, 0, b"e")) for claim in claims if claim != claims[3]]
    await asyncio.sleep(0)
    appends[5].cancel()
    assert sum(each is None for each in await all_of(appends)) == 18


async def test_a_claim_with_numbers_that_cannot_be_stored_is_no_outage(storage: Storage) -> None:
    answers = await all_of(
        [storage.heads.claim(claim_of("bad", generation=1 << 63)), storage.heads.claim(claim_of("good"))]
    )
    assert isinstance(answers[0], ValueError)
    assert answers[1] == Claimed("new")


async def test_suspects_are_marked_counted_and_cleared(storage: Storage, database: Database) -> None:
    suspects = storage.suspects
    assert await suspects.found(["a", "b"]) == {}
    await suspects.mark(["a", "b", "a"])
    assert await suspects.found(["a", "b", "c"]) == {"a": 0, "b": 0}
    assert [await suspects.count("a"), await suspects.count("a"), await suspects.count("c")] == [1, 2, 1]
    await suspects.mark(["a", "b", "d"])
    assert await suspects.found(["a", "b", "c", "d"]) == {"a": 2, "b": 0, "c": 1, "d": 0}
    await suspects.clear(["a", "d", "never marked"])
    assert await suspects.found(["a", "b", "c", "d"]) == {"b": 0, "c": 1}
    for empty in (suspects.mark, suspects.found, suspects.clear):
        await empty([])
    age = datetime.now(UTC) - database.ours["suspects"].find_one({"_id": "b"})["at"]  # type: ignore[index]
    assert age < timedelta(minutes=5)
    expiry = [
        each.get("expireAfterSeconds") for each in database.ours["suspects"].list_indexes() if "at" in each["key"]
    ]
    assert expiry == [7 * 86_400]


async def test_deaths_counted_at_once_are_all_counted(storage: Storage, other: Storage) -> None:
    counted = await asyncio.gather(*((storage, other)[n % 2].suspects.count("a") for n in range(40)))
    assert sorted(counted) == list(range(1, 41))
