"""Wires the runtime's batch shape to the engine."""

from headrace.engine import AioHttpTransport, Orchestrator, Ports
from headrace.installation import stream_config
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import BatchProcessor
from headrace.streams.config import GroupMemory
from services.orchestrator.jobs import JobRunner
from services.orchestrator.plans import Plans

NAME = "orchestrator"
MAX_BATCH = 1_000


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> BatchProcessor:
    """The service, ready to run."""
    dead_letter = DeadLetterWriter(NAME, settings)
    ports = Ports(
        rows=storage.rows,
        http=AioHttpTransport(),
        prefix=settings.prefix,
        allow_private_hosts=settings.allow_private_hosts,
    )
    runner = JobRunner(settings, loop, Plans(storage.automations), Orchestrator(ports), dead_letter)
    config = stream_config(settings, NAME, MAX_BATCH)
    return BatchProcessor(config, runner, dead_letter, memory)
