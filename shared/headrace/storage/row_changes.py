"""Rows updated and deleted inside a transaction: read, changed and written there, so that no change is lost."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from bson import encode
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import DeleteOne, ReplaceOne

from headrace.engine.rows import RowDelete, RowDeleted, RowMissing, RowRefused, RowUpdate, RowUpdated
from headrace.storage import row_documents as rows
from headrace.storage.appends import Change
from headrace.storage.driver import Database, Document

Session = AsyncIOMotorClientSession
Write = ReplaceOne[Document] | DeleteOne


IsMeant = Callable[[Mapping[str, object]], bool]
"""Whether a row, as its app sees it, is the one that its changer has seen."""


def anything(row: Mapping[str, object]) -> bool:
    """Whatever the row is, it is meant."""
    return True


class RowNotMeant(Exception):
    """The row is no longer as its changer saw it."""


class SomeEnded(Exception):
    """Some of the group were refused and ended: what they took part in must be done again without them."""


class TooMuch(Exception):
    """The rows that the group reads and the entries it writes are more than one transaction should carry."""


async def make_changes(
    database: Database, table: str, group: Sequence[Change], session: Session, most_bytes: float
) -> tuple[list[Write], list[Change]]:
    """The writes that do the changes in their order, and the change that each is of; tells each what becomes of it.

    The transaction has one snapshot: a row changed by others since it was read makes the writes conflict. Raises
    SomeEnded, TooMuch.
    """
    found = await _read(database, table, group, session, most_bytes)
    writes: list[tuple[Write, Change]] = []
    size, ended = 0, False
    for change in group:
        try:
            write = _make(change, found)
        except RowRefused as refused:
            change.end(refused)
            ended = True
            continue
        except ValueError:
            change.end(RowRefused("the row, written as JSON, is too large for the run's journal"))
            ended = True
            continue
        if write is not None:
            writes.append((write, change))
        size += len(change.entry)
        if size > most_bytes:
            raise TooMuch
    if ended:
        raise SomeEnded
    return [write for write, _ in writes], [change for _, change in writes]


async def change_one(
    database: Database, effect: RowUpdate | RowDelete, session: Session, is_meant: IsMeant
) -> RowUpdated | RowDeleted:
    """Does one change in a transaction under way; raises RowMissing, RowRefused, and RowNotMeant where the row that is
    there is not the one that `is_meant` says."""
    collection = rows.collection(database, rows.collection_name(effect.app, effect.table))
    key = {"_id": effect.row_id}
    row = await collection.find_one(key, session=session)
    if row is not None and not is_meant(rows.seen(row)):
        raise RowNotMeant
    outcome, after = _changed(effect, row)
    if after is not None:
        await collection.replace_one(key, after, session=session)
    elif row is not None:
        await collection.delete_one(key, session=session)
    return outcome


def _make(change: Change, found: dict[str, Document]) -> Write | None:
    """The change's write; None where there is nothing to do. `found` is then as after it."""
    row_id = change.effect.row_id
    before = found.get(row_id)
    outcome, after = _changed(change.effect, before)
    change.became(outcome)
    if after is not None:
        found[row_id] = after
        # MongoDB would make no change of it either, and the row's next change would have this one's author.
        is_same = before is not None and encode(before) == encode(after)
        return None if is_same else ReplaceOne({"_id": row_id}, after)
    found.pop(row_id, None)
    return None if before is None else DeleteOne({"_id": row_id})


def _changed(effect: RowUpdate | RowDelete, row: Document | None) -> tuple[RowUpdated | RowDeleted, Document | None]:
    """What becomes of the row, and the row after it; raises RowMissing, RowRefused."""
    if isinstance(effect, RowDelete):
        return RowDeleted(row is not None), None
    if row is None:
        raise RowMissing("there is no row of this id")
    after = {**row, **effect.columns}
    for column, value in effect.columns.items():
        if value is None:
            del after[column]
    rows.checked_size(after)
    return RowUpdated(rows.seen(after)), after


async def _read(
    database: Database, table: str, group: Sequence[Change], session: Session, most_bytes: float
) -> dict[str, Document]:
    ids = {change.effect.row_id for change in group}
    found: dict[str, Document] = {}
    size = 0
    async for each in rows.raw_collection(database, table).find({"_id": {"$in": [*ids]}}, session=session):
        row = cast(RawBSONDocument, each)
        size += len(row.raw)
        if size > most_bytes and len(group) > 1:
            raise TooMuch
        decoded = rows.decoded(row)
        found[decoded["_id"]] = decoded
    return found
