"""Claims of runs, in bulk with their neighbours."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime

import pymongo
from bson.binary import UUID_SUBTYPE, Binary
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import Claim, Claimed, Standing
from headrace.storage.coalescing import Coalescer, Waiting
from headrace.storage.driver import Collection, write_faults
from headrace.storage.ownership import Head, entry_id, judge, new_head, owned_by, read_head

MOST_CLAIMS = 500
"""In one write: past this its fixed cost no longer shows, and the last of them would wait for all."""

OPEN_TRANSACTION_S = 2.0
"""For a compare-and-set to wait for transactions on its heads; those of a living worker take milliseconds."""

MOST_ROUNDS = 20
"""Of judging again what changed in between. Each one lost means that another claim or the TTL came first, so past this
something else is wrong; giving up is safe, and the caller comes back."""

MOST_IDS = 20_000
"""In one query: at 50 bytes each a megabyte, far below what a command may have."""

INT64 = 1 << 63
"""What BSON's integers end at."""


class JournalIncomplete(Exception):
    """Entries that a head counts are not in its journal: the run can't be continued without deciding anew.

    It happens to a job that comes back after its run's journal has expired, and to a damaged database. The claim's
    owner has the run; nothing else was changed.
    """


class _Wish(Waiting[Claimed]):
    def __init__(self, claim: Claim) -> None:
        # Two claims of a run must not race each other inside a batch: the second finds what the first has written.
        super().__init__((claim.run_id,))
        self.claim = claim


_Standing = dict[str, tuple[_Wish, Standing]]
"""By run: the wishes that own it if their compare-and-set matches, and what they are then."""


