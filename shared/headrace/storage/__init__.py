"""MongoDB, all of it: nothing else imports the driver, and no driver type leaves this folder."""

from headrace.storage.app_databases import AppDatabases
from headrace.storage.app_values import AppValue, AppValueStore, Former, Kind
from headrace.storage.audit import Action, AuditStore, Conclusion
from headrace.storage.automations import AutomationStore, RevisionChanged, Saved
from headrace.storage.change_stream import ChangeBatch, ChangesRefused, ChangeStream, PositionLost
from headrace.storage.changes import NO_IMAGES, Change, Unfit
from headrace.storage.client import Storage
from headrace.storage.dead_letters import (
    LETTER_STATES,
    ArrivedLetter,
    DeadLetterStore,
    Letter,
    LetterFilter,
    LetterState,
)
from headrace.storage.groups import GroupStore
from headrace.storage.heads import MongoRunHeads
from headrace.storage.keys import ApiKey, KeyStore
from headrace.storage.row_changes import RowNotMeant
from headrace.storage.row_snapshot import RowSnapshot
from headrace.storage.rows import MongoRowStore
from headrace.storage.runs import Applied, RunFilter, RunStore
from headrace.storage.suspects import SuspectStore
from headrace.storage.table_definitions import SavedTable, TableStore

__all__ = [
    "LETTER_STATES",
    "NO_IMAGES",
    "Action",
    "ApiKey",
    "AppDatabases",
    "AppValue",
    "AppValueStore",
    "Applied",
    "ArrivedLetter",
    "AuditStore",
    "AutomationStore",
    "Change",
    "ChangeBatch",
    "ChangeStream",
    "ChangesRefused",
    "Conclusion",
    "DeadLetterStore",
    "Former",
    "GroupStore",
    "KeyStore",
    "Kind",
    "Letter",
    "LetterFilter",
    "LetterState",
    "MongoRowStore",
    "MongoRunHeads",
    "PositionLost",
    "RevisionChanged",
    "RowNotMeant",
    "RowSnapshot",
    "RunFilter",
    "RunStore",
    "Saved",
    "SavedTable",
    "Storage",
    "SuspectStore",
    "TableStore",
    "Unfit",
]
