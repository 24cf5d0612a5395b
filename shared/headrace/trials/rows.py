"""Rows in memory, as the real store keeps them."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from headrace.engine import RowConflict, RowCreated, RowRefused
from headrace.engine.plain import dumps

RESERVED_APP = "system"
"""MongoDB's own; see storage.rows."""


class WrittenRow(NamedTuple):
    """A row that a run has created."""

    table: str
    id: str
    row: Mapping[str, object]


class MemoryRows:
    """A RowStore for one run; `written` are the rows created, in their order."""

    def __init__(self) -> None:
        self.written: list[WrittenRow] = []
        self._origins: dict[tuple[str, str, str], str] = {}
        self._rows: dict[tuple[str, str, str], Mapping[str, object]] = {}

    async def create(self, app: str, table: str, row_id: str, row: Mapping[str, object], origin: str) -> RowCreated:
        """Creates the row, once per `origin`; raises RowConflict where another step made one of this id, RowRefused."""
        if app == RESERVED_APP:
            raise RowRefused(f"the app {RESERVED_APP} can have no rows")
        place = (app, table, row_id)
        if place in self._rows:
            if self._origins[place] != origin:
                raise RowConflict(f"table {table} has this row already")
            return RowCreated(self._rows[place], False)
        # What is kept is a copy, as JSON has it: later changes of the run's values are none of the row's.
        kept: Mapping[str, object] = orjson.loads(dumps(row))
        self._rows[place], self._origins[place] = kept, origin
        self.written.append(WrittenRow(table, row_id, kept))
        return RowCreated(kept, True)
