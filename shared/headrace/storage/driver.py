"""The driver's types and errors, in our terms."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import NoneType
from typing import Any, NamedTuple, cast
from weakref import WeakValueDictionary

from bson import DatetimeMS, DBRef, Decimal128, Int64, ObjectId
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
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
NAMESPACE_EXISTS = 48

NOT_BSON = (BSONError, DocumentTooLarge, OverflowError, UnicodeEncodeError, RecursionError)
"""What encoding raises for a value that has no BSON: NUL in a name, an integer beyond 64 bits, half a surrogate pair, a
date off the calendar, no end of nesting."""

BAD_DOCUMENT_CODES = frozenset((2, 15, 17, 22, 52, 55, 57, 121, 10334, 17419, 17420))
"""BadValue, Overflow (nested too deep), ProtocolError, InvalidBSON, DollarPrefixedFieldName, InvalidDBRef,
DottedFieldName, DocumentValidationFailure, BSONObjectTooLarge, too large after an update: the document's own fault
(MongoDB's error_codes.yml). Any other code may be gone on the next try, and must not cost a record."""

_AWAY = (AutoReconnect, ConnectionFailure, NetworkTimeout, ExecutionTimeout, WTimeoutError)
_TRANSIENT_LABELS = ("RetryableWriteError", "TransientTransactionError")
_AWAY_CODES = frozenset((6, 7, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031))
"""HostUnreachable, HostNotFound, WriteConcernTimeout, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown,
ExceededTimeLimit, SocketException, NotWritablePrimary, InterruptedAtShutdown, InterruptedDueToReplStateChange,
NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace (MongoDB's error_codes.yml)."""


class Fault(NamedTuple):
    """A document of a bulk write that was not written: its position, the error's code and `errInfo`."""

    position: int
    code: int
    info: object


@dataclass(frozen=True, slots=True)
class WriteFaults:
    """Which documents of a bulk write were not written: positions whose id exists, and those that are refused."""

    duplicates: list[int]
    refused: list[Fault]


def faults(error: BulkWriteError) -> list[Fault]:
    """What `error` says of each document that was not written."""
    found = cast(list[Document], cast(Document, error.details).get("writeErrors", []))
    return [Fault(int(each["index"]), int(each["code"]), each.get("errInfo")) for each in found]


def write_faults(error: BulkWriteError) -> WriteFaults:
    """What `error` says of each document.

    Raises `error` again when a write failed for another reason than its document, or when what was written is not yet
    on a majority: then nothing may be taken as done, or as refused for good.
    """
    found = faults(error)
    passing = [each for each in found if each.code != DUPLICATE_KEY and each.code not in BAD_DOCUMENT_CODES]
    if passing or not found or cast(Document, error.details).get("writeConcernErrors"):
        raise error
    return WriteFaults(
        duplicates=[each.position for each in found if each.code == DUPLICATE_KEY],
        refused=[each for each in found if each.code != DUPLICATE_KEY],
    )


def plain(value: Any) -> Any:
    """A copy without the driver's own types: it reads `{"$ref": …, "$id": …}` as its DBRef and large ints as Int64.

    Of what only other writers store, ids become text, and times off the calendar their milliseconds.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        # Nearly all values are plain: a call for each would be most of the time that this takes.
        return {name: item if type(item) in _PLAIN else plain(item) for name, item in cast(Document, value).items()}
    if isinstance(value, list):
        return [item if type(item) in _PLAIN else plain(item) for item in cast(list[Any], value)]
    if isinstance(value, DBRef):
        return plain(dict(value.as_doc()))
    if isinstance(value, Int64 | DatetimeMS):
        return int(value)
    if isinstance(value, ObjectId):
        return str(value)
    return value.to_decimal() if isinstance(value, Decimal128) else value


_PLAIN = frozenset((str, int, float, bool, NoneType, datetime, bytes))
"""Types of their own kind only: the driver's subclasses are not among them."""


@contextmanager
def reaching_mongodb() -> Generator[None]:
    """Turns the driver's ways of saying that MongoDB is away into PlatformUnavailable; never quotes the URI."""
    try:
        yield
    except ConfigurationError as error:
        if _NO_SESSIONS not in str(error):
            raise
        _forget_connections()
        raise PlatformUnavailable("MongoDB is not ready yet (its replica set is starting)") from None
    except PyMongoError as error:
        if is_away(error):
            raise PlatformUnavailable(f"MongoDB is away ({type(error).__name__})") from None
        raise


_NO_SESSIONS = "Sessions are not supported"
"""What the driver says of a connection that was made while its member of the replica set was still starting."""

_clients: "WeakValueDictionary[int, AsyncIOMotorClient[Document]]" = WeakValueDictionary()
"""By identity: the driver calls two clients of one address equal, and a set would keep only the first."""


def remember_client(client: "AsyncIOMotorClient[Document]") -> None:
    """From now on its connections are made anew when one of them turns out to be of no use."""
    _clients[id(client)] = client


def _forget_connections() -> None:
    """With `directConnection` a member is used as soon as it answers, and a connection keeps for good what the member
    could do then: one made a moment too early would refuse every write. The driver has no public way to drop it."""
    for client in tuple(_clients.values()):
        for server in client.delegate._topology._servers.values():  # pyright: ignore
            server.pool.reset_without_pause()


def is_away(error: PyMongoError) -> bool:
    """Whether it says that MongoDB cannot be reached or cannot write now, and nothing of what was asked."""
    codes = {getattr(error, "code", None)}
    if isinstance(error, BulkWriteError):
        details = cast(Document, error.details)
        if details.get("writeConcernErrors"):
            return True  # not on a majority: as good as not written, and writing it again is safe
        codes.update(each["code"] for each in cast(list[Document], details.get("writeErrors", [])))
    return isinstance(error, _AWAY) or bool(codes & _AWAY_CODES) or any(map(error.has_error_label, _TRANSIENT_LABELS))
