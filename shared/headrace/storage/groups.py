"""Which partitions each consumer group has committed: a memory that outlives Kafka's own."""

from collections.abc import Iterable

from headrace.storage.driver import Database, reaching_mongodb


class GroupStore:
    """Collection `groups`: `_id` = group, `partitions` = ["topic/number", …]."""

    def __init__(self, database: Database) -> None:
        self._groups = database["groups"]

    async def known(self, group: str) -> frozenset[tuple[str, int]]:
        """The partitions remembered; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._groups.find_one({"_id": group})
        names: list[str] = found["partitions"] if found else []
        return frozenset((topic, int(number)) for topic, _, number in (name.rpartition("/") for name in names))

    async def remember(self, group: str, partitions: Iterable[tuple[str, int]]) -> None:
        """Adds partitions, durably; raises PlatformUnavailable."""
        names = sorted(f"{topic}/{number}" for topic, number in partitions)
        with reaching_mongodb():
            await self._groups.update_one({"_id": group}, {"$addToSet": {"partitions": {"$each": names}}}, upsert=True)

    async def forget(self, group: str) -> None:
        """Forgets a group, as if it had never run; raises PlatformUnavailable."""
        with reaching_mongodb():
            await self._groups.delete_one({"_id": group})
