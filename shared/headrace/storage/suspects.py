"""Records at which a worker died: how often each has killed one, until it is through or a dead letter."""

from collections.abc import Iterable
from datetime import UTC, datetime

from pymongo import ReturnDocument, UpdateOne

from headrace.storage.driver import Database, Document, reaching_mongodb

REMEMBERED_S = 7 * 86_400
"""A crash loop comes back within minutes; a week outlasts an installation that was down over holidays."""


class SuspectStore:
    """Collection `suspects`: `_id` = the record's name, `deaths`, `at` = the last change. Ids are the caller's text."""

    def __init__(self, database: Database) -> None:
        self._suspects = database["suspects"]

    async def prepare(self) -> None:
        """Makes the index by which marks are forgotten."""
        await self._suspects.create_index("at", expireAfterSeconds=REMEMBERED_S)

    async def found(self, ids: Iterable[str]) -> dict[str, int]:
        """Those of `ids` that are marked, with their deaths; raises PlatformUnavailable."""
        asked = [*ids]
        if not asked:
            return {}
        with reaching_mongodb():
            found = await self._suspects.find({"_id": {"$in": asked}}, {"deaths": 1}).to_list(None)
        return {str(each["_id"]): int(each["deaths"]) for each in found}

    async def mark(self, ids: Iterable[str]) -> None:
        """Marks `ids`; one that is marked already keeps its deaths. Raises PlatformUnavailable."""
        change: Document = {"$setOnInsert": {"deaths": 0}, "$set": {"at": datetime.now(UTC)}}
        marks = [UpdateOne({"_id": id}, change, upsert=True) for id in sorted({*ids})]
        if not marks:
            return
        with reaching_mongodb():
            await self._suspects.bulk_write(marks, ordered=False)  # pyright: ignore[reportUnknownMemberType]

    async def count(self, id: str) -> int:
        """Adds one to the deaths of `id`, marked or not, and answers them; raises PlatformUnavailable.

        After PlatformUnavailable it may be counted or not.
        """
        change: Document = {"$inc": {"deaths": 1}, "$set": {"at": datetime.now(UTC)}}
        with reaching_mongodb():
            found = await self._suspects.find_one_and_update(
                {"_id": id}, change, upsert=True, return_document=ReturnDocument.AFTER
            )
        return int(found["deaths"])

    async def take_back(self, id: str) -> None:
        """Takes one from the deaths of `id`, if it is marked; raises PlatformUnavailable."""
        with reaching_mongodb():
            await self._suspects.update_one({"_id": id, "deaths": {"$gt": 0}}, {"$inc": {"deaths": -1}})

    async def clear(self, ids: Iterable[str]) -> None:
        """Forgets `ids`; raises PlatformUnavailable."""
        asked = [*ids]
        if not asked:
            return
        with reaching_mongodb():
            await self._suspects.delete_many({"_id": {"$in": asked}})
