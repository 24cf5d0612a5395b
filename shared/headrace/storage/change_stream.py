"""MongoDB's changes of rows, read batch by batch from a position on.

The stream is read with plain commands: one round trip for a batch, and the token behind it. None of them is tried
again by the driver, so no batch is lost; after an error the stream is opened anew at the last position.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import structlog
from bson import Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import OperationFailure, PyMongoError

from headrace.contracts.positions import ChangePosition, Stamp, beginning_at
from headrace.engine.errors import PlatformUnavailable
from headrace.storage.change_place import ChangePlace, PlaceMissed
from headrace.storage.changes import IMAGES_BYTES, OPS, Change, read_change, stamp_of
from headrace.storage.driver import Database, Document, is_away, reaching_mongodb
from headrace.storage.row_authors import AUTHORS
from headrace.storage.row_documents import CODEC
from headrace.storage.tables import TABLE_PATTERN, add_images, table_of, tables_without_images

MOST_CHANGES = 2_000
"""In one batch: a Kafka transaction's fixed cost no longer shows, and MongoDB ends a batch at 16 MB anyway."""

_LOST_CODES = frozenset((9, 136, 260, 280, 286, 50811))
"""FailedToParse, CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, a token that
is no KeyString (MongoDB's error_codes.yml): where it should go on cannot be reached any more."""

_REOPEN_CODES = frozenset((43, 50, 63, 133, 134, 150, 175, 234, 237, 13388))
"""CursorNotFound, MaxTimeMSExpired, StaleShardVersion, FailedToSatisfyReadPreference, ReadConcernMajority is not
available yet, StaleEpoch, QueryPlanKilled, RetryChangeStream, CursorKilled, StaleConfig: the stream is opened anew, as
the change streams specification asks."""

_RESUMABLE = "ResumableChangeStreamError"

_CODEC = CODEC.with_options(unicode_decode_error_handler="replace")
"""Text that is no UTF-8, which only other writers can have stored, must not stop the stream."""

_SCHEMA_CHANGES = ["create", "modify", "drop", "rename"]


class PositionLost(Exception):
    """Changes are missing: reading on would pass them by in silence. The message says which and why."""


