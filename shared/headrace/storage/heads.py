"""Who owns each run, and the run's journal: the engine's port on MongoDB."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from headrace.engine.ports import Claim, Claimed
from headrace.engine.rows import OutcomeT, RowEffect, RowEntry
from headrace.storage.claims import ClaimWriter, keep_until, postpone
from headrace.storage.driver import Database, reaching_mongodb
from headrace.storage.journal import JournalWriter
from headrace.storage.ownership import entry_id

HEAD_OUTLIVES_JOURNAL = timedelta(hours=1)
"""A head that went first would let the run begin anew among the entries of its earlier life. MongoDB removes what has
expired once a minute, and later under load."""


class MongoRunHeads:
    """`run_heads` and `run_journal`; the rows of `append_with_row` go into the database `rows`.

    A head: `_id` = run id, `source` and `job` = [topic, partition, offset], `generation`, `segment`, `owner`, `session`
    = where the owner's transactions run, `entries` = how many entries its journal has. An entry: `_id` = run id/number,
    `entry` its bytes. Both may have `expires_at`.
    Implements the engine's `RunHeads`. Cancelling a caller takes nothing back.
    """

    def __init__(self, database: Database, rows: Database) -> None:
        self._heads = database["run_heads"]
        self._journal = database["run_journal"]
        self._appends = JournalWriter(self._heads, self._journal, rows)
        self._claims = ClaimWriter(self._heads, self._journal, self._appends.session)

    async def prepare(self) -> None:
        """Makes the collections and the indexes by which they forget; repeatable."""
        for collection in (self._heads, self._journal):
            await collection.create_index("expires_at", expireAfterSeconds=0)
        await self._appends.prepare()

    async def claim(self, claim: Claim) -> Claimed:
        """Makes `claim.owner` the run's owner if the claim stands; see the engine's port and `judge`.

        A run that expires no longer does once it goes on, with a later segment or generation. Raises
        PlatformUnavailable, JournalIncomplete, and ValueError for numbers beyond 64 bits.
        """
        return await self._claims.claim(claim)

    async def append(self, claim: Claim, number: int, entry: bytes) -> None:
        """Writes entry `number` if the claim still owns the run; see the engine's port.

        Of one run, one entry is written at a time. Raises OwnershipLost, PlatformUnavailable, ValueError for an entry
        over ENTRY_BYTES, and RuntimeError for a number under which something else is written.
        """
        await self._appends.append(claim, number, entry)

    async def append_with_row(
        self, claim: Claim, number: int, entry: RowEntry[OutcomeT], effect: RowEffect[OutcomeT]
    ) -> OutcomeT:
        """The same, and does `effect`: both or neither. Raises RowConflict, RowMissing and RowRefused as well."""
        return await self._appends.append_with_row(claim, number, entry, effect)

    async def expire(self, ended: Mapping[str, int], at: datetime) -> None:
        """Lets the journals of these runs go at `at`, and their heads HEAD_OUTLIVES_JOURNAL later.

        `ended` is each run's generation that came to its end: one that was redriven since is passed over, and so are
        runs that have no head. Repeatable; `at` is aware. Raises PlatformUnavailable, then some may be done.
        """
        with reaching_mongodb():
            asked = {"_id": {"$in": [*ended]}}
            known = await self._heads.find(asked, {"entries": 1, "generation": 1}).to_list(None)
            found = [head for head in known if int(head["generation"]) <= ended[str(head["_id"])]]
            ids = [entry_id(str(head["_id"]), number) for head in found for number in range(int(head["entries"]))]
            await keep_until(self._journal, ids, at)
            await keep_until(self._heads, [str(head["_id"]) for head in found], at + HEAD_OUTLIVES_JOURNAL)

    async def keep(self, run_ids: Sequence[str], until: datetime) -> None:
        """Those of these runs that expire do not before `until`, nor do their journals.

        Repeatable; runs that do not expire, or have no head, are passed over. `until` is aware. Raises
        PlatformUnavailable, then some may be done.
        """
        expiring = {"_id": {"$in": [*run_ids]}, "expires_at": {"$exists": True}}
        with reaching_mongodb():
            found = await self._heads.find(expiring, {"entries": 1}).to_list(None)
            ids = [entry_id(str(head["_id"]), number) for head in found for number in range(int(head["entries"]))]
            await postpone(self._journal, ids, until)
            await postpone(self._heads, [str(head["_id"]) for head in found], until + HEAD_OUTLIVES_JOURNAL)
