"""Run records: applied in bulk, listed by app, automation, status and time, kept for a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from bson.errors import InvalidDocument
from pymongo import DESCENDING, IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from headrace.contracts.runs import FINAL_STATUSES, RunRecord
from headrace.storage.driver import DUPLICATE_KEY, Database, Document, reaching_mongodb

NAMESPACE_EXISTS_DIFFERENTLY = 85
"""IndexOptionsConflict: the TTL index exists with another retention."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did: runs seen first, newer states, second records of the same state, and those MongoDB refuses.

    `refused` holds (index into the records, reason).
    """

    new: int
    replaced: int
    collapsed: int
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, newest first; `before` continues after a page's last `started_at`."""

    app: str | None = None
    automation: str | None = None
    status: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    limit: int = 50


class RunStore:
    """Collection `runs`: `_id` = run id, the record's fields, `recorded_at`."""

    def __init__(self, database: Database, retention_days: float) -> None:
        self._database = database
        self._runs = database["runs"]
        self._retention_s = int(retention_days * 86_400)

    async def prepare(self) -> None:
        """Makes the indexes; a changed retention changes the one that there is."""
        await self._runs.create_indexes(
            [
                IndexModel([("app", 1), ("automation", 1), ("started_at", DESCENDING)]),
                IndexModel([("app", 1), ("status", 1), ("started_at", DESCENDING)]),
            ]
        )
        try:
            await self._runs.create_index("recorded_at", expireAfterSeconds=self._retention_s)
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS_DIFFERENTLY:
                raise
            changed = {"keyPattern": {"recorded_at": 1}, "expireAfterSeconds": self._retention_s}
            await self._database.command("collMod", "runs", index=changed)

    async def apply(self, records: Sequence[RunRecord], recorded_at: datetime) -> Applied:
        """Writes what is newer than what is stored, by (generation, sequence), in whatever order records come.

        Within a generation a final status stays. Repeatable: applying the same records again changes nothing. Raises
        PlatformUnavailable, then some may be written.
        """
        newest: dict[str, int] = {}
        for index, record in enumerate(records):
            other = newest.get(record["run_id"])
            if other is None or _order(record) > _order(records[other]):
                newest[record["run_id"]] = index
        documents = [(index, _document(records[index], recorded_at)) for index in newest.values()]
        with reaching_mongodb():
            existing, refused = await self._insert(documents)
            replaced = await self._replace(existing)
        new = len(documents) - len(existing) - len(refused)
        return Applied(new, replaced, len(records) - new - replaced - len(refused), tuple(refused))

    async def get(self, run_id: str) -> Document | None:
        """The run's document; raises PlatformUnavailable."""
        with reaching_mongodb():
            return await self._runs.find_one({"_id": run_id})

    async def find(self, asked: RunFilter) -> list[Document]:
        """Runs newest first, without their steps; raises PlatformUnavailable."""
        query: Document = {
            name: value
            for name, value in (("app", asked.app), ("automation", asked.automation), ("status", asked.status))
            if value is not None
        }
        times = {name: value for name, value in (("$gte", asked.since), ("$lt", asked.before)) if value is not None}
        if times:
            query["started_at"] = times
        with reaching_mongodb():
            cursor = self._runs.find(query, {"steps": 0}).sort("started_at", DESCENDING).limit(asked.limit)
            return await cursor.to_list(None)

    async def count_by_status(self, app: str | None = None) -> dict[str, int]:
        """How many runs there are in each status; raises PlatformUnavailable."""
        stages: list[Document] = [{"$group": {"_id": "$status", "count": {"$sum": 1}}}]
        if app is not None:
            stages.insert(0, {"$match": {"app": app}})
        with reaching_mongodb():
            found = await self._runs.aggregate(stages).to_list(None)
        return {str(each["_id"]): int(each["count"]) for each in found}

    async def latencies_ms(self, app: str | None = None, automation: str | None = None) -> list[float]:
        """Milliseconds from each run's event to its `recorded_at`, ascending; raises PlatformUnavailable."""
        match = {name: value for name, value in (("app", app), ("automation", automation)) if value is not None}
        taken = {"$subtract": ["$recorded_at", "$event_time"]}
        with reaching_mongodb():
            found = await self._runs.aggregate([{"$match": match}, {"$project": {"ms": taken}}]).to_list(None)
        return sorted(float(each["ms"]) for each in found)

    async def _insert(
        self, documents: Sequence[tuple[int, Document]]
    ) -> tuple[list[tuple[int, Document]], list[tuple[int, str]]]:
        """Inserts; answers those whose run is known already, and those that cannot be stored, found by halving."""
        if not documents:
            return [], []
        try:
            await self._runs.insert_many([document for _, document in documents], ordered=False)
        except BulkWriteError as error:
            errors = cast(list[dict[str, Any]], error.details["writeErrors"])
            if not errors:
                raise
            existing = [documents[int(each["index"])] for each in errors if each["code"] == DUPLICATE_KEY]
            refused = [
                (documents[int(each["index"])][0], f"MongoDB code {each['code']}")
                for each in errors
                if each["code"] != DUPLICATE_KEY
            ]
            return existing, refused
        except (InvalidDocument, OverflowError, DocumentTooLarge, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code not in _BAD_DOCUMENT_CODES:
                raise
            if len(documents) == 1:
                return [], [(documents[0][0], f"cannot be stored as BSON ({type(error).__name__})")]
        else:
            return [], []
        middle = len(documents) // 2
        # Halves that were written before the failure answer as existing, and their replacement is refused as not newer.
        first, second = await self._insert(documents[:middle]), await self._insert(documents[middle:])
        return first[0] + second[0], first[1] + second[1]

    async def _replace(self, documents: Sequence[tuple[int, Document]]) -> int:
        if not documents:
            return 0
        replacements = [ReplaceOne(_older(document), document) for _, document in documents]
        result = await self._runs.bulk_write(replacements, ordered=False)  # pyright: ignore[reportUnknownMemberType]
        return result.matched_count


_BAD_DOCUMENT_CODES = frozenset((2, 15, 22, 10334, 17419, 17420))
"""BadValue, Overflow, InvalidBSON, BSONObjectTooLarge and the too-large codes of a document after an update."""


def _order(record: RunRecord) -> tuple[int, int]:
    return record["generation"], record["sequence"]


def _document(record: RunRecord, recorded_at: datetime) -> Document:
    document: Document = {"_id": record["run_id"], **record, "recorded_at": recorded_at}
    del document["run_id"], document["format"]
    return document


def _older(document: Document) -> Document:
    generation = document["generation"]
    same_generation = {
        "generation": generation,
        "sequence": {"$lt": document["sequence"]},
        "status": {"$nin": sorted(FINAL_STATUSES)},
    }
    return {"_id": document["_id"], "$or": [{"generation": {"$lt": generation}}, same_generation]}
