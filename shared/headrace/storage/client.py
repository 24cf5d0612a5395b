"""One connection to MongoDB and the stores on it."""

from datetime import UTC, datetime

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from headrace.contracts.positions import SnapshotPosition
from headrace.settings import Settings, SettingsError
from headrace.storage.app_values import AppValueStore
from headrace.storage.audit import AuditStore
from headrace.storage.automations import AutomationStore
from headrace.storage.change_stream import ChangeStream
from headrace.storage.dead_letters import DeadLetterStore
from headrace.storage.driver import Document, reaching_mongodb, remember_client
from headrace.storage.groups import GroupStore
from headrace.storage.heads import MongoRunHeads
from headrace.storage.keys import KeyStore
from headrace.storage.row_snapshot import RowSnapshot
from headrace.storage.rows import MongoRowStore
from headrace.storage.runs import RunStore
from headrace.storage.suspects import SuspectStore
from headrace.storage.table_definitions import TableStore

SELECTION_TIMEOUT_MS = 5_000
"""An election takes a few seconds; past this the platform part counts as away, and intake stops."""

SOCKET_TIMEOUT_MS = 30_000
"""A half-open connection must not hold a batch for ever; the largest bulk write takes well under a second."""


class Storage:
    """The stores of an installation. Belongs to the event loop in which it was made."""

    def __init__(self, settings: Settings) -> None:
        """Connects on first use; raises SettingsError for an address that is none."""
        self._client = _client(settings)
        remember_client(self._client)
        database = self._client[settings.prefix]
        self.runs = RunStore(database, settings.runs_retention_days)
        rows = self._client[settings.rows_database]
        self._rows = rows
        self.rows = MongoRowStore(rows)
        self.tables = TableStore(database, rows)
        self.changes = ChangeStream(rows)
        self.heads = MongoRunHeads(database, rows)
        self.suspects = SuspectStore(database)
        self.automations = AutomationStore(database)
        self.groups = GroupStore(database)
        self.dead_letters = DeadLetterStore(database)
        self.audit = AuditStore(database)
        self.keys = KeyStore(database)
        self.app_values = AppValueStore(database)

    async def prepare(self) -> None:
        """Makes the indexes, and what a save of a table was cut off before; repeatable. Raises PlatformUnavailable."""
        with reaching_mongodb():
            await self.runs.prepare()
            await self.automations.prepare()
            await self.heads.prepare()
            await self.suspects.prepare()
            await self.dead_letters.prepare()
            await self.audit.prepare()
            await self.tables.settle()

    def row_snapshot(self, position: SnapshotPosition) -> RowSnapshot:
        """Reads all rows from `position` on."""
        return RowSnapshot(self._rows, position)

    async def ping(self) -> datetime:
        """The server's time; raises PlatformUnavailable."""
        with reaching_mongodb():
            answer = await self._client.admin.command("hello")
        return answer["localTime"]

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()


def _client(settings: Settings) -> "AsyncIOMotorClient[Document]":
    try:
        return AsyncIOMotorClient(
            settings.mongodb,
            serverSelectionTimeoutMS=SELECTION_TIMEOUT_MS,
            socketTimeoutMS=SOCKET_TIMEOUT_MS,
            connectTimeoutMS=SELECTION_TIMEOUT_MS,
            tz_aware=True,
            tzinfo=UTC,
            # What the guarantees rest on; before the same options of the URI.
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            appname=settings.prefix,
        )
    except (PyMongoError, ValueError, TypeError) as error:
        # The driver's own message may quote a part of the password.
        raise SettingsError(f"MONGODB_URI: not a usable MongoDB address ({type(error).__name__})") from None