class ChangesRefused(Exception):
    """MongoDB does not let changes be read; the message says why."""


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes in their order, the place behind all of them, and how far MongoDB itself was then.

    `is_last`: there were no more.
    """

    changes: Sequence[Change]
    position: ChangePosition
    now: Stamp
    is_last: bool


class ChangeStream:
    """Reads the changes of all rows in a database. Used by one coroutine at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: AsyncIOMotorClientSession | None = None
        self._cursor = 0
        self._place = ChangePlace(beginning_at(Stamp(0, 0)))

    @property
    def position(self) -> ChangePosition:
        """Behind what was read last."""
        return self._place.position

    async def now(self) -> Stamp:
        """The time behind all that is written; raises PlatformUnavailable."""
        with reaching_mongodb():
            answer = await self._database.command("ping")
        newest = stamp_of(answer["operationTime"])
        return Stamp(newest.seconds, newest.increment + 1)

    async def oldest(self) -> datetime | None:
        """How far back changes can be read; None where that may not be asked. Raises PlatformUnavailable."""
        with reaching_mongodb():
            oplog = self._database.client["local"]["oplog.rs"]
            try:
                found = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
            except OperationFailure:
                return None
        return None if found is None else stamp_of(found["ts"]).time

    async def prepare(self) -> None:
        """Lets all changes of rows from now on be recorded with their images; raises PlatformUnavailable,
        ChangesRefused."""
        with reaching_mongodb(), _refused():
            for name in await tables_without_images(self._database):
                await add_images(self._database, name)

    async def open(self, position: ChangePosition) -> None:
        """Goes on behind `position`. Raises PlatformUnavailable, PositionLost, ChangesRefused."""
        await self.close()
        self._place = ChangePlace(position)
        await self.prepare()
        with self._reading():
            self._session = await self._database.client.start_session()
            answer = await self._command(
                {
                    "aggregate": 1,
                    "pipeline": _pipeline(position.start),
                    "cursor": {"batchSize": 0},
                    "readConcern": {"level": "majority"},
                }
            )
        self._cursor = int(answer["cursor"]["id"])

    async def read(self, wait_s: float) -> ChangeBatch:
        """The next changes; waits up to `wait_s` for a first one. Raises as `open`.

        After PlatformUnavailable the next call opens the stream anew.
        """
        if not self._cursor:
            await self.open(self._place.position)
        with self._reading():
            answer = await self._command(
                {
                    "getMore": self._cursor,
                    "collection": "$cmd.aggregate",
                    "batchSize": MOST_CHANGES,
                    "maxTimeMS": max(1, int(wait_s * 1000)),
                }
            )
            cursor = answer["cursor"]
            # A dropped database ends its stream; what comes behind is another's.
            self._cursor = int(cursor["id"])
            changes = [change for event in cursor["nextBatch"] for change in await self._take_in(event)]
            if "postBatchResumeToken" in cursor:
                self._place.reaches(cursor["postBatchResumeToken"]["_data"])
        now = stamp_of(answer["operationTime"])
        return ChangeBatch(changes, self._place.position, now, not cursor["nextBatch"])

    async def close(self) -> None:
        """Ends the stream. What it was told by MongoDB and has not given stays there."""
        session, self._session, cursor, self._cursor = self._session, None, self._cursor, 0
        if session is None:
            return
        try:
            if cursor:
                await self._database.command({"killCursors": "$cmd.aggregate", "cursors": [cursor]}, session=session)
            await session.end_session()
        except PyMongoError as error:
            # It ends by itself, half an hour later.
            structlog.get_logger().info("a change stream was left to MongoDB", error=type(error).__name__)

    async def _take_in(self, event: Document) -> Sequence[Change]:
        token, kind, namespace = event["_id"]["_data"], event["operationType"], event.get("ns", {}).get("coll", "")
        transaction = (bytes(event["lsid"]["id"]), int(event["txnNumber"])) if "txnNumber" in event else None
        is_new = self._place.passes(token, stamp_of(event["clusterTime"]), transaction)
        if namespace == AUTHORS:
            self._place.authors.told(event["fullDocument"])
            return ()
        if kind in _SCHEMA_CHANGES:
            await self._schema_changed(kind, namespace, event)
            return ()
        if kind not in OPS:
            return ()
        author = self._place.author(namespace, event["documentKey"]["_id"])
        change = read_change(event, self._place.position, author) if is_new else None
        return () if change is None else (change,)

    async def _schema_changed(self, kind: str, name: str, event: Document) -> None:
        new_name = str(event.get("to", {}).get("coll", name))
        if kind in ("drop", "rename"):
            # Of the rows in it MongoDB tells nothing.
            structlog.get_logger().warning(
                "a table's collection was dropped or renamed: there are no events of its rows",
                collection=name,
                kind=kind,
                to=new_name,
            )
        if kind != "drop" and table_of(new_name) is not None:
            for each in await tables_without_images(self._database, new_name):
                await add_images(self._database, each)
                structlog.get_logger().info("a table's changes are recorded with images from now on", collection=each)

    async def _command(self, command: Document) -> Document:
        return cast(Document, await self._database.command(command, codec_options=_CODEC, session=self._session))

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Turns what MongoDB says into what `read` raises; after any of it the stream must be opened anew."""
        try:
            with reaching_mongodb(), _refused():
                yield
        except (PlaceMissed, OperationFailure) as error:
            self._cursor = 0
            raise PositionLost(_words(error)) from None
        except BaseException:
            self._cursor = 0
            raise


@contextmanager
def _refused() -> Generator[None]:
    """Lets through what means that the position is lost, and that MongoDB is away."""
    try:
        yield
    except OperationFailure as error:
        if error.code in _LOST_CODES or is_away(error):
            raise
        if error.code in _REOPEN_CODES or error.has_error_label(_RESUMABLE):
            raise PlatformUnavailable(f"MongoDB ended the change stream (code {error.code})") from None
        raise ChangesRefused(f"MongoDB refuses to tell of changes: {_words(error)}") from None


def _words(error: Exception) -> str:
    if isinstance(error, OperationFailure):
        said = str((error.details or {}).get("errmsg", type(error).__name__)).partition(" {")[0]
        return f"{said[:300]} (code {error.code})"
    return str(error)


def _pipeline(start: Stamp | str) -> list[Document]:
    begins = {"startAfter": {"_data": start}} if isinstance(start, str) else {"startAtOperationTime": Timestamp(*start)}
    images = {
        # `updateLookup` would give the row as it is now. Not `required`, which ends the stream without saying where.
        "fullDocument": "whenAvailable",
        "fullDocumentBeforeChange": "whenAvailable",
    }
    of_rows = {"operationType": {"$in": [*OPS, *_SCHEMA_CHANGES]}}
    tables = {"$or": [{"ns.coll": {"$regex": TABLE_PATTERN}}, {"to.coll": {"$regex": TABLE_PATTERN}}]}
    told = {"ns.coll": AUTHORS, "operationType": {"$in": ["insert", "replace"]}}
    size = {"$add": [_size("$fullDocument"), _size("$fullDocumentBeforeChange")]}
    return [
        {"$changeStream": {**images, "showExpandedEvents": True, **begins}},
        {"$match": {"$or": [{"$and": [of_rows, tables]}, told, {"operationType": "invalidate"}]}},
        {"$set": {"bytes": {"$cond": [{"$gt": [size, IMAGES_BYTES]}, size, "$$REMOVE"]}}},
        {"$set": {image: {"$cond": [{"$gt": ["$bytes", None]}, None, f"${image}"]} for image in images}},
        {"$unset": ["updateDescription", "collectionUUID", "operationDescription"]},
    ]


def _size(image: str) -> Document:
    return {"$cond": [{"$eq": [{"$type": image}, "object"]}, {"$bsonSize": image}, 0]}
