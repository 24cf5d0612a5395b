"""Reads a topic without a group, whole or from its end on: each process is given all of it."""

import threading
import time
from collections.abc import Callable, Mapping

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from headrace.streams.errors import StreamFailed
from headrace.streams.records import Partition, Record, read_message

POLL_WAIT_S = 0.05
"""Bounds how old a definition may be that a batch is matched with: the design's 100 ms, with room."""

COMMIT_EVERY_S = 0.2
"""How often positions are committed: who publishes waits for them."""


class CompactedReader:
    """Gives every record of `topic` to `apply`, in order per partition, in a thread of its own.

    `apply` never raises. Positions are committed under `group` after the records were applied, for others to see how
    far this process is; they are never read back: memory starts empty, so reading starts at the beginning.

    `from_end`: what is there already concerns nobody here. It has caught up once it knows where each partition ends,
    and nobody waits for its position, which is not committed.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        topic: str,
        group: str,
        apply: Callable[[Record], None],
        *,
        from_end: bool = False,
    ) -> None:
        self._consumer = Consumer(
            {
                **kafka,
                "client.id": group,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._topic = topic
        self._apply = apply
        self._from_end = from_end
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._behind: set[Partition] = set()
        self._committed: dict[Partition, int] = {}
        self._last_commit = 0.0
        self.failure: StreamFailed | None = None
        self._last_beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="compacted", daemon=True)

    @property
    def caught_up(self) -> bool:
        """Whether it has once seen the end of every partition."""
        return self._caught_up.is_set()

    def stalled_s(self) -> float:
        """Seconds since it last read, or looked; endless once it has failed, which no waiting mends."""
        return time.monotonic() - self._last_beat if self.failure is None else float("inf")

    def start(self) -> None:
        """Begins to read; raises StreamFailed if the topic is not there."""
        metadata = self._consumer.list_topics(self._topic, timeout=10).topics[self._topic]
        if metadata.error is not None:
            raise StreamFailed(f"topic {self._topic}: {metadata.error}")
        begin = OFFSET_END if self._from_end else OFFSET_BEGINNING
        partitions = [TopicPartition(self._topic, number, begin) for number in metadata.partitions]
        self._behind = {(self._topic, number) for number in metadata.partitions}
        self._consumer.assign(partitions)
        self._thread.start()

    def wait(self, stop: threading.Event) -> bool:
        """Returns True when it has caught up, False when asked to stop; raises StreamFailed."""
        while not self._caught_up.wait(POLL_WAIT_S):
            if self.failure is not None:
                raise self.failure
            if stop.is_set():
                return False
        return True

    def close(self) -> None:
        """Stops reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._read()
                if not self._from_end:
                    self._commit()
                self._last_beat = time.monotonic()
        except (StreamFailed, KafkaException) as error:
            self.failure = StreamFailed(f"reading {self._topic} failed: {error}")

    def _read(self) -> None:
        messages = self._consumer.consume(1, POLL_WAIT_S)
        if messages:
            messages += self._consumer.consume(1_000, 0)
        for message in messages:
            error = message.error()
            if error is None:
                self._apply(read_message(message))
            elif error.code() == KafkaError._PARTITION_EOF:  # pyright: ignore[reportPrivateUsage]
                self._behind.discard((self._topic, int(message.partition() or 0)))
                if not self._behind:
                    self._caught_up.set()
            elif error.fatal():
                raise StreamFailed(str(error))
            else:
                structlog.get_logger().warning("kafka consumer", topic=self._topic, error=str(error))

    def _commit(self) -> None:
        now = time.monotonic()
        if now - self._last_commit < COMMIT_EVERY_S:
            return
        self._last_commit = now
        positions = self._consumer.position(self._consumer.assignment())
        moved = [
            found
            for found in positions
            if found.offset >= 0 and self._committed.get((found.topic, found.partition)) != found.offset
        ]
        if not moved:
            return
        try:
            self._consumer.commit(offsets=moved, asynchronous=False)
        except KafkaException as error:
            if error.args[0].fatal():
                raise
            # Reading goes on without it, and so must this thread: who publishes waits, and it is told the next time.
            structlog.get_logger().warning("position not committed", topic=self._topic, error=error.args[0].str())
        else:
            self._committed.update({(found.topic, found.partition): found.offset for found in moved})
