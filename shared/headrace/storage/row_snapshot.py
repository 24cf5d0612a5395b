"""All rows as they stand, page by page."""

from collections.abc import Sequence
from typing import cast

from bson import encode
from bson.raw_bson import RawBSONDocument

from headrace.contracts.positions import ChangePosition, SnapshotPosition, beginning_at, row_fits
from headrace.storage.changes import Change, read_row
from headrace.storage.driver import Database, Document, reaching_mongodb
from headrace.storage.row_documents import decode, decoded, raw_collection
from headrace.storage.tables import table_of

MOST_ROWS = 500
MOST_BYTES = 8 << 20
"""Of a page: it is a Kafka transaction of about that size."""


class RowSnapshot:
    """Reads all rows from `position` on. A row that is changed meanwhile is found as it was before or after."""

    def __init__(self, database: Database, position: SnapshotPosition) -> None:
        self._database = database
        self.position = position
        """Behind the last row whose id fits into a position: after a crash those behind it are read again."""
        self._after = position.table, position.row

    @property
    def behind(self) -> ChangePosition:
        """Where the changes go on once all rows are read."""
        return beginning_at(self.position.time)

    async def read(self) -> Sequence[Change]:
        """The next rows; none at the end. Raises PlatformUnavailable."""
        with reaching_mongodb():
            names = sorted(await self._database.list_collection_names(filter={"type": "collection"}))
            for name in names:
                table = table_of(name)
                if table is None or name < self._after[0]:
                    continue
                if rows := await _rows(self._database, name, self._after[1] if name == self._after[0] else b""):
                    return [self._row(row, name, table) for row in rows]
        return ()

    def _row(self, row: Document, name: str, table: tuple[str, str]) -> Change:
        last = encode({"_id": row["_id"]})
        self._after = name, last
        if row_fits(last):
            self.position = SnapshotPosition(self.position.time, name, last)
        return read_row(row, table, self.position.time, self.position)


async def _rows(database: Database, name: str, after: bytes) -> list[Document]:
    """Rows behind the one whose `_id` the BSON document `after` has."""
    found = raw_collection(database, name).find({}).sort("_id", 1).hint([("_id", 1)])
    if after:
        # A comparison in the filter would look at ids of one type only.
        found = found.min([("_id", decode(after)["_id"])])
    rows: list[Document] = []
    size = 0
    async for each in found.batch_size(MOST_ROWS):
        raw = cast(RawBSONDocument, each)
        row = decoded(raw)
        if encode({"_id": row["_id"]}) == after:
            continue
        rows.append(row)
        size += len(raw.raw)
        if len(rows) >= MOST_ROWS or size > MOST_BYTES:
            break
    return rows
