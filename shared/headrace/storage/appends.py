"""One caller's journal entry on its way into a transaction."""

from collections.abc import Mapping, Sequence
from typing import cast

from headrace.engine.ports import Claim, RowConflict, RowCreated
from headrace.storage import rows
from headrace.storage.coalescing import Waiting
from headrace.storage.driver import Document, plain
from headrace.storage.ownership import entry_id


class Append(Waiting[RowCreated | None]):
    """One caller's entry, and its row if it has one."""

    def __init__(self, claim: Claim, number: int, entry: bytes) -> None:
        super().__init__((claim.run_id,), len(entry))
        self.claim = claim
        self.id = entry_id(claim.run_id, number)
        self.entry = entry
        self.table = ""
        self.row: Document | None = None
        self.found: Document | None = None
        """The row that this origin made before; the transaction then makes none."""

    def with_row(self, table: str, row: Document, size: int) -> None:
        """Adds the row, as it is to be stored in the collection `table`; it has `size` bytes."""
        self.table, self.row = table, row
        self.size += size
        self.keys = (*self.keys, f"{table}/{row['_id']}")

    @property
    def makes_row(self) -> bool:
        """Whether there is a row to insert."""
        return self.row is not None and self.found is None

    def written(self) -> None:
        """Ends it well."""
        if self.row is None:
            self.end(None)
        elif self.found is None:
            self.end(RowCreated(rows.public(self.row), created=True))
        else:
            self.end(RowCreated(rows.public(cast(Document, plain(self.found))), created=False))

    def resolve(self, stored: Mapping[str, Document]) -> bool:
        """Its row may be in `stored`: the same step's is answered as it is, another's is a conflict.

        Answers whether it was there.
        """
        row = cast(Document, self.row)
        found = stored.get(row["_id"])
        if found is None:
            return False
        if found.get(rows.ORIGIN) == row[rows.ORIGIN]:
            self.found = found
        else:
            self.end(RowConflict(f"a row with the id {row['_id']!r} exists already"))
        return True


def by_table(group: Sequence[Append]) -> dict[str, list[Append]]:
    """Those that have a row to insert, by its collection."""
    tables: dict[str, list[Append]] = {}
    for append in group:
        if append.makes_row:
            tables.setdefault(append.table, []).append(append)
    return tables
