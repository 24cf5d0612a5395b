"""What the routes work with."""

from dataclasses import dataclass

from headrace.settings import Settings
from headrace.storage import Storage
from headrace.stored_apps import StoredApps
from services.gateway.identity import Callers
from services.gateway.listeners import Listeners
from services.gateway.producing import Confirming
from services.gateway.replies import Replies


@dataclass(frozen=True, slots=True)
class Context:
    """One process's. Belongs to its event loop."""

    settings: Settings
    storage: Storage
    apps: StoredApps
    producer: Confirming
    keys: Callers
    listeners: Listeners
    replies: Replies
