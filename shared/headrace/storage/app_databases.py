"""MongoDatabases through motor: the apps' own MongoDBs, one bounded pool for each connection."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as clock_time
from decimal import Decimal
from typing import Any, cast

from bson import Decimal128, Int64, ObjectId
from bson.errors import InvalidId
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from headrace.contracts import limits
from headrace.engine.connections import MongoConnection
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.ports import (
    MongoAggregate,
    MongoCount,
    MongoDelete,
    MongoFind,
    MongoInsert,
    MongoOperation,
    MongoUpdate,
)
from headrace.storage.driver import DUPLICATE_KEY, NOT_BSON, Collection, Document

SELECTION_TIMEOUT_MS = 5_000
"""As for our own: an election takes a few seconds."""

_VALIDATION_FAILED = 121
_NOT_ALLOWED = frozenset((13, 18))
"""Unauthorized, AuthenticationFailed."""


@dataclass(frozen=True, slots=True)
class _Client:
    connection: MongoConnection
    client: "AsyncIOMotorClient[Document]"


class AppDatabases:
    """The clients of a process; belongs to one event loop. `close()` ends them."""

    def __init__(self) -> None:
        self._clients: dict[tuple[str, str], _Client] = {}

    async def close(self) -> None:
        """Ends the connections."""
        clients, self._clients = self._clients, {}
        for each in clients.values():
            each.client.close()

    async def execute(
        self, app: str, name: str, connection: MongoConnection, operation: MongoOperation
    ) -> Mapping[str, object]:
        """The outputs of `operation`; raises StepError."""
        collection = self._client(app, name, connection)[connection.database][operation.collection]
        limit_ms = int(connection.timeout * 1000)
        reads = isinstance(operation, MongoFind | MongoAggregate | MongoCount)
        with _told(name, reads=reads):
            match operation:
                case MongoFind():
                    return await _found(collection, operation, limit_ms)
                case MongoAggregate():
                    stages = [_sent(stage) for stage in operation.pipeline]
                    bounded: list[Any] = [*stages, {"$limit": operation.limit + 1}]
                    return await _kept(collection.aggregate(bounded, maxTimeMS=limit_ms), operation.limit)
                case MongoCount():
                    return {"count": await collection.count_documents(_sent(operation.filter), maxTimeMS=limit_ms)}
                case MongoInsert():
                    return await _inserted(collection, operation)
                case MongoUpdate():
                    return await _updated(collection, operation)
                case MongoDelete():
                    delete = collection.delete_many if operation.many else collection.delete_one
                    return {"deleted": (await delete(_sent(operation.filter))).deleted_count}

    def _client(self, app: str, name: str, connection: MongoConnection) -> "AsyncIOMotorClient[Document]":
        found = self._clients.get((app, name))
        if found is not None and found.connection == connection:
            return found.client
        made = _Client(connection, _connected(name, connection))
        self._clients[app, name] = made
        if found is not None:
            found.client.close()
        return made.client


def _connected(name: str, connection: MongoConnection) -> "AsyncIOMotorClient[Document]":
    try:
        return AsyncIOMotorClient(
            connection.uri.get_secret_value(),
            serverSelectionTimeoutMS=SELECTION_TIMEOUT_MS,
            connectTimeoutMS=SELECTION_TIMEOUT_MS,
            socketTimeoutMS=int(connection.timeout * 1000),
            maxPoolSize=connection.pool,
            tz_aware=True,
            tzinfo=UTC,
        )
    except (PyMongoError, ValueError, TypeError) as error:
        # The driver's own message may quote a part of the password.
        raise StepError("connection", f"connection {name}: its URI is not usable ({type(error).__name__})") from None


async def _found(collection: Collection, operation: MongoFind, limit_ms: int) -> Document:
    cursor = collection.find(
        _sent(operation.filter),
        None if operation.projection is None else _sent(operation.projection),
        skip=operation.skip,
        limit=operation.limit + 1,
        sort=list(operation.sort) or None,
        max_time_ms=limit_ms,
    )
    return await _kept(cursor, operation.limit)


async def _kept(cursor: Any, most: int) -> Document:
    """The documents up to `most`, and up to limits.EVENT_BODY bytes together."""
    documents: list[object] = []
    size = 0
    async for each in cursor:
        document = _received(each)
        size += len(dumps(document))
        if len(documents) == most or size > limits.EVENT_BODY:
            await cursor.close()
            return {"documents": documents, "count": len(documents), "truncated": True}
        documents.append(document)
    return {"documents": documents, "count": len(documents)}


async def _inserted(collection: Collection, operation: MongoInsert) -> Document:
    done = await collection.insert_many([_sent(document) for document in operation.documents])
    return {"ids": [_received(each) for each in done.inserted_ids], "inserted": len(done.inserted_ids)}


async def _updated(collection: Collection, operation: MongoUpdate) -> Document:
    change = collection.update_many if operation.many else collection.update_one
    done = await change(_sent(operation.filter), _sent(operation.update), upsert=operation.upsert)
    ids = [] if done.upserted_id is None else [_received(done.upserted_id)]
    return {"matched": done.matched_count, "modified": done.modified_count, "ids": ids, "inserted": len(ids)}


def _sent(value: Any) -> Any:
    """A copy as the driver takes it; raises StepError for an ObjectId that is none."""
    if isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value)
        if len(items) == 1 and "$oid" in items:
            return _object_id(items["$oid"])
        return {name: _sent(item) for name, item in items.items()}
    if isinstance(value, list | tuple):
        return [_sent(item) for item in cast(Iterable[Any], value)]
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.isoformat() if isinstance(value, clock_time) else value


def _object_id(text: object) -> ObjectId:
    try:
        return ObjectId(str(text))
    except InvalidId:
        raise StepError("bad_input", "inputs: $oid: expected the 24 hexadecimal digits of an ObjectId") from None


def _received(value: Any) -> Any:
    """A copy as templates know values."""
    if isinstance(value, Mapping):
        return {name: _received(item) for name, item in cast(Mapping[str, Any], value).items()}
    if isinstance(value, list):
        return [_received(item) for item in cast(Sequence[Any], value)]
    if isinstance(value, Decimal128):
        return value.to_decimal()
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if value is None or isinstance(value, bool | int | float | str | datetime):
        return value
    return str(value)


@contextmanager
def _told(name: str, *, reads: bool) -> Generator[None]:
    """The driver's errors as the step's. MongoDB's text is quoted up to where it begins to quote values itself."""
    told = f"connection {name}: "
    try:
        yield
    except ServerSelectionTimeoutError:
        unreachable = told + "MongoDB cannot be reached"
        raise StepError("connection", unreachable, retryable=True, nothing_done=True) from None
    except ExecutionTimeout:
        raise StepError("timeout", told + "the operation took too long and was ended", retryable=True) from None
    except (AutoReconnect, WriteConcernError) as error:
        raise _lost(told, type(error).__name__, reads) from None
    except BulkWriteError as error:
        details = cast(Document, error.details)
        first = cast(list[Document], details.get("writeErrors") or [{}])[0]
        done = f"; {details.get('nInserted', 0)} documents before it were inserted"
        raise _refused(told, int(first.get("code", 0)), str(first.get("errmsg", "")), done) from None
    except OperationFailure as error:
        raise _refused(told, error.code or 0, str((error.details or {}).get("errmsg", ""))) from None
    except NOT_BSON as error:
        raise StepError("bad_value", f"{told}a value has no form in MongoDB ({type(error).__name__})") from None
    except (PyMongoError, TypeError, ValueError) as error:
        raise StepError("bad_query", f"{told}the driver does not accept it ({type(error).__name__})") from None


def _lost(told: str, code: str, reads: bool) -> StepError:
    if reads:
        return StepError("connection", f"{told}it was lost ({code})", retryable=True)
    return StepError("unknown_outcome", f"{told}it was lost ({code}); whether the write was done is not known")


def _refused(told: str, code: int, message: str, done: str = "") -> StepError:
    if code == DUPLICATE_KEY:
        return StepError("constraint", f"{told}a document with this key exists already{done}")
    if code == _VALIDATION_FAILED:
        return StepError("constraint", f"{told}a document does not fit the collection's rules{done}")
    if code in _NOT_ALLOWED:
        return StepError("connection", f"{told}user or password are not accepted, or may not do this ({code})")
    return StepError("bad_query", f"{told}MongoDB does not accept it ({code}): {_until_quoted(message)}{done}")


def _until_quoted(message: str) -> str:
    for mark in (":", "'", '"', "{"):
        message = message.partition(mark)[0]
    return message.strip()[:200]
