"""Records that are confirmed before a request is answered: many requests share a batch, and one turn of the loop."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from prometheus_client import Counter

from headrace.streams.config import MAX_MESSAGE_BYTES

CONFIRMED_WITHIN_S = 8.0
"""Then the answer is 503. Senders give up themselves: GitHub after 10 s, and an answer is more than none."""

MOST_WAITING = 20_000
"""Records that wait for Kafka: ten seconds of the rate that a process is made for. Beyond, 503 at once."""

MOST_WAITING_KB = 64 << 10
"""The same in bytes: sixty of the largest."""

UNCONFIRMED = Counter("headrace_unconfirmed_total", "Records that Kafka did not confirm in time, or at all", ["why"])

_POLL_S = 0.1
_FLUSH_S = 5.0


class Place(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


class NotConfirmed(Exception):
    """Nobody knows whether the record is in Kafka: to be sent again, under the same id. The message says why."""


class Refused(Exception):
    """Kafka will not take this record, however often it is sent; the message has Kafka's words."""


Headers = Sequence[tuple[str, bytes]]


class Confirming:
    """An idempotent producer for one event loop; keys go to the partitions where all our producers put them.

    Confirmations come in a thread of the client's and are handed to the loop together: a wake-up for each would cost
    more than the request.
    """

    def __init__(self, kafka: Mapping[str, str]) -> None:
        """Connects when it is started."""
        self._properties: dict[str, Any] = {
            **kafka,
            # Without it a retry could reorder a key's records.
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 1,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "delivery.timeout.ms": int(CONFIRMED_WITHIN_S * 1000),
            "queue.buffering.max.messages": MOST_WAITING,
            "queue.buffering.max.kbytes": MOST_WAITING_KB,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            # By default up to 10 s: a broker that is back would be found only after the requests have given up.
            "reconnect.backoff.max.ms": 1_000,
            "error_cb": self._failed,
        }
        self._producer: Producer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: deque[tuple[asyncio.Future[Place], Place | KafkaError]] = deque()
        self._closing = threading.Event()
        self._is_fatal = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._poll, name="confirmations", daemon=True)

    def start(self) -> None:
        """To be called once, in the loop that will `send`."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(self._properties)
        self._thread.start()

    def stalled_s(self) -> float:
        """Seconds since the thread that waits for confirmations last had a turn."""
        return time.monotonic() - self._beat if self._thread.is_alive() else 0.0

    async def send(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> Place:
        """Returns when every in-sync replica has the record; raises NotConfirmed, Refused.

        Records that are sent one after the other without an await in between keep their order within a key.
        """
        return await self.submit(topic, key, value, headers)

    def submit(self, topic: str, key: bytes | None, value: bytes, headers: Headers) -> "asyncio.Future[Place]":
        """Hands the record over; the future ends as `send` does."""
        if self._producer is None or self._loop is None:
            raise RuntimeError("not started")
        future: asyncio.Future[Place] = self._loop.create_future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._delivered(future, error, message)

        try:
            self._producer.produce(topic, value, key, headers=cast(Any, headers), on_delivery=delivered)
        except BufferError:
            UNCONFIRMED.labels("full").inc()
            future.set_exception(NotConfirmed("too many records wait for Kafka"))
        except KafkaException as error:
            self._end(future, error.args[0])
        return future

    async def close(self) -> None:
        """Waits for what is under way, a few seconds at the most, and ends."""
        if self._producer is None:
            return
        await asyncio.to_thread(self._producer.flush, _FLUSH_S)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)
        self._hand_over()

    def _delivered(self, future: "asyncio.Future[Place]", error: KafkaError | None, message: Message) -> None:
        if error is None:
            place = Place(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
            self._done.append((future, place))
        else:
            self._done.append((future, error))

    def _poll(self) -> None:
        while not self._closing.is_set():
            producer = self._producer
            if producer is None:
                return
            producer.poll(_POLL_S)
            self._beat = time.monotonic()
            if self._is_fatal:
                self._renew(producer)
            if self._done and self._loop is not None:
                try:
                    self._loop.call_soon_threadsafe(self._hand_over)
                except RuntimeError:
                    return  # the loop is closed: the process ends

    def _renew(self, dead: Producer) -> None:
        """An idempotent producer that has lost its place never sends again: another one does."""
        structlog.get_logger().warning("the producer has failed for good, and is replaced")
        self._is_fatal = False
        self._producer = Producer(self._properties)
        dead.purge()
        dead.flush(_FLUSH_S)  # the fate of what it had

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            self._is_fatal = True

    def _hand_over(self) -> None:
        while self._done:
            future, outcome = self._done.popleft()
            if future.done():
                continue  # its request is gone
            if isinstance(outcome, KafkaError):
                self._end(future, outcome)
            else:
                future.set_result(outcome)

    def _end(self, future: "asyncio.Future[Place]", error: KafkaError) -> None:
        if error.code() in _REFUSING:
            UNCONFIRMED.labels("refused").inc()
            future.set_exception(Refused(error.str()))
        else:
            UNCONFIRMED.labels("away").inc()
            future.set_exception(NotConfirmed(f"Kafka did not confirm it ({error.str()})"))


_REFUSING = frozenset((KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG))