class ClaimWriter:
    """Judges claims against `heads`, makes those that stand, and reads what `journal` has for them."""

    def __init__(self, heads: Collection, journal: Collection, session: Callable[[], Awaitable[bytes]]) -> None:
        """`session` tells the id of the session in which this worker appends."""
        self._heads = heads
        self._journal = journal
        self._session = session
        self._claims = Coalescer[_Wish](self._write, MOST_CLAIMS)

    async def claim(self, claim: Claim) -> Claimed:
        """See the engine's port. Raises JournalIncomplete as well, and ValueError for numbers beyond 64 bits."""
        if not all(-INT64 <= each < INT64 for each in (claim.generation, claim.segment)):
            raise ValueError("a claim's generation and segment have 64 bits at most")
        wish = _Wish(claim)
        self._claims.add(wish)
        return await wish.outcome()

    async def _write(self, batch: Sequence[_Wish]) -> None:
        session = await self._session()
        left = {wish.claim.run_id: wish for wish in batch}
        # An insert that fails costs more than a read, and a later segment or generation nearly always has a head.
        heads = await self._read([run_id for run_id, wish in left.items() if _is_later(wish.claim)])
        for _ in range(MOST_ROUNDS):
            unread = [wish for run_id, wish in left.items() if run_id not in heads]
            heads |= await self._read(await self._insert(unread, session))
            if standing := _judge(left, heads):
                await self._compare_and_set(standing, heads, session)
                # It also tells how many entries there are: by now nobody but the new owner adds any.
                heads = await self._read([*standing])
                await self._answer(standing, heads)
            left = {run_id: wish for run_id, wish in left.items() if not wish.ended}
            if not left:
                return
        raise PlatformUnavailable("the heads of runs do not hold still")

    async def _insert(self, wishes: Sequence[_Wish], session: bytes) -> list[str]:
        """Makes heads and ends their wishes; answers the runs that have one already."""
        if not wishes:
            return []
        existing: set[int] = set()
        try:
            await self._heads.insert_many([new_head(wish.claim, session) for wish in wishes], ordered=False)
        except BulkWriteError as error:
            faults = write_faults(error)
            if faults.refused:
                raise
            existing.update(faults.duplicates)
        for position, wish in enumerate(wishes):
            if position not in existing:
                wish.end(Claimed("new"))
        return [wishes[position].claim.run_id for position in existing]

    async def _read(self, run_ids: Sequence[str]) -> dict[str, Head]:
        if not run_ids:
            return {}
        found = await self._heads.find({"_id": {"$in": run_ids}}).to_list(None)
        return {str(document["_id"]): read_head(document) for document in found}

    async def _compare_and_set(self, standing: _Standing, heads: Mapping[str, Head], session: bytes) -> None:
        """Makes each wish's owner the run's, where the head is still the one that was judged."""
        changes: list[UpdateOne] = []
        revived = [run_id for run_id, (_, found) in standing.items() if found == "advanced" and heads[run_id].expiring]
        await self._keep_journals(revived, heads)
        for run_id, (wish, _) in standing.items():
            head = heads[run_id]
            judged = {"_id": run_id, "owner": head.owner, "generation": head.generation, "segment": head.segment}
            change: dict[str, object] = {"$set": owned_by(wish.claim, session)}
            if run_id in revived:
                change["$unset"] = {"expires_at": ""}
            changes.append(UpdateOne(judged, change))
        try:
            with pymongo.timeout(OPEN_TRANSACTION_S):
                await self._heads.bulk_write(changes, ordered=False)  # pyright: ignore[reportUnknownMemberType]
        except PyMongoError as error:
            if not error.timeout:
                raise
            await self._end_transactions({heads[run_id].session for run_id in standing} - {session})

    async def _end_transactions(self, sessions: Iterable[bytes]) -> None:
        """Ends what the owners before us have left open: a worker killed in a transaction holds its heads for a minute.

        One that lives loses nothing but a try. MongoDB lets a user end its own sessions without any privilege.
        """
        asked = [{"id": Binary(each, UUID_SUBTYPE)} for each in sessions]
        try:
            await self._heads.database.client.admin.command("killSessions", asked)
        except OperationFailure as error:
            raise PlatformUnavailable(f"an earlier owner's transaction is open, and stays so ({error.code})") from None

    async def _answer(self, standing: _Standing, heads: Mapping[str, Head]) -> None:
        """Ends the wishes whose compare-and-set matched, with the journal of their runs."""
        won = {run_id: heads[run_id] for run_id, (wish, _) in standing.items() if _owns(wish.claim, heads.get(run_id))}
        # One that is taken over has ended where it expires: what ended it was committed, and whoever claims it does not
        # know that yet. Nobody would let it go again.
        late = [run_id for run_id, head in won.items() if head.expiring and standing[run_id][1] == "advanced"]
        await self._keep_journals(late, won)
        await keep_until(self._heads, late, None)
        entries = await self._entries([id for run_id, head in won.items() for id in _entry_ids(run_id, head)])
        for run_id, head in won.items():
            wish, found = standing[run_id]
            journal = tuple(entries[id] for id in _entry_ids(run_id, head) if id in entries)
            if len(journal) == head.entries:
                wish.end(Claimed(found, journal))
            else:
                text = f"run {run_id} has {len(journal)} of the {head.entries} journal entries that it had written"
                wish.end(JournalIncomplete(text))

    async def _keep_journals(self, run_ids: Sequence[str], heads: Mapping[str, Head]) -> None:
        """A run that goes on does not expire. The journal first: of a head that still expires this is done again."""
        ids = [id for run_id in run_ids for id in _entry_ids(run_id, heads[run_id])]
        await keep_until(self._journal, ids, None)

    async def _entries(self, ids: Sequence[str]) -> dict[str, bytes]:
        entries: dict[str, bytes] = {}
        for start in range(0, len(ids), MOST_IDS):
            cursor = self._journal.find({"_id": {"$in": ids[start : start + MOST_IDS]}}, {"entry": 1})
            entries.update({str(each["_id"]): bytes(each["entry"]) async for each in cursor})
        return entries


async def keep_until(collection: Collection, ids: Sequence[str], at: datetime | None) -> None:
    """Sets when documents expire, or that they do not."""
    change = {"$unset": {"expires_at": ""}} if at is None else {"$set": {"expires_at": at}}
    for start in range(0, len(ids), MOST_IDS):
        await collection.update_many({"_id": {"$in": ids[start : start + MOST_IDS]}}, change)


async def postpone(collection: Collection, ids: Sequence[str], at: datetime) -> None:
    """Those of the documents that expire do so at `at`, if that is later."""
    for start in range(0, len(ids), MOST_IDS):
        asked = {"_id": {"$in": ids[start : start + MOST_IDS]}, "expires_at": {"$exists": True}}
        await collection.update_many(asked, {"$max": {"expires_at": at}})


def _judge(left: Mapping[str, _Wish], heads: Mapping[str, Head]) -> _Standing:
    """Ends what owns nothing; a wish whose head is gone again is left to be made."""
    standing: _Standing = {}
    for run_id, wish in left.items():
        found = judge(heads.get(run_id), wish.claim)
        if found in ("duplicate", "stale"):
            wish.end(Claimed(found))
        elif found != "new":
            standing[run_id] = (wish, found)
    return standing


def _is_later(claim: Claim) -> bool:
    return (claim.generation, claim.segment) > (0, 0)


def _owns(claim: Claim, head: Head | None) -> bool:
    return head is not None and head.owner == claim.owner


def _entry_ids(run_id: str, head: Head) -> list[str]:
    return [entry_id(run_id, number) for number in range(head.entries)]
