"""A row as it is stored in collection `app.table`: `_id` = row id, `_origin` = the key of its step, the columns."""

from collections.abc import Mapping
from datetime import UTC
from typing import cast

from bson import CodecOptions, encode
from bson import decode as decode_bson  # pyright: ignore[reportUnknownVariableType]
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument

from headrace.engine.rows import RowRefused
from headrace.storage.driver import NOT_BSON, Collection, Database, Document, plain

ROW_BYTES = 3 << 20
"""A larger row is refused: its change, with both images, could not travel in a record of 8 MB."""

ORIGIN = "_origin"

RESERVED_APP = "system"
"""Its collections would be `system.…`, MongoDB's own: a table `views` breaks its catalogue, `js` holds functions."""

CODEC: CodecOptions[Document] = CodecOptions(
    tz_aware=True, tzinfo=UTC, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""A time off the calendar, which only other writers can have stored, must not make a row unreadable."""


def collection_name(app: str, table: str) -> str:
    """Where `app`'s rows of `table` are; raises RowRefused."""
    if app == RESERVED_APP:
        raise RowRefused(f"an app of the name {RESERVED_APP!r} can have no tables: MongoDB keeps its own there")
    return f"{app}.{table}"


def collection(database: Database, name: str) -> Collection:
    """The collection of that name, read as rows are."""
    return database.get_collection(name, codec_options=CODEC)


def raw_collection(database: Database, name: str) -> Collection:
    """The same, whose rows are not decoded: their size is known before they are; see `decoded`."""
    raw: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    return database.get_collection(name, codec_options=raw)


def decoded(raw: RawBSONDocument) -> Document:
    """The stored row in these bytes."""
    return decode(bytes(raw.raw))


def decode(encoded: bytes) -> Document:
    """The document in these bytes; raises what NOT_BSON names."""
    return decode_bson(encoded, CODEC)


def checked(row_id: str, row: Mapping[str, object], origin: str) -> tuple[Document, int]:
    """The document to store and its bytes; raises RowRefused."""
    if ORIGIN in row:
        raise RowRefused(f"the column {ORIGIN!r} is reserved")
    if row.get("_id", row_id) != row_id:
        raise RowRefused("the column '_id' differs from the row's id: give the id as the step's input `id`")
    document: Document = {"_id": row_id, ORIGIN: origin, **row}
    document["_id"] = row_id
    return document, checked_size(document)


def checked_size(document: Document) -> int:
    """The bytes of a row as it is stored; raises RowRefused if it cannot be."""
    try:
        size = len(encode(document))
    except NOT_BSON as error:
        raise RowRefused(f"the row cannot be stored as BSON ({type(error).__name__})") from None
    if size > ROW_BYTES:
        raise RowRefused(f"the row has {size} bytes; {ROW_BYTES} are accepted")
    return size


def public(document: Document) -> Document:
    """A row that is to be stored as its app sees it."""
    return {name: value for name, value in document.items() if name != ORIGIN}


def seen(stored: Document) -> Document:
    """A stored row as its app sees it."""
    return public(cast(Document, plain(stored)))
