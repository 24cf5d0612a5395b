"""Run records as they can be read, for benches: what a user's own consumer would see."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from headrace.contracts.runs import RunRecord, read_run
from headrace.contracts.topics import RUNS
from headrace.settings import Settings


class RunWatch:
    """Reads all committed run records of an installation, from now on."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            {**settings.kafka, "group.id": f"{settings.prefix}-bench", "isolation.level": "read_committed"}
        )
        topic = RUNS.full_name(settings.prefix)
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        for each in partitions:
            each.offset = self._consumer.get_watermark_offsets(each, timeout=10)[1]
        self._consumer.assign(partitions)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._consumer.close()

    def read(self, until: Callable[[], bool], take: Callable[[RunRecord], None], timeout_s: float) -> None:
        """Gives each record to `take`, until `until`; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not until():
            messages = self._consumer.consume(1, 0.1) + self._consumer.consume(10_000, 0)
            for message in messages:
                if message.error() is None:
                    take(read_run(message.value()))
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all runs came to their end within {timeout_s:.0f} s")

    def read_all(self, take: Callable[[RunRecord], None], timeout_s: float) -> None:
        """Gives `take` what is there now and was not read yet; raises TimeoutError."""
        partitions = self._consumer.assignment()
        ends = {each.partition: self._consumer.get_watermark_offsets(each, timeout=10)[1] for each in partitions}
        starts = {each.partition: each.offset for each in partitions}

        def is_read() -> bool:
            # Before the first record of a partition its position is not known.
            found = {each.partition: each.offset for each in self._consumer.position(partitions)}
            return all(max(found[number], starts[number]) >= end for number, end in ends.items())

        self.read(is_read, take, timeout_s)
