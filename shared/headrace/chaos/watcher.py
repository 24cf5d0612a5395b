"""Sees committed output arrive, as any `read_committed` client does, and knows which partition it came from."""

import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, cast

import orjson
from confluent_kafka import Consumer, TopicPartition

from headrace.contracts.topics import JOBS, RUNS
from headrace.settings import Settings

REQUEST_TIMEOUT_S = 15.0
"""For one question to the broker, which answers in milliseconds."""

POLL_S = 0.02
"""The grain of what is measured: a fiftieth of a second, where recoveries take seconds."""


class Output(NamedTuple):
    """An output: when it arrived, which partition its input came from, when its event was published (epoch, s)."""

    arrived: float
    partition: int
    published: float


class Watcher:
    """Watches the output of one service from now on, in a thread. `close` ends it."""

    def __init__(self, settings: Settings, service: str) -> None:
        """`service` is orchestrator or trigger_matcher."""
        self._inner = "job" if service == "orchestrator" else "cause"
        topic = RUNS if service == "orchestrator" else JOBS["normal"]
        name = topic.full_name(settings.prefix)
        properties = {**settings.kafka, "group.id": "chaos-watcher", "isolation.level": "read_committed"}
        # Answers of the broker come as soon as anything is committed.
        self._consumer = Consumer({**properties, "fetch.wait.max.ms": 10, "enable.auto.commit": False})
        partitions = [TopicPartition(name, number) for number in range(settings.partitions)]
        for each in partitions:
            each.offset = self._consumer.get_watermark_offsets(each, timeout=REQUEST_TIMEOUT_S)[1]
        self._consumer.assign(partitions)
        self._outputs: list[Output] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="chaos-watcher", daemon=True)
        self._thread.start()

    def first_since(self, moment: float) -> dict[int, float]:
        """By partition: seconds from `moment` until the first output of an event that was published after it."""
        firsts: dict[int, float] = {}
        for output in tuple(self._outputs):
            if output.published >= moment:
                firsts.setdefault(output.partition, round(output.arrived - moment, 3))
        return firsts

    def forget(self) -> None:
        """Drops what was seen so far."""
        self._outputs = []

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()
        self._consumer.close()

    def _watch(self) -> None:
        while not self._closing.is_set():
            for message in self._consumer.consume(500, POLL_S):
                if message.error() is None:
                    self._outputs.append(self._output(message.value() or b""))

    def _output(self, value: bytes | str) -> Output:
        found: Mapping[str, object] = orjson.loads(value)
        inner = cast("Mapping[str, object]", found[self._inner])
        event = inner if self._inner == "cause" else cast("Mapping[str, object]", found["event"])
        published = datetime.fromisoformat(str(event["time"])).timestamp()
        return Output(time.time(), cast(int, inner["partition"]), published)
