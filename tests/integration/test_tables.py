"""Tables on a real MongoDB: who writes a row that does not fit is told why, whoever it is, and holds up nobody."""

import asyncio
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from conftest import run_headrace
from pymongo import MongoClient
from pymongo.errors import WriteError

from headrace.contracts.cloudevents import Location
from headrace.contracts.tables import Table, parse_table
from headrace.engine import Claim, NewRow, RowEntry, RowRefused, RowUpdate
from headrace.settings import Settings
from headrace.storage import Storage

pytestmark = pytest.mark.integration

NOW = datetime(2013, 1, 1, tzinfo=UTC)


def tickets(**columns: Any) -> Table:
    found = {"subject": {"type": "text", "required": True}, "hours": "number", "state": OPTIONS, "due": "time"}
    return parse_table({"app": "desk", "name": "tickets", "columns": {**found, **columns}})


OPTIONS = {"type": "text", "options": ["open", "closed"]}


def new(row_id: str, **row: Any) -> NewRow:
    return NewRow("desk", "tickets", row_id, row, f"run/{row_id}")


async def refused(storage: Storage, effect: Any) -> str:
    with pytest.raises(RowRefused) as why:
        await storage.rows.apply(effect)
    return str(why.value)


async def test_a_row_that_does_not_fit_is_refused_with_every_column_and_without_its_values(storage: Storage) -> None:
    await storage.tables.save(tickets(), "ann")
    await storage.rows.apply(new("1", subject="s", hours=1.5, state="open", due=NOW))
    await storage.rows.apply(new("2", subject="s", hours=None, state=None))
    told = await refused(storage, new("3", hours="secret", state="lost", due="2013-01-01T00:00:00Z", more=1))
    assert set(told.removeprefix("the row does not fit its table: ").split("; ")) == {
        "column 'subject' must be given",
        "column 'hours': expected number, not text",
        "column 'state': expected one of open, closed",
        "column 'due': expected time, not text",
        "there is no column 'more'",
    }
    told = await refused(storage, RowUpdate("desk", "tickets", "1", {"subject": None, "state": "closed"}))
    assert told == "the row does not fit its table: column 'subject' must be given"
    assert (await storage.rows.get("desk", "tickets", "1") or {})["state"] == "open"
    assert await storage.rows.count("desk", "tickets") == 2


async def test_of_many_steps_in_one_transaction_only_the_one_whose_row_does_not_fit_is_told_so(
    storage: Storage,
) -> None:
    await storage.tables.save(tickets(), "ann")
    for number in range(4):
        await storage.rows.apply(new(f"old-{number}", subject="s"))
    effects: list[Any] = [new(f"{n}", subject=n if n == 5 else "s") for n in range(20)]
    effects += [RowUpdate("desk", "tickets", f"old-{n}", {"hours": "x" if n == 2 else 1}) for n in range(4)]

    def claim(number: int) -> Claim:
        return Claim(f"run-{number}", Location("events", 0, number), Location("jobs", 0, number), 0, 0, f"w/{number}")

    await asyncio.gather(*(storage.heads.claim(claim(number)) for number in range(len(effects))))
    said: RowEntry[Any] = RowEntry(b"", lambda outcome: repr(outcome).encode())
    done = await asyncio.gather(
        *(storage.heads.append_with_row(claim(n), 0, said, effect) for n, effect in enumerate(effects)),
        return_exceptions=True,
    )
    wrong = {number: str(each) for number, each in enumerate(done) if isinstance(each, BaseException)}
    assert wrong == {
        5: "the row does not fit its table: column 'subject': expected text, not number",
        22: "the row does not fit its table: column 'hours': expected number, not text",
    }
    assert await storage.rows.count("desk", "tickets") == 23


async def test_a_table_holds_for_other_programs_too(storage: Storage, settings: Settings) -> None:
    await storage.tables.save(tickets(), "ann")
    client: MongoClient[dict[str, Any]] = MongoClient(settings.mongodb)
    with client, pytest.raises(WriteError, match="failed validation"):
        client[settings.rows_database]["desk.tickets"].insert_one({"_id": "x", "subject": 1})


async def test_a_definition_changes_only_from_the_revision_that_its_author_saw(storage: Storage) -> None:
    first = await storage.tables.save(tickets(), "ann", revision=0)
    assert first is not None
    assert first.revision == 1
    assert await storage.tables.save(tickets(), "bob", revision=0) is None
    second = await storage.tables.save(tickets(more="any"), "bob", revision=1)
    assert second is not None
    assert (second.revision, second.by) == (2, "bob")
    assert await storage.tables.save(tickets(), "ann", revision=1) is None
    assert await storage.tables.get("desk/tickets") == second
    assert [each.table.id for each in await storage.tables.all("desk")] == ["desk/tickets"]
    assert await storage.tables.all("des") == []
    await storage.rows.apply(new("1", subject="s", more=[1]))


