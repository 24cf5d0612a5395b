"""Run records: applied in bulk, listed by app, automation, status and time, kept for a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast, get_args

from pymongo import DESCENDING, IndexModel, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, OperationFailure

from headrace.contracts.runs import FINAL_STATUSES, RunRecord, RunStatus
from headrace.storage.driver import (
    BAD_DOCUMENT_CODES,
    NOT_BSON,
    Database,
    Document,
    plain,
    reaching_mongodb,
    write_faults,
)
from headrace.storage.precedence import rounds

NAMESPACE_EXISTS_DIFFERENTLY = 85
"""IndexOptionsConflict: the TTL index exists with another retention."""

INDEX_NOT_FOUND = 27

EXPIRY = "ended_runs_expire"
"""The TTL index: only of runs that are at their end. One that sleeps for a year, or whose automation is paused for
longer than the retention, is still to be seen, and to be cancelled."""

FORMER_EXPIRY = "recorded_at_1"
"""That of before, which took every record."""

HISTORY_FIELDS = ("generation", "version", "status", "error", "started_at", "finished_at")
MOST_HISTORY = 20
"""Generations kept of a run, the newest: whoever redrives it more often learns nothing from the first ones."""

LONGEST_RETENTION_S = (1 << 31) - 1
"""What MongoDB accepts for `expireAfterSeconds`: 68 years."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did: runs seen first, newer states, records that change nothing, and those that cannot be stored.

    The four add up to the records given. `refused` holds (index into the records, reason); a reason quotes no value.
    """

    new: int
    replaced: int
    collapsed: int
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, newest first; `before` continues after a page's last `started_at`, and loses none."""

    app: str | None = None
    automation: str | None = None
    status: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 50


_Numbered = tuple[int, Document]
"""A document and its record's index."""

_WITHOUT_STEPS = {"steps": 0}


