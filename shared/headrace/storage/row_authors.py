"""Which run changed a row: told in the transaction that changes it, for whoever reads MongoDB's changes.

Before a transaction writes rows it writes their authors into a document of its own in `_authors`. That document's
change stands in the stream before the rows' changes, with the same session and transaction number, and is no part of
any row: a later edit by somebody else has no author, whatever was read from the row and written back.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.client_session import ClientSession

from headrace.engine.rows import Author
from headrace.storage.driver import Database, Document

AUTHORS = "_authors"
"""A name without a dot is no table's."""

KEPT_S = 86_400
"""A document is read as a change, never as it stands: it may go once its writer has written nothing for a day."""

Authored = tuple[str, Author | None]
"""A row's id and who changes it."""


class AuthorWriter:
    """Writes a session's authors: one document for each session, replaced each time."""

    def __init__(self, tables: Database) -> None:
        self._authors = tables[AUTHORS]

    async def prepare(self) -> None:
        """Makes the collection, and the index by which it forgets; repeatable."""
        await self._authors.create_index("at", expireAfterSeconds=KEPT_S)

    async def tell(self, table: str, rows: Sequence[Authored], session: AsyncIOMotorClientSession) -> None:
        """Says who makes the changes of the collection `table` that come next in the transaction, in their order."""
        known = [(row_id, author) for row_id, author in rows if author is not None]
        if not known:
            return
        authors = list(dict.fromkeys(author for _, author in known))
        numbers = {author: number for number, author in enumerate(authors)}
        document: Document = {
            # A replacement that changes nothing would be no change, and tell nobody.
            "told": ObjectId(),
            "at": datetime.now(UTC),
            "table": table,
            "authors": [[each.run_id, [*each.chain], each.replay] for each in authors],
            "rows": [[row_id, numbers[author]] for row_id, author in known],
        }
        # The stubs have a method where the driver has a property.
        key = {"_id": cast(ClientSession, session.delegate).session_id["id"]}
        await self._authors.replace_one(key, document, upsert=True, session=session)


class Authors:
    """The authors that a transaction has told, as its changes are read."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, object], deque[Author]] = {}

    def told(self, document: Mapping[str, object]) -> None:
        """Takes in a document of `_authors`."""
        authors = [
            Author(str(run_id), tuple(map(str, chain)), str(replay))
            for run_id, chain, replay in cast(Iterable[tuple[object, list[object], object]], document["authors"])
        ]
        for row_id, number in cast(Iterable[tuple[object, int]], document["rows"]):
            self._rows.setdefault((str(document["table"]), row_id), deque()).append(authors[number])

    def of_next(self, table: str, row_id: object) -> Author | None:
        """Who made the next change of this row; None where nobody has told."""
        if not self._rows or not isinstance(row_id, str):
            return None
        waiting = self._rows.get((table, row_id))
        return waiting.popleft() if waiting else None

    def clear(self) -> None:
        """Another transaction begins."""
        self._rows.clear()
