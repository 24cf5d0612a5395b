"""Wires the runtime's concurrent shape to the engine."""

from collections.abc import Mapping
from dataclasses import replace

from headrace.contracts.jobs import PRIORITIES
from headrace.contracts.topics import CONTROL, JOBS
from headrace.engine import AioHttpTransport, Orchestrator, Ports, ScriptPool
from headrace.engine.sql.pools import SqlPools
from headrace.following import Following
from headrace.installation import retry_topics, stream_config
from headrace.service import DeadLetterWriter, Loop, StoredSuspectMemory
from headrace.settings import Settings
from headrace.storage import AppDatabases, Storage
from headrace.stored_apps import Refreshing, StoredApps
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
SHARES = (1.0, 0.75, 0.05)
"""Of the runs in flight: what the priorities high, normal and low may take at the most. Slow calls of one leave room
for the others, and what is low holds little when others come."""


def ranks(settings: Settings) -> Mapping[str, int]:
    """The order of the topics with jobs: their priorities', a retry being normal."""
    tiers = {topic.full_name(settings.prefix): PRIORITIES.index("normal") for topic in retry_topics(settings).values()}
    return tiers | {topic.full_name(settings.prefix): PRIORITIES.index(each) for each, topic in JOBS.items()}


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Refreshing:
    """The service, ready to run; makes the indexes. Raises SettingsError for an apps file that is wrong, and
    for stored values that the configured keys do not open."""
    apps = StoredApps(settings)
    loop.run(storage.prepare())
    loop.run(apps.load(storage))
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
    config = replace(stream_config(settings, NAME, MAX_BATCH), width=limits.width, ranks=ranks(settings), shares=SHARES)
    processor = ConcurrentProcessor(
        config, runner, dead_letter, memory, StoredSuspectMemory(storage), loop.run, Summary(settings)
    )
    controlled = Following(NAME, settings, processor, cancellations.apply, CONTROL)
    following = Following(NAME, settings, controlled, LiveAutomations(listeners.heed, limits.heed, pauses.heed).apply)
    connected = ConnectedService(following, loop, (http.close, sql.close, mongodb.close, scripts.close))
    return Refreshing(connected, settings, apps)
