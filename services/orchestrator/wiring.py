"""Wires the runtime's concurrent shape to the engine."""

from headrace.engine import AioHttpTransport, Orchestrator, Ports
from headrace.installation import stream_config
from headrace.service import DeadLetterWriter, Loop, StoredSuspectMemory
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import ConcurrentProcessor, GroupMemory
from services.orchestrator.jobs import JobRunner
from services.orchestrator.plans import Plans

NAME = "orchestrator"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> ConcurrentProcessor:
    """The service, ready to run; makes the indexes."""
    loop.run(storage.prepare())
    dead_letter = DeadLetterWriter(NAME, settings)
    ports = Ports(
        rows=storage.rows,
        http=AioHttpTransport(),
        prefix=settings.prefix,
        allow_private_hosts=settings.allow_private_hosts,
    )
    runner = JobRunner(settings, Plans(storage.automations), Orchestrator(ports), storage.heads, dead_letter)
    config = stream_config(settings, NAME, MAX_BATCH)
    return ConcurrentProcessor(config, runner, dead_letter, memory, StoredSuspectMemory(storage), loop.run)