class RunStore:
    """Collection `runs`: `_id` = run id, the record's fields, `recorded_at`; of a run that was redriven also `history`:
    what its earlier generations came to, each with HISTORY_FIELDS, the oldest first."""

    def __init__(self, database: Database, retention_days: float) -> None:
        self._database = database
        self._runs = database["runs"]
        self._retention_s = max(1, min(int(retention_days * 86_400), LONGEST_RETENTION_S))

    async def prepare(self) -> None:
        """Makes the indexes; a changed retention changes the one that there is."""
        await self._runs.create_indexes(
            [
                IndexModel([("app", 1), ("automation", 1), ("started_at", DESCENDING)]),
                IndexModel([("app", 1), ("status", 1), ("started_at", DESCENDING)]),
            ]
        )
        ended = {"status": {"$in": sorted(FINAL_STATUSES)}}
        try:
            await self._runs.create_index(
                "recorded_at", name=EXPIRY, expireAfterSeconds=self._retention_s, partialFilterExpression=ended
            )
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS_DIFFERENTLY:
                raise
            changed = {"name": EXPIRY, "expireAfterSeconds": self._retention_s}
            await self._database.command("collMod", "runs", index=changed)
        try:
            await self._runs.drop_index(FORMER_EXPIRY)
        except OperationFailure as error:
            if error.code != INDEX_NOT_FOUND:
                raise

    async def apply(self, records: Sequence[RunRecord], recorded_at: datetime) -> Applied:
        """Writes what is newer than what is stored, by (generation, sequence), in whatever order records come.

        Within a generation a final status stays; what an earlier one came to becomes history. The same as applying the
        records one by one, and repeatable: applying them again changes nothing. A record that cannot be stored is
        refused and holds up no other. Raises PlatformUnavailable, then some may be written; `recorded_at` is aware.
        """
        new = replaced = 0
        refused: list[tuple[int, str]] = []
        remaining = list(range(len(records)))
        while remaining:
            faulty: dict[int, str] = {}
            for chosen in rounds(records, remaining):
                documents = [(index, _document(records[index], recorded_at)) for index in chosen]
                with reaching_mongodb():
                    existing, not_inserted = await self._insert(documents)
                    changed, not_replaced = await self._replace(existing)
                new += len(documents) - len(existing) - len(not_inserted)
                replaced += changed
                faulty.update(not_inserted)
                faulty.update(not_replaced)
            refused += faulty.items()
            # An older record of the same run may have been left out in favour of the one that was refused.
            runs = {records[index]["run_id"] for index in faulty}
            remaining = [index for index in remaining if records[index]["run_id"] in runs and index not in faulty]
        return Applied(new, replaced, len(records) - new - replaced - len(refused), tuple(sorted(refused)))

    async def get(self, run_id: str) -> Document | None:
        """The run's document; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._runs.find_one({"_id": run_id})
        return None if found is None else cast(Document, plain(found))

    async def ids_from(self, prefix: str, limit: int) -> list[str]:
        """The ids, at most `limit`, that begin with `prefix`; raises PlatformUnavailable."""
        # A range of the index: no character comes behind this one.
        asked = {"_id": {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}}
        with reaching_mongodb():
            found = await self._runs.find(asked, {"_id": 1}).sort("_id", 1).limit(limit).to_list(None)
        return [str(each["_id"]) for each in found]

    async def generations(self, run_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Generation and status of those runs that have a record; raises PlatformUnavailable."""
        with reaching_mongodb():
            cursor = self._runs.find({"_id": {"$in": list(run_ids)}}, {"generation": 1, "status": 1})
            found = await cursor.to_list(None)
        return {each["_id"]: (int(each["generation"]), str(each["status"])) for each in found}

    async def find(self, asked: RunFilter) -> list[Document]:
        """Runs newest first, without their steps; raises PlatformUnavailable.

        Runs that started in the last one's millisecond come with it, so a page may hold a few more than `limit`.
        """
        with reaching_mongodb():
            query = await self._query(asked)
            cursor = self._runs.find(query, _WITHOUT_STEPS).sort("started_at", DESCENDING).limit(asked.limit)
            page = await cursor.to_list(None)
            if page and len(page) == asked.limit:
                seen = {each["_id"] for each in page}
                same_time = self._runs.find({**query, "started_at": page[-1]["started_at"]}, _WITHOUT_STEPS)
                page += [each async for each in same_time if each["_id"] not in seen]
        return cast(list[Document], plain(page))

    async def _query(self, asked: RunFilter) -> Document:
        """The filter, with all that stands before the time in an index given, so that the index has the order too."""
        apps = [asked.app] if asked.app is not None else await self._runs.distinct("app")
        query: Document = {"app": {"$in": apps}}
        if asked.automation is not None:
            query["automation"] = asked.automation
        if asked.status is not None:
            query["status"] = asked.status
        elif asked.automation is None:
            query["status"] = {"$in": list(get_args(RunStatus))}
        times = {name: value for name, value in (("$gte", asked.since), ("$lt", asked.before)) if value is not None}
        if times:
            query["started_at"] = times
        return query

    async def count_by_status(self, app: str | None = None) -> dict[str, int]:
        """How many runs there are in each status; raises PlatformUnavailable."""
        stages: list[Document] = [{"$group": {"_id": "$status", "count": {"$sum": 1}}}]
        if app is not None:
            stages.insert(0, {"$match": {"app": app}})
        with reaching_mongodb():
            found = await self._runs.aggregate(stages).to_list(None)
        return {str(each["_id"]): int(each["count"]) for each in found}

    async def outcomes(self) -> list[tuple[str, str, str, str]]:
        """(automation, event id, key, status) of every run; raises PlatformUnavailable."""
        shown = {"automation": 1, "event.id": 1, "key": 1, "status": 1}
        with reaching_mongodb():
            found = await self._runs.find({}, shown).to_list(None)
        return [(str(r["automation"]), str(r["event"]["id"]), str(r["key"]), str(r["status"])) for r in found]

    async def last_recorded_at(self) -> datetime | None:
        """When the newest record was written; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._runs.find_one({}, {"recorded_at": 1}, sort=[("recorded_at", DESCENDING)])
        return None if found is None else found["recorded_at"]

    async def latencies_ms(self, app: str | None = None, automation: str | None = None) -> list[float]:
        """Milliseconds from each run's event to its `recorded_at`, ascending; raises PlatformUnavailable."""
        match = {name: value for name, value in (("app", app), ("automation", automation)) if value is not None}
        taken = {"$subtract": ["$recorded_at", "$event_time"]}
        with reaching_mongodb():
            found = await self._runs.aggregate([{"$match": match}, {"$project": {"ms": taken}}]).to_list(None)
        return sorted(float(each["ms"]) for each in found)

    async def _insert(self, documents: Sequence[_Numbered]) -> tuple[list[_Numbered], list[tuple[int, str]]]:
        """Inserts; answers those whose run is known already, and those that cannot be stored, found by halving."""
        if not documents:
            return [], []
        try:
            await self._runs.insert_many([document for _, document in documents], ordered=False)
        except BulkWriteError as error:
            faults = write_faults(error)
            existing = [documents[position] for position in faults.duplicates]
            return existing, [(documents[each.position][0], _refusal(each.code)) for each in faults.refused]
        except (*NOT_BSON, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code not in BAD_DOCUMENT_CODES:
                raise
            if len(documents) == 1:
                return [], [(documents[0][0], f"cannot be stored as BSON ({type(error).__name__})")]
        else:
            return [], []
        middle = len(documents) // 2
        # Halves that were written before the failure answer as existing, and their replacement is refused as not newer.
        first, second = await self._insert(documents[:middle]), await self._insert(documents[middle:])
        return first[0] + second[0], first[1] + second[1]

    async def _replace(self, documents: Sequence[_Numbered]) -> tuple[int, list[tuple[int, str]]]:
        """Replaces what is older; answers how many that were, and those that cannot be stored."""
        if not documents:
            return 0, []
        replacements = [_replacement(document) for _, document in documents]
        try:
            result = await self._runs.bulk_write(replacements, ordered=False)  # pyright: ignore[reportUnknownMemberType]
        except BulkWriteError as error:
            refused = write_faults(error).refused
            return int(error.details["nMatched"]), [
                (documents[each.position][0], _refusal(each.code)) for each in refused
            ]
        return result.matched_count, []


def _refusal(code: int) -> str:
    return f"MongoDB refuses the record (code {code})"


def _document(record: RunRecord, recorded_at: datetime) -> Document:
    document: Document = {"_id": record["run_id"], **record, "recorded_at": recorded_at}
    del document["run_id"], document["format"]
    return document


def _replacement(document: Document) -> ReplaceOne[Document] | UpdateOne:
    if document["generation"] == 0:  # there is nothing before it
        return ReplaceOne(_older(document), document)
    kept: Document = {"$ifNull": ["$history", []]}
    came_to = {name: f"${name}" for name in HISTORY_FIELDS}
    is_earlier = {"$lt": ["$generation", document["generation"]]}
    all_of_it = {"$cond": [is_earlier, {"$concatArrays": [kept, [came_to]]}, kept]}
    history = {"history": {"$slice": [all_of_it, -MOST_HISTORY]}}
    return UpdateOne(_older(document), [{"$replaceWith": {"$mergeObjects": [{"$literal": document}, history]}}])


def _older(document: Document) -> Document:
    generation = document["generation"]
    same_generation = {
        "generation": generation,
        "sequence": {"$lt": document["sequence"]},
        "status": {"$nin": sorted(FINAL_STATUSES)},
    }
    return {"_id": document["_id"], "$or": [{"generation": {"$lt": generation}}, same_generation]}
