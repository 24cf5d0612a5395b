"""The audit: who did what to the installation, when, and to how many."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from pymongo import DESCENDING

from headrace.storage.driver import Database, Document, plain, reaching_mongodb

Conclusion = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was done. `asked` is what it was done to, `how` what was chosen beside that, both as they were
    given; `count` how many were done, the last of them at `counted_at` where it counts on the way. `ended` is "" while
    it goes on, and for ever if it was killed."""

    id: str
    action: str
    by: str
    at: datetime
    asked: Mapping[str, object]
    how: Mapping[str, object]
    count: int = 0
    counted_at: datetime | None = None
    ended: Conclusion | Literal[""] = ""
    ended_at: datetime | None = None


class AuditStore:
    """Collection `audit`: `_id` = the action's id. Nothing is ever removed."""

    def __init__(self, database: Database) -> None:
        self._audit = database["audit"]

    async def prepare(self) -> None:
        """Makes the index by which actions are listed."""
        await self._audit.create_index([("at", DESCENDING)])

    async def begin(self, action: Action) -> None:
        """Writes the action down before it is done; raises PlatformUnavailable."""
        document: Document = {
            "_id": action.id,
            "action": action.action,
            "by": action.by,
            "at": action.at,
            "asked": dict(action.asked),
            "how": dict(action.how),
            "count": 0,
            "counted_at": None,
            "ended": "",
            "ended_at": None,
        }
        with reaching_mongodb():
            await self._audit.insert_one(document)

    async def end(self, id: str, ended: Conclusion, at: datetime, count: int) -> None:
        """The action is over. Raises PlatformUnavailable."""
        with reaching_mongodb():
            await self._audit.update_one({"_id": id}, {"$set": {"ended": ended, "ended_at": at, "count": count}})

    async def find(self, limit: int) -> list[Action]:
        """Actions, newest first; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._audit.find().sort("at", DESCENDING).limit(limit).to_list(None)
        return [_action(each) for each in found]

    async def get(self, id: str) -> Action | None:
        """One action; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._audit.find_one({"_id": id})
        return None if found is None else _action(found)


def _action(document: Document) -> Action:
    return Action(
        id=document["_id"],
        action=document["action"],
        by=document["by"],
        at=document["at"],
        asked=cast("Mapping[str, object]", plain(document["asked"])),
        how=cast("Mapping[str, object]", plain(document["how"])),
        count=int(document["count"]),
        counted_at=document.get("counted_at"),  # older actions do not tell
        ended=document["ended"],
        ended_at=document["ended_at"],
    )
