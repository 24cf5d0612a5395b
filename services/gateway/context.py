"""What the routes work with."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.engine.apps import AppConfig
from headrace.settings import Settings
from headrace.storage import Storage
from services.gateway.identity import KnownKeys
from services.gateway.listeners import Listeners
from services.gateway.producing import Confirming
from services.gateway.replies import Replies


@dataclass(frozen=True, slots=True)
class Context:
    """One process's. Belongs to its event loop."""

    settings: Settings
    storage: Storage
    apps: Callable[[str], AppConfig]
    producer: Confirming
    keys: KnownKeys
    listeners: Listeners
    replies: Replies
