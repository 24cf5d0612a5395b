"""The driver's types and errors, in our terms."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from motor.motor_asyncio import AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    PyMongoError,
    WTimeoutError,
)

from headrace.engine.errors import PlatformUnavailable

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]

DUPLICATE_KEY = 11000

_AWAY = (AutoReconnect, ConnectionFailure, NetworkTimeout, ExecutionTimeout, WTimeoutError)
_TRANSIENT_LABELS = ("RetryableWriteError", "TransientTransactionError")
_AWAY_CODES = frozenset((64, 91, 189, 10107, 11600, 11602, 13435, 13436))
"""WriteConcernTimeout, ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary, InterruptedAtShutdown,
InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary (MongoDB's error_codes.yml)."""


@contextmanager
def reaching_mongodb() -> Generator[None]:
    """Turns the driver's ways of saying that MongoDB is away into PlatformUnavailable; never quotes the URI."""
    try:
        yield
    except PyMongoError as error:
        code = getattr(error, "code", None)
        away = isinstance(error, _AWAY) or code in _AWAY_CODES or any(map(error.has_error_label, _TRANSIENT_LABELS))
        if not away and isinstance(error, BulkWriteError):
            details = cast(Document, error.details)
            away = bool(details.get("writeConcernErrors")) and not details.get("writeErrors")
        if away:
            raise PlatformUnavailable(f"MongoDB is away ({type(error).__name__})") from None
        raise
