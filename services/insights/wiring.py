"""The service: the worker, a watch over it, and what it answers."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import REGISTRY

from headrace.contracts.topics import STATS
from headrace.service import DeadLetterWriter, Loop
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import GroupMemory, metrics
from services.insights.judge import Judge
from services.insights.letters import Letters
from services.insights.progress import Look, Progress
from services.insights.queries import AutomationMetrics, insights
from services.insights.table import REQUEST_S, PartitionRows
from services.insights.worker import NAME, Worker

LOOK_EVERY_S = 1.0
"""How often the worker's progress is looked at: one request to Kafka for each partition."""


class Insights:
    """Counts until it is stopped, and is watched meanwhile."""

    def __init__(self, settings: Settings, loop: Loop, storage: Storage) -> None:
        self._settings = settings
        self._loop = loop
        self._judge = Judge(settings, storage.automations)
        self._letters = Letters(settings, DeadLetterWriter(NAME, settings))
        self._progress = Progress(time.monotonic)
        self._worker: Worker | None = None
        self._running: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_stopped = False
        self._stats = STATS.full_name(settings.prefix)
        REGISTRY.register(AutomationMetrics(lambda: self._partitions, time.time))

    @property
    def ready(self) -> bool:
        """Whether it takes part in its group and has its rows."""
        return self._worker is not None and self._worker.is_settled

    def stalled_s(self) -> float:
        """Seconds since it last counted something, or had nothing to count."""
        return self._progress.stalled_s()

    def answer(self, path: str, query: Mapping[str, str]) -> object | None:
        """`/insights`: counts, error rate and durations by automation; raises WrongQuery."""
        return insights(self._partitions, query, time.time()) if path == "/insights" else None

    def run(self) -> None:
        """Runs until `stop`; raises StreamFailed."""
        self._loop.run(self._main())

    def stop(self) -> None:
        """Asks `run` to write what is counted and return. Callable from a signal handler."""
        self._is_stopped = True
        loop, stop = self._running, self._stop
        if loop is not None and stop is not None:
            loop.call_soon_threadsafe(stop.set)

    @property
    def _partitions(self) -> Mapping[int, PartitionRows]:
        return {} if self._worker is None else self._worker.partitions

    async def _main(self) -> None:
        self._running, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._is_stopped:
            return
        self._worker = Worker(self._settings, self._judge, self._letters, self._progress)
        tasks = [asyncio.ensure_future(each) for each in (self._worker.run(self._stop), self._watch(self._worker))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            tasks[1].cancel()
            self._stop.set()
            await asyncio.wait(tasks)
            self._running = None

    async def _watch(self, worker: Worker) -> None:
        """Looks at what there is to count with a client of its own: a worker that no longer reads believes that all is
        read."""
        ends = Consumer({**self._settings.kafka, "group.id": "reads-ends", "isolation.level": "read_committed"})
        is_away = False
        while True:
            try:
                found = await asyncio.to_thread(self._ends, ends, sorted(worker.partitions))
            except KafkaException as away:
                self._progress.excuse()
                if not is_away:
                    structlog.get_logger().warning("Kafka away", reason=str(away.args[0]))
                is_away = True
            else:
                is_away = False
                positions = await worker.positions()
                self._progress.see(Look(positions, found, worker.is_settled, worker.moves))
                metrics.ASSIGNED.set(len(found))
                for number, end in found.items():
                    behind = max(0, end - max(0, positions.get(number, 0)))
                    metrics.LAG.labels(self._stats, str(number)).set(behind)
            await asyncio.sleep(LOOK_EVERY_S)

    def _ends(self, consumer: Consumer, numbers: Sequence[int]) -> dict[int, int]:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(self._stats, number), timeout=REQUEST_S)[1]
            for number in numbers
        }


def build(settings: Settings, loop: Loop, storage: Storage, memory: GroupMemory) -> Insights:
    """The service, ready to run. Its group's memory is Kafka's: counts of a day, not events, are what it may lose."""
    for name in ("faust", "aiokafka", "mode", __package__):
        # At `info` they tell every step, in tables; under our name what is of their kind.
        logging.getLogger(name).setLevel(logging.WARNING)
    return Insights(settings, loop, storage)