async def test_rows_that_do_not_fit_a_new_definition_are_named_stay_and_can_be_changed(storage: Storage) -> None:
    await storage.rows.apply(new("old", hours="ten", subject="s"))
    await storage.rows.apply(new("fits", subject="s"))
    await storage.tables.save(tickets(), "ann")
    assert await storage.tables.misfits("desk/tickets", 10) == ["old"]
    await storage.rows.apply(RowUpdate("desk", "tickets", "old", {"state": "open"}))
    await storage.rows.apply(RowUpdate("desk", "tickets", "old", {"hours": 10}))
    assert await storage.tables.misfits("desk/tickets", 10) == []
    assert "expected number" in await refused(storage, RowUpdate("desk", "tickets", "old", {"hours": "ten"}))


async def test_without_its_definition_a_table_takes_any_row_again(storage: Storage) -> None:
    saved = await storage.tables.save(tickets(), "ann")
    assert saved is not None
    assert not await storage.tables.remove("desk/tickets", "ann", saved.revision + 1)
    assert await storage.tables.remove("desk/tickets", "ann", saved.revision)
    assert not await storage.tables.remove("desk/tickets", "ann")
    assert await storage.tables.get("desk/tickets") is None
    await storage.rows.apply(new("1", whatever=1))
    again = await storage.tables.save(tickets(), "ann", revision=0)
    assert again is not None
    assert again.revision == saved.revision + 2, "the revisions of a table are never given twice"


async def test_a_definition_that_was_saved_and_not_held_to_is_settled(storage: Storage, settings: Settings) -> None:
    """Its saver died between the two."""
    await storage.tables.save(tickets(), "ann")
    client: MongoClient[dict[str, Any]] = MongoClient(settings.mongodb)
    with client:
        tables = client[settings.prefix]["tables"]
        document = tickets(more={"type": "any", "required": True}).model_dump(mode="json", exclude_defaults=True)
        tables.update_one({"_id": "desk/tickets"}, {"$set": {"document": document, "revision": 2}})
    await storage.rows.apply(new("before", subject="s"))
    await storage.tables.settle()
    assert "column 'more' must be given" in await refused(storage, new("after", subject="s"))


async def test_of_many_who_save_at_once_mongodb_holds_to_the_last(storage: Storage) -> None:
    tables = [tickets(**{f"c{n}": {"type": "any", "required": True}}) for n in range(10)]
    saved = await asyncio.gather(*(storage.tables.save(each, "ann") for each in tables))
    assert sorted(each.revision for each in saved if each) == [*range(1, 11)]
    last = await storage.tables.get("desk/tickets")
    assert last is not None
    (needed,) = set(last.table.columns) - set(tickets().columns)
    assert f"column '{needed}' must be given" in await refused(storage, new("x", subject="s"))
    await storage.rows.apply(new("y", subject="s", **{needed: 1}))


async def test_an_app_that_can_have_no_tables_gets_none(storage: Storage) -> None:
    with pytest.raises(RowRefused, match="system"):
        await storage.tables.save(parse_table({"app": "system", "name": "x", "columns": {}}), "ann")


def test_the_commands_of_the_page_do_what_it_says(settings: Settings, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/tables.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    commands = [shlex.split(line) for line in re.findall(r"^    headrace (.*)$", page, re.M)]
    assert [command[1] for command in commands] == ["apply", "list", "show", "remove"]
    file = tmp_path / "tickets.yaml"
    file.write_text(text)

    def done(*arguments: str) -> Any:
        found = run_headrace(settings, *[str(file) if each == file.name else each for each in arguments])
        assert found.returncode == 0, found.stderr
        return found.stdout

    assert "desk/tickets" in done(*commands[0])
    assert orjson.loads(done(*commands[0], "--json"))[0] == {
        "table": "desk/tickets", "revision": 1, "change": "unchanged", "misfits": [],
    }  # fmt: skip
    assert "desk/tickets" in done(*commands[1])
    assert parse_table(yaml.safe_load(done(*commands[2]))) == parse_table(yaml.safe_load(text))
    assert "no longer defined" in done(*commands[3])
    assert orjson.loads(done("tables", "list", "--json")) == []
    actions = [each["action"] for each in orjson.loads(done("audit", "--json"))]
    assert actions == ["undefine", "define"]
    again = run_headrace(settings, *commands[3])
    assert (again.returncode, "there is no table desk/tickets" in again.stderr) == (1, True)
    file.write_text(text.replace("hours: number", "hours: numbr"))
    wrong = run_headrace(settings, "tables", "apply", "-f", str(file))
    assert (wrong.returncode, f"{file}:6:" in wrong.stderr) == (1, True), wrong.stderr
