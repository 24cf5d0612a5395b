"""The apps' rows outside of a run's journal: created once per step, in bulk with their neighbours; changed; read."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from headrace.engine.errors import PlatformUnavailable
from headrace.engine.rows import (
    NewRow,
    OutcomeT,
    RowConflict,
    RowCreated,
    RowDelete,
    RowEffect,
    RowPage,
    RowQuery,
    RowUpdate,
)
from headrace.storage import row_queries
from headrace.storage.driver import (
    BAD_DOCUMENT_CODES,
    NAMESPACE_EXISTS,
    Collection,
    Database,
    Document,
    reaching_mongodb,
    write_faults,
)
from headrace.storage.row_changes import IsMeant, anything, change_one
from headrace.storage.row_documents import ORIGIN, checked, collection, collection_name, public, seen
from headrace.storage.row_refusals import refusal
from headrace.storage.tables import make_table

MOST_ROWS = 1_000
"""In one write: past this a write's fixed cost no longer shows."""

MOST_BYTES = 16 << 20
"""In one write: keeps memory flat under large rows, and a third of the 48 MB that MongoDB takes in one message."""


@dataclass(slots=True)
class _Waiting:
    document: Document
    size: int
    done: asyncio.Future[RowCreated]

    def end(self, outcome: RowCreated | Exception) -> None:
        """The first outcome counts; a caller that was cancelled gets none."""
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class MongoRowStore:
    """Rows to be created that are asked for while a write is under way go together in the next one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[_Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._made: set[str] = set()
        """Collections known to exist."""

    async def create(self, app: str, table: str, row_id: str, row: Mapping[str, object], origin: str) -> RowCreated:
        """Creates a row once per `origin`; see NewRow. Cancelling the caller does not take it back.

        After PlatformUnavailable the row may be there or not; the same call again is safe.
        """
        name = collection_name(app, table)
        document, size = checked(row_id, row, origin)
        waiting = _Waiting(document, size, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(name, []).append(waiting)
        if name not in self._writers:
            self._writers[name] = asyncio.create_task(self._write_all(name))
        return await waiting.done

    async def apply(self, effect: RowEffect[OutcomeT]) -> OutcomeT:
        """Does an effect by itself; see the engine's port."""
        return cast(OutcomeT, await self._apply(effect))

    async def _apply(self, effect: RowEffect[object]) -> object:
        match effect:
            case NewRow():
                return await self.create(effect.app, effect.table, effect.row_id, effect.row, effect.origin)
            case RowUpdate() | RowDelete():
                return await self._change(effect, anything)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect on a row")

    async def change(self, effect: RowEffect[OutcomeT], is_meant: IsMeant) -> OutcomeT:
        """Does an update or a deletion, if the row as it stands is the one that is meant; raises RowNotMeant where it
        is not, and what `apply` does."""
        if not isinstance(effect, RowUpdate | RowDelete):
            raise TypeError(f"{type(effect).__name__} changes no row")
        return cast(OutcomeT, await self._change(effect, is_meant))

    async def _change(self, effect: RowUpdate | RowDelete, is_meant: IsMeant) -> object:
        async def change(session: AsyncIOMotorClientSession) -> object:
            return await change_one(self._database, effect, session, is_meant)

        with reaching_mongodb():
            async with await self._database.client.start_session() as session:
                try:
                    return await session.with_transaction(change)
                except OperationFailure as error:
                    if error.code not in BAD_DOCUMENT_CODES:
                        raise
                    raise refusal(error.code, (error.details or {}).get("errInfo")) from None

    async def get(self, app: str, table: str, row_id: str) -> Document | None:
        """A row as its app sees it; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await collection(self._database, f"{app}.{table}").find_one({"_id": row_id})
        return None if found is None else seen(found)

    async def query(self, query: RowQuery) -> RowPage:
        """A page of rows; see the engine's port."""
        return await row_queries.page(self._database, query)

    async def count(self, app: str, table: str) -> int:
        """How many rows a table has; raises PlatformUnavailable."""
        with reaching_mongodb():
            return await self._database[f"{app}.{table}"].count_documents({})

    async def origins(self, app: str, table: str) -> list[str]:
        """The step keys of all rows that steps have made; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._database[f"{app}.{table}"].find({}, {ORIGIN: 1}).to_list(None)
        return [str(row[ORIGIN]) for row in found if ORIGIN in row]

    async def _write_all(self, name: str) -> None:
        batch: Sequence[_Waiting] = ()
        try:
            while waiting := self._waiting.get(name):
                batch, self._waiting[name] = _split(waiting)
                await _write(self._database[name], batch, partial(self._make, name))
        finally:
            del self._writers[name]
            # Only a writer that was cancelled or has a bug leaves any without an outcome; nobody may wait for ever.
            for left in (*batch, *self._waiting.pop(name, [])):
                left.end(PlatformUnavailable("the writer of rows ended"))

    async def _make(self, name: str) -> None:
        if name in self._made:
            return
        try:
            await make_table(self._database, name)
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
        self._made.add(name)


def _split(waiting: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """The next write, and what waits for the one after; at least one row goes."""
    count = size = 0
    for count, each in enumerate(waiting[:MOST_ROWS]):
        size += each.size
        if count and size > MOST_BYTES:
            return waiting[:count], waiting[count:]
    return waiting[: count + 1], waiting[count + 1 :]


async def _write(
    collection: Collection, batch: Sequence[_Waiting], make: Callable[[], Coroutine[object, object, None]]
) -> None:
    """Ends every waiting caller, whatever happens."""
    try:
        with reaching_mongodb():
            await make()
            existing = await _insert(collection, batch)
            if existing:
                await _resolve(collection, existing)
    except PlatformUnavailable as error:
        for waiting in batch:
            waiting.end(PlatformUnavailable(*error.args))
    except PyMongoError as error:
        for waiting in batch:
            waiting.end(error)
    else:
        for waiting in batch:
            waiting.end(RowCreated(public(waiting.document), created=True))


async def _insert(collection: Collection, batch: Sequence[_Waiting]) -> list[_Waiting]:
    """Inserts; refuses those MongoDB refuses, found by halving where it says only that one is; answers those that
    exist."""
    try:
        await collection.insert_many([waiting.document for waiting in batch], ordered=False)
    except BulkWriteError as error:
        faults = write_faults(error)
        for fault in faults.refused:
            batch[fault.position].end(refusal(fault.code, fault.info))
        return [batch[position] for position in faults.duplicates]
    except OperationFailure as error:
        if error.code not in BAD_DOCUMENT_CODES:
            raise
        if len(batch) == 1:
            batch[0].end(refusal(error.code))
            return []
    else:
        return []
    middle = len(batch) // 2
    return await _insert(collection, batch[:middle]) + await _insert(collection, batch[middle:])


async def _resolve(collection: Collection, existing: Sequence[_Waiting]) -> None:
    """An id that exists: the same step's row is answered as it is, another's is a conflict."""
    ids = [waiting.document["_id"] for waiting in existing]
    stored = {row["_id"]: row for row in await collection.find({"_id": {"$in": ids}}).to_list(None)}
    for waiting in existing:
        row_id = waiting.document["_id"]
        row = stored.get(row_id)
        if row is not None and row.get(ORIGIN) == waiting.document[ORIGIN]:
            waiting.end(RowCreated(seen(row), created=False))
        else:
            waiting.end(RowConflict(f"a row with the id {row_id!r} exists already"))
