"""Journal entries and the effects on rows that belong to them, under the owner's condition: many callers in one
transaction."""

import asyncio
import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import cast

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, CollectionInvalid, InvalidName, OperationFailure, PyMongoError

from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import Claim, OwnershipLost
from headrace.engine.rows import OutcomeT, RowEffect, RowEntry, RowRefused
from headrace.storage import appends
from headrace.storage import row_documents as rows
from headrace.storage.appends import Append, Change, RowAppend, changes, creations
from headrace.storage.coalescing import Coalescer
from headrace.storage.driver import (
    BAD_DOCUMENT_CODES,
    DUPLICATE_KEY,
    NAMESPACE_EXISTS,
    Collection,
    Database,
    faults,
)
from headrace.storage.row_authors import AuthorWriter
from headrace.storage.row_changes import SomeEnded, TooMuch, make_changes
from headrace.storage.row_refusals import refusal
from headrace.storage.tables import make_table

MOST_APPENDS = 500
"""In one transaction: past this its fixed cost no longer shows, and one that conflicts is done again as a whole."""

MOST_BYTES = 12 << 20
"""In one transaction: it then travels in one oplog entry of 16 MB."""

BACKOFF_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Before each new try of a transaction. A take-over conflicts for milliseconds; what lasts a second is an outage."""

RETRY_S = 5.0
"""After this no new try is begun: each may have waited for a server to be found."""

COMMIT_BACKOFF_S = (0.0, 0.1, 0.4)
"""Before a commit whose result is unknown is asked for again; the driver has by then asked twice itself."""

COMMIT_MS = 10_000
"""For a majority to confirm a commit. It takes milliseconds, so past this the majority is away."""

INVALID_NAMESPACE = 73

_CONFLICT = "TransientTransactionError"
_UNKNOWN = "UnknownTransactionCommitResult"
_KEPT_BEFORE = "entry %s exists already, and is not the same: the run's owner numbers its entries wrongly"

Session = AsyncIOMotorClientSession


class _Exists(Exception):
    """An id of the group exists already, or is being written by another transaction that came first."""


class _Refused(Exception):
    """MongoDB refuses one of `suspects`, a row each, for `why`."""

    def __init__(self, suspects: Sequence[Append], why: RowRefused) -> None:
        self.suspects = suspects
        self.why = why


class JournalWriter:
    """Appends to `journal` and makes rows in the database `tables`, while the head in `heads` names the owner."""

    def __init__(self, heads: Collection, journal: Collection, tables: Database) -> None:
        self._heads = heads
        self._journal = journal
        self._tables = tables
        self._authors = AuthorWriter(tables)
        self._opening = asyncio.Lock()
        self._session: Session | None = None
        self._made: set[str] = set()
        """Collections known to exist: making one inside a transaction conflicts with whoever else does."""
        self._appends = Coalescer[Append](self._write, MOST_APPENDS, MOST_BYTES)

    async def prepare(self) -> None:
        """Makes what the authors of rows are told in; repeatable."""
        await self._authors.prepare()

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        """See the engine's port. Raises ValueError for more than ENTRY_BYTES."""
        append = Append(claim, number, entry)
        self._appends.add(append)
        await append.outcome()

    async def append_with_row(
        self, claim: Claim, number: int, entry: RowEntry[OutcomeT], effect: RowEffect[OutcomeT]
    ) -> OutcomeT:
        """See the engine's port. Raises ValueError for more than ENTRY_BYTES."""
        append = appends.append_with_row(claim, number, cast(RowEntry[object], entry), effect)
        self._appends.add(append)
        return cast(OutcomeT, await append.outcome())

    async def session(self) -> bytes:
        """The id of the session in which all transactions of this writer run."""
        # The stubs have a method where the driver has a property.
        driver = cast(ClientSession, (await self._opened()).delegate)
        return bytes(driver.session_id["id"])

    async def _opened(self) -> Session:
        # One for all, so that heads can name it: it is how a transaction is ended whose worker is dead. A new
        # transaction also ends whatever an earlier one of the session has left on the server.
        async with self._opening:  # a claim and an append may ask at once
            if self._session is not None:
                return self._session
            opened: Session = await self._heads.database.client.start_session()
            self._session = opened
            return opened

    async def _write(self, group: Sequence[Append]) -> None:
        """Ends everyone of the group, or raises what ends those that are left."""
        left = await self._with_tables(group)
        tries = _Tries()
        while left:
            try:
                await self._transaction(left)
            except _Exists:
                if not await self._resolve(left):
                    await tries.again()
            except SomeEnded:
                pass
            except TooMuch:
                await self._write(left[: len(left) // 2])
            except _Refused as refused:
                await self._halve(left, refused)
            except PyMongoError as error:
                if not error.has_error_label(_CONFLICT):
                    raise
                # A row that other workers change as well must not hold up those who have nothing to do with it.
                bystanders = [append for append in left if not isinstance(append, Change)]
                if len(bystanders) < len(left):
                    await self._write(bystanders)
                await tries.again()
            left = [append for append in left if not append.ended]

    async def _transaction(self, group: Sequence[Append]) -> None:
        """Writes the group and ends it; whoever has lost the run is ended and left out."""
        session = await self._opened()
        async with session.start_transaction(max_commit_time_ms=COMMIT_MS):
            owners = await self._fence(group, session)
            if owners:
                await self._insert_rows(owners, session)
                await self._change_rows(owners, session)
                await self._insert_entries(owners, session)
                await _commit(session)
        for append in owners:
            append.written()

    async def _fence(self, group: Sequence[Append], session: Session) -> Sequence[Append]:
        """Those that own their runs, from now to the commit; the others are ended.

        The heads are updated: a take-over at the same time conflicts with that, as it would not with a read.
        """
        changes = [
            UpdateOne({"_id": append.claim.run_id, "owner": append.claim.owner}, {"$inc": {"entries": 1}})
            for append in group
        ]
        result = await self._heads.bulk_write(  # pyright: ignore[reportUnknownMemberType]
            changes, ordered=False, session=session
        )
        if result.matched_count == len(group):
            return group
        asked = {"_id": {"$in": [append.claim.run_id for append in group]}}
        found = await self._heads.find(asked, {"owner": 1}, session=session).to_list(None)
        owners = {each["_id"]: each["owner"] for each in found}
        owning: list[Append] = []
        for append in group:
            if owners.get(append.claim.run_id) == append.claim.owner:
                owning.append(append)
            else:
                append.end(OwnershipLost(f"run {append.claim.run_id} has another owner by now"))
        return owning

    async def _insert_entries(self, group: Sequence[Append], session: Session) -> None:
        try:
            await self._journal.insert_many([{"_id": each.id, "entry": each.entry} for each in group], session=session)
        except BulkWriteError as error:
            _raise_if_exists(error)
            raise

    async def _insert_rows(self, group: Sequence[Append], session: Session) -> None:
        for table, made in creations(group).items():
            await self._authors.tell(table, [(each.row["_id"], each.author) for each in made], session)
            with _refusing(made):
                await self._tables[table].insert_many([each.row for each in made], session=session)

    async def _change_rows(self, group: Sequence[Append], session: Session) -> None:
        for table, asked in changes(group).items():
            writes, changed = await make_changes(self._tables, table, asked, session, MOST_BYTES)
            if writes:
                await self._authors.tell(table, [(each.effect.row_id, each.author) for each in changed], session)
                with _refusing(changed):
                    await self._tables[table].bulk_write(  # pyright: ignore[reportUnknownMemberType]
                        writes, session=session
                    )

    async def _halve(self, group: Sequence[Append], refused: _Refused) -> None:
        """Refuses the one row, or looks for it in each half of those that it may be."""
        suspects = refused.suspects
        if len(suspects) == 1:
            suspects[0].end(refused.why)
        else:
            await self._write(suspects[: len(suspects) // 2])
        await self._write([append for append in group if not append.ended])

    async def _resolve(self, group: Sequence[Append]) -> bool:
        """Ends or marks those whose entry or row exists; answers whether there was any."""
        found = await self._journal.find({"_id": {"$in": [append.id for append in group]}}).to_list(None)
        entries = {str(each["_id"]): bytes(each["entry"]) for each in found}
        resolved = False
        for table, made in creations(group).items():
            asked = rows.collection(self._tables, table).find({"_id": {"$in": [each.row["_id"] for each in made]}})
            stored = {row["_id"]: row for row in await asked.to_list(None)}
            for creation in made:
                resolved |= creation.resolve(stored)
        for append in group:
            if append.id in entries:
                resolved = True
                if entries[append.id] == append.entry:
                    # The same owner's, as the fence has shown: an earlier try was committed, and its row with it.
                    append.written()
                elif isinstance(append, RowAppend):
                    # What became of the row is in that entry: who claims the run again reads it there.
                    append.end(PlatformUnavailable(f"entry {append.id} is written already"))
                else:
                    append.end(RuntimeError(_KEPT_BEFORE % append.id))
        return resolved

    async def _with_tables(self, group: Sequence[Append]) -> list[Append]:
        """Makes the collections that a group's rows need; refuses rows whose collection can't be."""
        for table, asked in creations(group).items():
            if table in self._made:
                continue
            try:
                await make_table(self._tables, table)
            except (CollectionInvalid, InvalidName, OperationFailure) as error:
                code = getattr(error, "code", INVALID_NAMESPACE)
                if code == INVALID_NAMESPACE:
                    for append in asked:
                        append.end(RowRefused(f"MongoDB refuses a collection for the table (code {code})"))
                    continue
                if code != NAMESPACE_EXISTS:
                    raise
            self._made.add(table)
        return [append for append in group if not append.ended]


class _Tries:
    """The tries that a group has."""

    def __init__(self) -> None:
        self._delays = iter(BACKOFF_S)
        self._end = monotonic() + RETRY_S

    async def again(self) -> None:
        """Waits for the next one; raises PlatformUnavailable when there is none."""
        delay = next(self._delays, None)
        if delay is None or monotonic() > self._end:
            raise PlatformUnavailable("MongoDB takes no transaction: it is away, or all of them conflict")
        # Two that conflict must not come back at the same time.
        await asyncio.sleep(delay * random.uniform(0.5, 1.5))


async def _commit(session: Session) -> None:
    """Commits; raises PlatformUnavailable when nobody can say whether it is committed."""
    for delay in COMMIT_BACKOFF_S:
        try:
            return await session.commit_transaction()
        except PyMongoError as error:
            if not error.has_error_label(_UNKNOWN):
                raise
        await asyncio.sleep(delay)
    raise PlatformUnavailable("MongoDB does not say whether a transaction is committed")


@contextmanager
def _refusing(written: Sequence[Append]) -> Generator[None]:
    """Turns what MongoDB says of the rows of `written`, one each and in their order, into _Exists and _Refused."""
    try:
        yield
    except BulkWriteError as error:
        _raise_if_exists(error)
        first = next((fault for fault in faults(error) if fault.code in BAD_DOCUMENT_CODES), None)
        if first is None:
            raise
        raise _Refused([written[first.position]], refusal(first.code, first.info)) from None
    except OperationFailure as error:
        if error.code not in BAD_DOCUMENT_CODES:
            raise
        raise _Refused(written, refusal(error.code, (error.details or {}).get("errInfo"))) from None


def _raise_if_exists(error: BulkWriteError) -> None:
    if any(fault.code == DUPLICATE_KEY for fault in faults(error)):
        raise _Exists from None
