"""One caller's journal entry on its way into a transaction, and what it does to a row."""

from collections.abc import Mapping, Sequence

from headrace.engine.ports import Claim
from headrace.engine.rows import Author, NewRow, RowConflict, RowCreated, RowDelete, RowEffect, RowEntry, RowUpdate
from headrace.storage import row_documents as rows
from headrace.storage.coalescing import Waiting
from headrace.storage.driver import Document
from headrace.storage.ownership import entry_id

ENTRY_BYTES = 15 << 20
"""What fits into a document of 16 MB with its id."""


class Append(Waiting[object]):
    """One caller's entry. Raises ValueError for more than ENTRY_BYTES."""

    def __init__(self, claim: Claim, number: int, entry: bytes) -> None:
        super().__init__((claim.run_id,), len(entry))
        self.claim = claim
        self.id = entry_id(claim.run_id, number)
        self.entry = checked(entry)
        self.result: object = None
        """What the caller will be told."""

    def written(self) -> None:
        """Ends it well."""
        self.end(self.result)


class RowAppend(Append):
    """An entry that says what became of a row. Until that is known, `entry` is its beginning."""

    def __init__(self, claim: Claim, number: int, entry: RowEntry[object], table: str, author: Author | None) -> None:
        super().__init__(claim, number, entry.beginning)
        self.table = table
        self.author = author
        self._entry_of = entry.of

    def became(self, outcome: object) -> None:
        """This became of the row; raises ValueError as well."""
        self.result, self.entry = outcome, checked(self._entry_of(outcome))


class Creation(RowAppend):
    """An entry, and a row to create. Raises RowRefused for one that can never be stored."""

    def __init__(self, claim: Claim, number: int, entry: RowEntry[object], new: NewRow) -> None:
        super().__init__(claim, number, entry, rows.collection_name(new.app, new.table), new.author)
        self.row, size = rows.checked(new.row_id, new.row, new.origin)
        self.found = False
        """Whether this origin made the row before; the transaction then makes none."""
        self.keys = (*self.keys, _key(self.table, new.row_id))
        self.became(RowCreated(rows.public(self.row), created=True))
        self.size = len(self.entry) + size

    def resolve(self, stored: Mapping[str, Document]) -> bool:
        """Its row may be in `stored`: the same step's is answered as it is, another's is a conflict.

        Answers whether it was there.
        """
        found = stored.get(self.row["_id"])
        if found is None:
            return False
        if found.get(rows.ORIGIN) == self.row[rows.ORIGIN]:
            self.found = True
            self.became(RowCreated(rows.seen(found), created=False))
        else:
            self.end(RowConflict(f"a row with the id {self.row['_id']!r} exists already"))
        return True


class Change(RowAppend):
    """An entry, and a row to update or delete. Many of one row may go together: they are done one after the other."""

    def __init__(self, claim: Claim, number: int, entry: RowEntry[object], effect: RowUpdate | RowDelete) -> None:
        table = rows.collection_name(effect.app, effect.table)
        super().__init__(claim, number, entry, table, effect.author)
        self.effect = effect
        self.shared = (_key(self.table, effect.row_id),)
        if isinstance(effect, RowUpdate):
            self.size += rows.checked(effect.row_id, effect.columns, "")[1]


def append_with_row(claim: Claim, number: int, entry: RowEntry[object], effect: RowEffect[object]) -> Append:
    """The entry with the effect; raises ValueError and RowRefused as these do."""
    match effect:
        case NewRow():
            return Creation(claim, number, entry, effect)
        case RowUpdate() | RowDelete():
            return Change(claim, number, entry, effect)
        case _:
            raise TypeError(f"{type(effect).__name__} is no effect on a row")


def creations(group: Sequence[Append]) -> dict[str, list[Creation]]:
    """Those that have a row to insert, by its collection."""
    tables: dict[str, list[Creation]] = {}
    for append in group:
        if isinstance(append, Creation) and not append.found:
            tables.setdefault(append.table, []).append(append)
    return tables


def changes(group: Sequence[Append]) -> dict[str, list[Change]]:
    """Those that have a row to update or delete, by its collection, in their order."""
    tables: dict[str, list[Change]] = {}
    for append in group:
        if isinstance(append, Change):
            tables.setdefault(append.table, []).append(append)
    return tables


def checked(entry: bytes) -> bytes:
    """`entry`; raises ValueError for more than ENTRY_BYTES."""
    if len(entry) > ENTRY_BYTES:
        raise ValueError(f"a journal entry has {len(entry)} bytes; {ENTRY_BYTES} are accepted")
    return entry


def _key(table: str, row_id: str) -> str:
    return f"{table}/{row_id}"
