"""What stands in MongoDB, read whole from outside: for a harness that judges the system, never for a service."""

from dataclasses import dataclass

from motor.motor_asyncio import AsyncIOMotorClient

from headrace.settings import Settings
from headrace.storage.driver import Document, plain, reaching_mongodb


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as it is stored: whose, its id, and its columns."""

    app: str
    table: str
    id: str
    columns: dict[str, object]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as people find it."""

    id: str
    automation: str
    event: str
    source: str
    status: str
    generation: int
    sequence: int


class Inspection:
    """Reads all of an installation's runs and rows. Belongs to the event loop in which it was made."""

    def __init__(self, settings: Settings) -> None:
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(settings.mongodb, readConcernLevel="majority")
        self._runs = self._client[settings.prefix]["runs"]
        self._heads = self._client[settings.prefix]["run_heads"]
        self._rows = self._client[settings.rows_database]

    async def runs(self) -> list[StoredRun]:
        """Every run; raises PlatformUnavailable."""
        shown = dict.fromkeys(("automation", "event.id", "event.source", "status", "generation", "sequence"), 1)
        with reaching_mongodb():
            found = await self._runs.find({}, shown).to_list(None)
        return [
            StoredRun(
                str(each["_id"]),
                str(each["automation"]),
                str(each["event"]["id"]),
                str(each["event"]["source"]),
                str(each["status"]),
                int(each["generation"]),
                int(each["sequence"]),
            )
            for each in found
        ]

    async def open_heads(self) -> list[str]:
        """The ids of runs whose head does not expire: they are under way, or wait. Raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._heads.find({"expires_at": {"$exists": False}}, {"_id": 1}).to_list(None)
        return [str(each["_id"]) for each in found]

    async def rows(self) -> list[StoredRow]:
        """Every row of every app; raises PlatformUnavailable."""
        rows: list[StoredRow] = []
        with reaching_mongodb():
            for name in sorted(await self._rows.list_collection_names()):
                app, _, table = name.partition(".")
                async for document in self._rows[name].find({}):
                    columns: dict[str, object] = plain(document)
                    rows.append(StoredRow(app, table, str(columns.pop("_id")), columns))
        return rows

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
