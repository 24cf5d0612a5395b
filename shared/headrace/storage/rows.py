"""The apps' rows: created once per step, in bulk with their neighbours."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from bson import encode
from bson.errors import InvalidDocument
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError

from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import RowConflict, RowCreated, RowRefused
from headrace.storage.driver import DUPLICATE_KEY, Collection, Database, Document, reaching_mongodb

MOST_ROWS = 1_000
"""In one write: past this a write's fixed cost no longer shows."""

ROW_BYTES = 3 << 20
"""A larger row is refused: its change, with both images, could not travel in a record of 8 MB."""

ORIGIN = "_origin"


@dataclass(slots=True)
class _Waiting:
    document: Document
    done: asyncio.Future[RowCreated]


class MongoRowStore:
    """Rows of app A's table T in collection `A.T`: `_id` = row id, `_origin` = the step key that made it, the columns.

    Rows asked for while a write is under way go together in the next one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, list[_Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}

    async def create(self, app: str, table: str, row_id: str, row: Mapping[str, object], origin: str) -> RowCreated:
        """Creates a row once per `origin`; see the engine's port. Cancelling the caller does not take it back."""
        document = _checked(row_id, row, origin)
        name = f"{app}.{table}"
        waiting = _Waiting(document, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(name, []).append(waiting)
        if name not in self._writers:
            self._writers[name] = asyncio.create_task(self._write_all(name))
        return await waiting.done

    async def get(self, app: str, table: str, row_id: str) -> Document | None:
        """A row as it is stored; raises PlatformUnavailable."""
        with reaching_mongodb():
            return await self._database[f"{app}.{table}"].find_one({"_id": row_id})

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
        try:
            while batch := self._waiting.get(name):
                self._waiting[name] = batch[MOST_ROWS:]
                await self._write(self._database[name], batch[:MOST_ROWS])
        finally:
            del self._writers[name]
            # Only a cancelled writer leaves any: the loop is closing, and nobody may wait for ever.
            for left in self._waiting.pop(name, []):
                left.done.cancel()

    async def _write(self, collection: Collection, batch: Sequence[_Waiting]) -> None:
        try:
            with reaching_mongodb():
                existing = await _insert(collection, batch)
                if existing:
                    await _resolve(collection, existing)
        except (PlatformUnavailable, PyMongoError) as error:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
        else:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(RowCreated(_public(waiting.document), created=True))


async def _insert(collection: Collection, batch: Sequence[_Waiting]) -> list[_Waiting]:
    """Inserts; refuses those MongoDB refuses, answers those whose id exists."""
    try:
        await collection.insert_many([waiting.document for waiting in batch], ordered=False)
    except BulkWriteError as error:
        errors = cast(list[dict[str, Any]], error.details["writeErrors"])
        if not errors:
            raise
        for each in errors:
            if each["code"] != DUPLICATE_KEY:
                _refuse(batch[int(each["index"])], f"MongoDB refuses the row (code {each['code']})")
        return [batch[int(each["index"])] for each in errors if each["code"] == DUPLICATE_KEY]
    except OperationFailure as error:
        if len(batch) == 1 and not error.has_error_label("RetryableWriteError"):
            _refuse(batch[0], f"MongoDB refuses the row (code {error.code})")
            return []
        raise
    return []


async def _resolve(collection: Collection, existing: Sequence[_Waiting]) -> None:
    """An id that exists: the same step's row is answered as it is, another's is a conflict."""
    ids = [waiting.document["_id"] for waiting in existing]
    stored = {row["_id"]: row for row in await collection.find({"_id": {"$in": ids}}).to_list(None)}
    for waiting in existing:
        row_id = waiting.document["_id"]
        row = stored.get(row_id)
        if waiting.done.done():
            continue
        if row is not None and row.get(ORIGIN) == waiting.document[ORIGIN]:
            waiting.done.set_result(RowCreated(_public(row), created=False))
        else:
            waiting.done.set_exception(RowConflict(f"a row with the id {row_id!r} exists already"))


def _checked(row_id: str, row: Mapping[str, object], origin: str) -> Document:
    if ORIGIN in row:
        raise RowRefused(f"the column {ORIGIN!r} is reserved")
    if row.get("_id", row_id) != row_id:
        raise RowRefused("the column '_id' differs from the row's id: give the id as the step's input `id`")
    document: Document = {"_id": row_id, ORIGIN: origin, **row}
    document["_id"] = row_id
    try:
        size = len(encode(document))
    except (InvalidDocument, OverflowError, DocumentTooLarge, ValueError, RecursionError) as error:
        raise RowRefused(f"the row cannot be stored: {type(error).__name__}: {str(error)[:200]}") from None
    if size > ROW_BYTES:
        raise RowRefused(f"the row has {size} bytes; {ROW_BYTES} are accepted")
    return document


def _refuse(waiting: _Waiting, reason: str) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(RowRefused(reason))


def _public(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != ORIGIN}
