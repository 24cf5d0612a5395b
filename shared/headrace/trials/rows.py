"""Rows in memory, as the real store keeps them."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import orjson

from headrace.engine import (
    NewRow,
    RowConflict,
    RowCreated,
    RowDelete,
    RowDeleted,
    RowEffect,
    RowMissing,
    RowPage,
    RowQuery,
    RowRefused,
    RowUpdate,
    RowUpdated,
)
from headrace.engine.plain import dumps
from headrace.engine.rows import OutcomeT, QueryRefused
from headrace.language.values import kind_of

RESERVED_APP = "system"
"""MongoDB's own; see storage.rows."""

_ORDER = ("nothing", "number", "text", "object", "array", "boolean", "time")
"""How values of different types sort in the real store."""

Row = Mapping[str, object]


class WrittenRow(NamedTuple):
    """What a run has done to a row; `row` is the row afterwards, or what it was before it was deleted."""

    table: str
    id: str
    row: Row
    change: Literal["created", "updated", "deleted"] = "created"


class MemoryRows:
    """A RowStore for one run; `written` is what was done, in its order."""

    def __init__(self) -> None:
        self.written: list[WrittenRow] = []
        self._origins: dict[tuple[str, str, str], str] = {}
        self._rows: dict[tuple[str, str, str], Row] = {}

    async def apply(self, effect: RowEffect[OutcomeT]) -> OutcomeT:
        """Does `effect`; raises RowConflict, RowMissing and RowRefused as the real store does."""
        if isinstance(effect, NewRow):
            return cast(OutcomeT, self._create(effect))
        if isinstance(effect, RowUpdate):
            return cast(OutcomeT, self._update(effect))
        if isinstance(effect, RowDelete):
            return cast(OutcomeT, self._delete(effect))
        raise TypeError(f"{type(effect).__name__} is no effect on a row")

    async def get(self, app: str, table: str, row_id: str) -> Row | None:
        """The row, None where there is none."""
        return self._rows.get((app, table, row_id))

    async def query(self, query: RowQuery) -> RowPage:
        """A page of rows; the cursor is the number of those before it."""
        found = [row for (app, table, _), row in self._rows.items() if (app, table) == (query.app, query.table)]
        held = sorted((row for row in found if query.filter is None or query.filter.holds(row)), key=_id)
        for by in reversed(query.sort):
            held.sort(key=lambda row, column=by.column: _rank(row.get(column)), reverse=by.desc)
        try:
            start = int(query.cursor or 0)
        except ValueError:
            raise QueryRefused("bad_cursor", "the cursor is not one that the same query gave") from None
        end = start + query.limit
        return RowPage(tuple(held[start:end]), str(end) if end < len(held) else None)

    def _create(self, new: NewRow) -> RowCreated:
        if new.app == RESERVED_APP:
            raise RowRefused(f"the app {RESERVED_APP} can have no rows")
        place = (new.app, new.table, new.row_id)
        if place in self._rows:
            if self._origins.get(place) != new.origin:
                raise RowConflict(f"table {new.table} has this row already")
            return RowCreated(self._rows[place], False)
        self._origins[place] = new.origin
        return RowCreated(self._keep(place, {"_id": new.row_id, **new.row}, "created"), True)

    def _update(self, update: RowUpdate) -> RowUpdated:
        place = (update.app, update.table, update.row_id)
        if place not in self._rows:
            raise RowMissing(f"table {update.table} has no such row")
        changed = {**self._rows[place], **update.columns}
        kept = {name: each for name, each in changed.items() if each is not None}
        return RowUpdated(self._keep(place, kept, "updated"))

    def _delete(self, delete: RowDelete) -> RowDeleted:
        row = self._rows.pop((delete.app, delete.table, delete.row_id), None)
        if row is not None:
            self.written.append(WrittenRow(delete.table, delete.row_id, row, "deleted"))
        return RowDeleted(row is not None)

    def _keep(self, place: tuple[str, str, str], row: Row, change: Literal["created", "updated"]) -> Row:
        # What is kept is a copy, as JSON has it: later changes of the run's values are none of the row's.
        kept: Row = orjson.loads(dumps(row))
        self._rows[place] = kept
        self.written.append(WrittenRow(place[1], place[2], kept, change))
        return kept


def _id(row: Row) -> str:
    return str(row["_id"])


def _rank(value: object) -> tuple[int, object]:
    kind = kind_of(value)
    comparable = value if kind in ("number", "text", "boolean", "time") else dumps(value)
    return _ORDER.index(kind), 0 if kind == "nothing" else comparable
