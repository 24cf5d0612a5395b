"""Wires the runtime's concurrent shape to the engine."""

from collections.abc import Coroutine

from headrace.engine import AioHttpTransport, Orchestrator, Ports, ScriptPool
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
    scripts = ScriptPool()
    ports = Ports(
        rows=storage.rows,
        http=AioHttpTransport(),
        scripts=scripts,
        prefix=settings.prefix,
        allow_private_hosts=settings.allow_private_hosts,
    )
    runner = JobRunner(settings, Plans(storage.automations), Orchestrator(ports), storage.heads, dead_letter)
    config = stream_config(settings, NAME, MAX_BATCH)

    def run_in_loop(work: Coroutine[object, object, None]) -> None:
        try:
            loop.run(work)
        finally:
            loop.run(scripts.close())

    return ConcurrentProcessor(config, runner, dead_letter, memory, StoredSuspectMemory(storage), run_in_loop)
