"""Tables' definitions: read from files, saved and taken away, with an entry in the audit."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.auditing import audited
from headrace.contracts.automation import DocumentError
from headrace.contracts.tables import Table, parse_table
from headrace.documents import Located, WrongFiles, files_in, read
from headrace.storage import SavedTable, Storage


class Defined(NamedTuple):
    """A definition as it was saved; `changed` is False where it was the same before. `misfits` are some rows that do
    not fit it."""

    saved: SavedTable
    changed: bool
    misfits: Sequence[str]


class NotSaved(Exception):
    """A definition was not saved or taken away, as it is not, or no longer, the one that was meant."""


MOST_MISFITS = 10
"""Rows that are named; there may be more."""


def load_tables(*paths: Path) -> list[Table]:
    """The tables in files and directories; raises WrongFiles with all mistakes, DocumentError for none, OSError."""
    found: dict[str, Table] = {}
    wrong: list[Located] = []
    for file in files_in(paths):
        for source in read(file):
            try:
                table = parse_table(source.value)
            except DocumentError as error:
                wrong += map(source.located, error.mistakes)
            else:
                if table.id in found:
                    raise DocumentError(f"{file}: table {table.id} is there twice")
                found[table.id] = table
    if wrong:
        raise WrongFiles(*wrong)
    if not found:
        raise DocumentError(f"{', '.join(map(str, paths))}: no table found")
    return [*found.values()]


async def define(storage: Storage, table: Table, by: str, revision: int | None = None) -> Defined:
    """Saves a definition, over the one of `revision` where that is given (0: there must be none).

    The same again changes nothing. Raises NotSaved, PlatformUnavailable, and RowRefused for an app without tables.
    """
    before = await storage.tables.get(table.id)
    if before is not None and before.table == table and revision in (None, before.revision):
        return Defined(before, False, await storage.tables.misfits(table.id, MOST_MISFITS))
    asked = {"table": table.id}
    async with audited(storage, "define", by, asked, {"revision": revision}) as tally:
        saved = await storage.tables.save(table, by, revision)
        tally.count = int(saved is not None)
    if saved is None:
        raise NotSaved(f"table {table.id} is not at revision {revision} (any more): look at it, and save again")
    return Defined(saved, True, await storage.tables.misfits(table.id, MOST_MISFITS))


async def undefine(storage: Storage, id: str, by: str, revision: int | None = None) -> None:
    """Takes a definition away: the rows stay, and any row is taken from then on.

    Raises NotSaved, PlatformUnavailable.
    """
    if await storage.tables.get(id) is None:
        raise NotSaved(f"there is no table {id}; `headrace tables list` shows all")
    async with audited(storage, "undefine", by, {"table": id}, {"revision": revision}) as tally:
        tally.count = int(await storage.tables.remove(id, by, revision))
    if tally.count == 0:
        raise NotSaved(f"table {id} is not at revision {revision} (any more): look at it, and try again")
