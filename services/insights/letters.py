"""Dead letters of records that cannot be counted."""

import asyncio

from confluent_kafka import Producer

from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Record, StreamFailed

FLUSH_S = 30.0
"""A broker that is up answers in milliseconds; past this the record is read again by whoever comes next."""


class Letters:
    """Sends them before the record's offset is committed: after a crash in between there are two of the same.

    By a producer of its own, because Faust's transactions reach only topics that it consumes.
    """

    def __init__(self, settings: Settings, write: DeadLetterWriter) -> None:
        self._write = write
        self._producer = Producer(
            {**settings.kafka, "enable.idempotence": True, "partitioner": "murmur2_random", "compression.type": "lz4"}
        )

    async def send(self, record: Record, type: str, message: str) -> None:
        """Returns when Kafka has it; raises StreamFailed."""
        letter = self._write(record, type, message)
        self._producer.produce(letter.topic, letter.value, letter.key)
        if await asyncio.to_thread(self._producer.flush, FLUSH_S):
            raise StreamFailed(f"a dead letter could not be written to {letter.topic} within {FLUSH_S:.0f} s")
