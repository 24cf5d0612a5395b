"""A change of a row as MongoDB tells it, in our terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

from bson import ObjectId, Timestamp

from headrace.contracts.positions import Position, Stamp, digest
from headrace.engine.plain import dumps
from headrace.engine.rows import Author
from headrace.storage.driver import Document, plain
from headrace.storage.row_documents import public
from headrace.storage.tables import table_of

IMAGES_BYTES = 15 << 20
"""Both images of a change that MongoDB hands over: the whole change must fit into its 16 MB. What is larger comes
without them, as a number of bytes; by itself it would end the stream (code 10334)."""

Op = Literal["c", "u", "d", "r"]

OPS: Mapping[str, Op] = {"insert": "c", "update": "u", "replace": "u", "delete": "d"}
"""MongoDB's operation types that change a row, by Debezium's letters."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a change cannot be published as it is: a stable word, and a sentence."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a row, or (op `r`) a row as a snapshot finds it.

    `name` is the same whenever the change is read. `position` is the place behind it. With `unfit` it has no images.
    """

    op: Op
    app: str
    table: str
    row_id: str
    before: Document | None
    after: Document | None
    time: datetime
    stamp: Stamp
    name: str
    author: Author | None
    position: Position
    unfit: Unfit | None = None


NO_IMAGES = "no_images"
"""The change was recorded without its images: nobody can say what it changed."""


def stamp_of(timestamp: Timestamp) -> Stamp:
    """A time of the oplog."""
    return Stamp(timestamp.time, timestamp.inc)


def read_change(event: Document, position: Position, author: Author | None) -> Change | None:
    """The change that an event of the stream, of one of OPS, tells of; None where it is no row's."""
    op = OPS[event["operationType"]]
    named = table_of(event["ns"]["coll"])
    if named is None:
        return None
    stamp = stamp_of(event["clusterTime"])
    id = row_id(event["documentKey"]["_id"])
    before, after = (cast(Document | None, event.get(image)) for image in ("fullDocumentBeforeChange", "fullDocument"))
    unfit = None
    if "bytes" in event:
        said = f"the images of the change have {event['bytes']} bytes; MongoDB hands over {IMAGES_BYTES}"
        unfit = Unfit("over_limit", said)
    elif (op != "c" and before is None) or (op != "d" and after is None):
        unfit = Unfit(NO_IMAGES, "it was recorded without images")
    return Change(
        op,
        *named,
        id,
        None if before is None else _image(before),
        None if after is None else _image(after),
        event.get("wallTime", stamp.time).astimezone(UTC),
        stamp,
        f"{stamp}.{digest(event['_id']['_data'])}",
        author,
        position,
        unfit,
    )


def read_row(document: Document, table: tuple[str, str], time: Stamp, position: Position) -> Change:
    """A row that stands in a snapshot begun at `time`."""
    id = row_id(document["_id"])
    name = f"{time}.{digest('/'.join((*table, id)))}"
    return Change("r", *table, id, None, _image(document), time.time, time, name, None, position)


def row_id(value: object) -> str:
    """A row's id as text: of other writers' ids that are none, what identifies them."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, ObjectId) else dumps(plain(value)).decode().strip('"')


def _image(document: Document) -> Document:
    return public(cast(Document, plain(document)))
