"""Rows as the engine needs them: what a step does to one, what it asks for, and the store that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from headrace.language import RowFilter


class RowRefused(Exception):
    """The store will never take this row as it is; the message, for the author, says why and quotes no value."""


class RowConflict(RowRefused):
    """A row with this id exists already, and another step, run or writer made it."""


class RowMissing(RowRefused):
    """There is no row of this id to be updated."""


class QueryRefused(Exception):
    """The store does not answer this query; `type` is a stable word, the message, for the author, says why."""

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type
        self.message = message


@dataclass(frozen=True, slots=True)
class RowCreated:
    """The row as it stands in the store; `created` is False when an earlier attempt of the same step made it."""

    row: Mapping[str, object]
    created: bool


@dataclass(frozen=True, slots=True)
class RowUpdated:
    """The whole row as it stands after the update."""

    row: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RowDeleted:
    """`deleted` is False where there was no such row."""

    deleted: bool


@dataclass(frozen=True, slots=True)
class Author:
    """The run that changes a row, as the change's event will name it.

    `chain`: the automations whose runs led to the change, the run's own the last one; `replay` as in its job.
    """

    run_id: str
    chain: tuple[str, ...]
    replay: str = ""


OutcomeT = TypeVar("OutcomeT")
OutcomeT_co = TypeVar("OutcomeT_co", covariant=True)


class RowEffect(Generic[OutcomeT_co]):
    """What a step does to one row: NewRow, RowUpdate or RowDelete, and nothing else, with what becomes of the row.

    `author` is the run whose step it is.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NewRow(RowEffect[RowCreated]):
    """A row to be created once per `origin`, the step key.

    With the same origin again the row is answered as it is, `created` False; one of another origin is a RowConflict.
    """

    app: str
    table: str
    row_id: str
    row: Mapping[str, object]
    origin: str
    author: Author | None = None


@dataclass(frozen=True, slots=True)
class RowUpdate(RowEffect[RowUpdated]):
    """Columns of a row to be changed: None clears one, those that are absent stay. No such row is a RowMissing."""

    app: str
    table: str
    row_id: str
    columns: Mapping[str, object]
    author: Author | None = None


@dataclass(frozen=True, slots=True)
class RowDelete(RowEffect[RowDeleted]):
    """A row to be deleted, if there is one."""

    app: str
    table: str
    row_id: str
    author: Author | None = None


@dataclass(frozen=True, slots=True)
class SortBy:
    """A column to sort by."""

    column: str
    desc: bool = False


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Rows asked for: those that `filter` holds of (None: all), sorted, then by id.

    `cursor` is an earlier page's, of the same query: these come after it.
    """

    app: str
    table: str
    filter: RowFilter | None
    sort: tuple[SortBy, ...]
    limit: int
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RowPage:
    """Up to `limit` rows; there may be more while `cursor` is not None, even if these are fewer than were asked for."""

    rows: tuple[Mapping[str, object], ...]
    cursor: str | None


class RowStore(Protocol):
    """The rows of the apps, as these see them: `_id` is the row's id."""

    async def apply(self, effect: RowEffect[OutcomeT]) -> OutcomeT:
        """Does `effect` by itself, without a journal.

        Raises RowConflict and RowMissing as the effects say, RowRefused for a row the store can never take, and
        PlatformUnavailable when it is away: then it may be done or not.
        """
        ...

    async def get(self, app: str, table: str, row_id: str) -> Mapping[str, object] | None:
        """The row, None where there is none; raises PlatformUnavailable."""
        ...

    async def query(self, query: RowQuery) -> RowPage:
        """A page of rows; raises QueryRefused, PlatformUnavailable, TemplateError (see RowFilter.holds)."""
        ...


@dataclass(frozen=True, slots=True)
class RowEntry(Generic[OutcomeT]):
    """A journal entry that says what became of a row, which is known only while it is written.

    `ending` may be asked several times, of different outcomes; the last one counts.
    """

    beginning: bytes
    ending: Callable[[OutcomeT], bytes]

    def of(self, outcome: OutcomeT) -> bytes:
        """The whole entry."""
        return self.beginning + self.ending(outcome)
