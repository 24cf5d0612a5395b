"""Pages of rows. MongoDB finds those that a filter may hold of, in their order; the language says of which it does.

So a filter means here what it means everywhere, whatever MongoDB's own comparison thinks of types, arrays and paths.
The price: a page ends when it has looked at MOST_SCANNED rows, however few of them it holds; its cursor goes on there.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import cast

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo.errors import ExecutionTimeout

from headrace.engine.rows import QueryRefused, RowPage, RowQuery, SortBy
from headrace.storage.driver import NOT_BSON, Database, Document, reaching_mongodb
from headrace.storage.row_candidates import candidates
from headrace.storage.row_documents import decode, decoded, raw_collection, seen

MOST_SCANNED = 10_000
"""Rows that a page looks at: tens of milliseconds of the event loop, in portions."""

SCANNED_BYTES = 32 << 20
"""Bytes that a page looks at, so that large rows take no longer than many."""

PAGE_BYTES = 4 << 20
"""Of the rows on a page: they go into the run's journal, whose entries hold 15 MB, and JSON is longer than BSON."""

QUERY_MS = 20_000
"""Of MongoDB's time: less than a step's usual timeout, so that the author reads why."""

CURSOR_BYTES = 16 << 10
"""A cursor holds the last row's sort values."""

_FORMAT = 1


async def page(database: Database, query: RowQuery) -> RowPage:
    """The page that `query` asks for; see the engine's port."""
    last = None if query.cursor is None else _opened(query.cursor, query)
    found: list[Mapping[str, object]] = []
    scanned = scanned_bytes = page_bytes = 0
    position: Document | None = None
    async for keys, raw in _ordered(database, query, last):
        size = len(raw.raw)
        full = len(found) == query.limit or scanned == MOST_SCANNED
        if position is not None and (full or scanned_bytes + size > SCANNED_BYTES):
            return RowPage(tuple(found), _sealed(position, query))
        row = seen(decoded(raw))
        if query.filter is None or query.filter.holds(row):
            if position is not None and page_bytes + size > PAGE_BYTES:
                return RowPage(tuple(found), _sealed(position, query))
            found.append(row)
            page_bytes += size
        scanned, scanned_bytes, position = scanned + 1, scanned_bytes + size, keys
    return RowPage(tuple(found), None)


async def _ordered(
    database: Database, query: RowQuery, last: Document | None
) -> AsyncIterator[tuple[Document, RawBSONDocument]]:
    """The rows that may be meant, in the query's order, those after `last`, each with its place in that order."""
    stages: list[Document] = [
        {"$match": {"$and": [{"_id": {"$gt": ""}}, candidates(query.filter)]}},
        # An object around each key: MongoDB sorts an array by its least or greatest item, and compares it as a whole.
        {"$project": {"row": "$$ROOT", **{f"k{i}": _key(sort) for i, sort in enumerate(query.sort)}}},
    ]
    directions = {f"k{i}": -1 if sort.desc else 1 for i, sort in enumerate(query.sort)} | {"_id": 1}
    if not query.sort:
        # By the index of ids, from where the last page ended.
        stages[0] = {"$match": {"$and": [{"_id": {"$gt": last["_id"] if last else ""}}, candidates(query.filter)]}}
        stages.insert(1, {"$sort": {"_id": 1}})
    else:
        if last is not None:
            stages.append({"$match": {"$expr": _after(last, directions)}})
        stages.append({"$sort": directions})
    stages.append({"$limit": MOST_SCANNED + 1})
    collection = raw_collection(database, f"{query.app}.{query.table}")
    with reaching_mongodb():
        try:
            # Binary order: a collection that others made may sort and compare by a language's rules.
            async for each in collection.aggregate(
                stages, allowDiskUse=True, maxTimeMS=QUERY_MS, collation={"locale": "simple"}
            ):
                keys = decode(encode({name: each[name] for name in directions}))
                yield keys, cast(RawBSONDocument, each["row"])
        except ExecutionTimeout:
            raise QueryRefused("query_timeout", f"MongoDB took longer than {QUERY_MS // 1000} s for it") from None


def _key(sort: SortBy) -> Document:
    # What is not there sorts as null, and must compare as null too.
    return {"v": {"$ifNull": [f"${sort.column}", None]}}


def _after(last: Document, directions: Mapping[str, int]) -> Document:
    """Whether a row comes after the place `last`: an expression, which compares across types, as sorting does."""
    ways: list[Document] = []
    equal: list[Document] = []
    for name, direction in directions.items():
        sides = [f"${name}", {"$literal": last[name]}]
        ways.append({"$and": [*equal, {"$gt" if direction > 0 else "$lt": sides}]})
        equal = [*equal, {"$eq": sides}]
    return {"$or": ways}


def _sealed(position: Document, query: RowQuery) -> str:
    """The cursor of the place `position` in the query's order."""
    encoded = encode({"f": _FORMAT, "q": _fingerprint(query), "p": position})
    if len(encoded) > CURSOR_BYTES:
        raise QueryRefused(
            "bad_query", f"it cannot be continued: the values it sorts by have more than {CURSOR_BYTES} bytes"
        )
    return urlsafe_b64encode(encoded).decode().rstrip("=")


def _opened(cursor: str, query: RowQuery) -> Document:
    """The place that a cursor names; raises QueryRefused for what is no cursor of this query."""
    if len(cursor) <= 2 * CURSOR_BYTES:
        try:
            opened = decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            place = cast("Document | None", opened.get("p"))
            expected = {f"k{i}" for i in range(len(query.sort))} | {"_id"}
            is_ours = opened.get("f") == _FORMAT and opened.get("q") == _fingerprint(query)
            if is_ours and isinstance(place, dict) and set(place) == expected and isinstance(place["_id"], str):
                return place
        except (ValueError, *NOT_BSON):
            pass
    raise QueryRefused("bad_cursor", "this is no cursor of a query of the same table, filter and sort")


def _fingerprint(query: RowQuery) -> bytes:
    sorts: Sequence[str] = [f"{sort.column}:{sort.desc}" for sort in query.sort]
    # The filter is data classes all the way down, whose text says all of them.
    return sha256(repr((query.app, query.table, query.filter, sorts)).encode(errors="replace")).digest()[:12]
