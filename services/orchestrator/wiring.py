"""Wires the runtime's concurrent shape to the engine."""

from dataclasses import replace

from headrace.apps import load_apps
from headrace.contracts.topics import CONTROL
from headrace.engine import AioHttpTransport, Orchestrator, Ports, ScriptPool
from headrace.engine.sql.pools import SqlPools
from headrace.following import Following
from headrace.installation import stream_config
from headrace.service import DeadLetterWriter, Loop, StoredSuspectMemory
from headrace.settings import Settings
from headrace.storage import AppDatabases, Storage
from headrace.streams import ConcurrentProcessor, GroupMemory
from services.orchestrator.cancellations import Cancellations
from services.orchestrator.connected import ConnectedService
from services.orchestrator.jobs import JobRunner
from services.orchestrator.limits import Limits
from services.orchestrator.listeners import Listeners
from services.orchestrator.live import LiveAutomations
from services.orchestrator.pauses import Pauses
from services.orchestrator.plans import Plans
from services.orchestrator.stats import Summary

NAME = "orchestrator"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> ConnectedService:
    """The service, ready to run; makes the indexes. Raises SettingsError for an apps file that is wrong."""
    apps = load_apps(settings)
    loop.run(storage.prepare())
    dead_letter = DeadLetterWriter(NAME, settings)
    http, sql, mongodb, scripts = AioHttpTransport(), SqlPools(), AppDatabases(), ScriptPool()
    ports = Ports(
        rows=storage.rows,
        http=http,
        apps=apps,
        sql=sql,
        mongodb=mongodb,
        scripts=scripts,
        prefix=settings.prefix,
        allow_private_hosts=settings.allow_private_hosts,
        retry_tiers=tuple(settings.tiers),
        max_chain=settings.max_chain,
        max_iterations=settings.max_iterations,
    )
    plans, listeners, cancellations = Plans(storage.automations), Listeners(), Cancellations(loop)
    limits, pauses = Limits(), Pauses()
    runner = JobRunner(
        settings, plans, Orchestrator(ports), storage.heads, dead_letter, listeners, cancellations, limits, pauses
    )
    config = replace(stream_config(settings, NAME, MAX_BATCH), width=limits.width)
    processor = ConcurrentProcessor(
        config, runner, dead_letter, memory, StoredSuspectMemory(storage), loop.run, Summary(settings)
    )
    controlled = Following(NAME, settings, processor, cancellations.apply, CONTROL)
    following = Following(NAME, settings, controlled, LiveAutomations(listeners.heed, limits.heed, pauses.heed).apply)
    return ConnectedService(following, loop, (http.close, sql.close, mongodb.close, scripts.close))
