"""The SDK: publish domain events and row changes, delivery confirmed.

from headrace import Publisher
with Publisher(app="shop") as publisher:
    publisher.event("order.created", {"order": 7, "total": 99.5})
"""

import asyncio
import dataclasses
import math
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, NamedTuple, Self, cast
from uuid import uuid4

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.contracts import limits
from headrace.contracts.cloudevents import ROW_TYPES, Event, event_headers, is_name
from headrace.contracts.errors import ContractError
from headrace.contracts.representable import refuse_deep
from headrace.contracts.rows import row_key

DELIVERY_TIMEOUT_MS = 30_000
"""Within this a record is confirmed or its future fails: long enough for a broker's restart."""

RESERVED = "headrace."
"""Event types that only Headrace's services publish."""


class PublishError(Exception):
    """The event was refused before it was sent, or Kafka did not confirm it; the message says which and why."""


class NotPublishable(PublishError):
    """The event was refused: it would never be accepted, however often it is sent."""


class Published(NamedTuple):
    """A confirmed record: the event's id and its place in Kafka."""

    id: str
    topic: str
    partition: int
    offset: int


class _Submitter:
    """What both publishers share: an idempotent producer, and a thread that serves its confirmations."""

    def __init__(
        self,
        app: str,
        *,
        bootstrap_servers: str | None = None,
        source: str | None = None,
        prefix: str = "headrace",
        kafka: Mapping[str, str] | None = None,
    ) -> None:
        servers = bootstrap_servers or os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if not servers:
            raise PublishError("no Kafka address: give bootstrap_servers or set KAFKA_BOOTSTRAP_SERVERS")
        if not is_name(app):
            raise NotPublishable(f"app {app!r}: an app's name is made of a-z, 0-9, '_' and '-'")
        self._app = _attribute("app", app)
        self._source = _attribute("source", source or f"headrace-sdk/{app}")
        self._prefix = prefix
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                **(kafka or {}),
                # Without it a retry could reorder a key's events.
                "enable.idempotence": True,
                "acks": "all",
                # Under load batches fill while requests are under way; alone an event should not wait for others.
                "linger.ms": 1,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
                # By default up to 10 s after a broker's return, which is a third of the time that there is.
                "reconnect.backoff.max.ms": 1_000,
                "message.max.bytes": limits.RECORD + limits.EVENT_BODY,
            }
        )
        self._closing = threading.Event()
        self._open = True
        self._handing_over = threading.Lock()
        """Held while a record is handed to the client: none comes between the last flush and the end of the poller."""
        self._poller = threading.Thread(target=self._poll, name="headrace-publisher", daemon=True)
        self._poller.start()

    def submit_event(
        self,
        type: str,
        data: object,
        *,
        key: str | None = None,
        id: str | None = None,
        time: datetime | None = None,
        subject: str = "",
    ) -> "Future[Published]":
        """Hands an event over without waiting; the future is done when Kafka has confirmed it.

        The same `id` again is the same event: automations run once for it. Events with the same `key` stay in order.
        Raises PublishError for what would never be accepted.
        """
        made = domain_event(self._app, self._source, type, data, key=key, id=id, time=time, subject=subject)
        return self._submit("events", *made)

    def submit_row(
        self,
        table: str,
        row_id: str,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
        id: str | None = None,
        time: datetime | None = None,
    ) -> "Future[Published]":
        """Hands a row change over without waiting: `after` alone is a creation, both an update, `before` alone a
        deletion. Raises PublishError for what would never be accepted."""
        op: Literal["c", "u", "d"]
        if after is None and before is None:
            raise NotPublishable("a row change has `before`, `after` or both")
        for name, image in (("before", before), ("after", after)):
            if image is not None and not isinstance(image, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise NotPublishable(f"a row maps columns to values; `{name}` is a {type(image).__name__}")
        op = "c" if before is None else "d" if after is None else "u"
        if not is_name(table):
            raise NotPublishable(f"table {table!r}: a table's name is made of a-z, 0-9, '_' and '-'")
        key = _attribute("row's key app/table/id", row_key(self._app, table, row_id)).encode()
        event = _event(self._app, self._source, ROW_TYPES[op], id, time, f"{table}/{row_id}")
        milliseconds = int(event.time.timestamp() * 1000)
        source = {"connector": "headrace", "db": self._app, "table": table, "ts_ms": milliseconds}
        change = {"op": op, "before": before, "after": after, "source": source, "ts_ms": milliseconds}
        return self._submit("rows", event, key, _encoded(change, "the row change", limits.RECORD))

    def flush(self) -> None:
        """Returns when everything handed over is confirmed or has failed."""
        self._producer.flush()

    def close(self) -> None:
        """Flushes and ends; what is handed over from now on is refused."""
        with self._handing_over:
            self._open = False
        self.flush()
        self._closing.set()
        self._poller.join()

    def _submit(self, topic: str, event: Event, key: bytes | None, value: bytes) -> "Future[Published]":
        done: Future[Published] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                done.set_exception(PublishError(f"Kafka did not confirm event {event.id}: {error}"))
            else:
                place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
                done.set_result(Published(event.id, *place))

        headers: list[tuple[str, str | bytes | None]] = [*event_headers(event)]
        while True:
            try:
                with self._handing_over:
                    if not self._open:
                        raise PublishError("the publisher is closed")
                    self._producer.produce(
                        f"{self._prefix}.{topic}", value, key, headers=headers, on_delivery=delivered
                    )
            except BufferError:
                self._producer.poll(0.1)  # full: the sender waits for Kafka instead of filling memory
            except KafkaException as error:
                raise PublishError(f"event {event.id} cannot be sent: {error.args[0]}") from None
            else:
                return done

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)


class Publisher(_Submitter):
    """Publishes and waits for the confirmation. Thread-safe; a context manager."""

    def event(self, type: str, data: object, *, key: str | None = None, id: str | None = None) -> Published:
        """Publishes a domain event; raises PublishError."""
        return self.submit_event(type, data, key=key, id=id).result()

    def row_created(self, table: str, row_id: str, row: Mapping[str, object], *, id: str | None = None) -> Published:
        """Publishes a row's creation; raises PublishError."""
        return self.submit_row(table, row_id, after=row, id=id).result()

    def row_updated(
        self, table: str, row_id: str, before: Mapping[str, object], after: Mapping[str, object]
    ) -> Published:
        """Publishes a row's change; raises PublishError."""
        return self.submit_row(table, row_id, before=before, after=after).result()

    def row_deleted(self, table: str, row_id: str, row: Mapping[str, object]) -> Published:
        """Publishes a row's deletion; raises PublishError."""
        return self.submit_row(table, row_id, before=row).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncPublisher(_Submitter):
    """The same for asyncio: `async with AsyncPublisher(app="shop") as publisher: await publisher.event(…)`."""

    async def event(self, type: str, data: object, *, key: str | None = None, id: str | None = None) -> Published:
        """Publishes a domain event; raises PublishError."""
        return await asyncio.wrap_future(self.submit_event(type, data, key=key, id=id))

    async def row_created(
        self, table: str, row_id: str, row: Mapping[str, object], *, id: str | None = None
    ) -> Published:
        """Publishes a row's creation; raises PublishError."""
        return await asyncio.wrap_future(self.submit_row(table, row_id, after=row, id=id))

    async def row_updated(
        self, table: str, row_id: str, before: Mapping[str, object], after: Mapping[str, object]
    ) -> Published:
        """Publishes a row's change; raises PublishError."""
        return await asyncio.wrap_future(self.submit_row(table, row_id, before=before, after=after))

    async def row_deleted(self, table: str, row_id: str, row: Mapping[str, object]) -> Published:
        """Publishes a row's deletion; raises PublishError."""
        return await asyncio.wrap_future(self.submit_row(table, row_id, before=row))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class DomainEvent(NamedTuple):
    """A record of the topic of events, ready to be sent."""

    event: Event
    key: bytes | None
    value: bytes


def domain_event(
    app: str,
    source: str,
    type: str,
    data: object,
    *,
    key: str | None = None,
    id: str | None = None,
    time: datetime | None = None,
    subject: str = "",
    traceparent: str = "",
) -> DomainEvent:
    """An event as every publisher must make it; raises NotPublishable for what would never be accepted."""
    if not type or _attribute("type", type).startswith(RESERVED):
        raise NotPublishable(f"event type {type!r}: must not be empty nor begin with {RESERVED!r}")
    event = _event(app, _attribute("source", source), type, id, time, subject)._replace(traceparent=traceparent)
    value = _encoded(data, "the event's body", limits.EVENT_BODY)
    return DomainEvent(event, None if key is None else _attribute("key", key).encode(), value)


def _event(app: str, source: str, type: str, id: str | None, time: datetime | None, subject: str) -> Event:
    at = time or datetime.now(UTC)
    id = _attribute("id", id) if id else str(uuid4())
    return Event(id, source, type, at, _attribute("subject", subject), app, "", "")


def _attribute(name: str, text: str) -> str:
    """`text`, if it can be a header or a key."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise NotPublishable(f"the {name} is a {type(text).__name__}; expected text")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise NotPublishable(f"the {name} holds half of a surrogate pair, which is no text") from None
    if size > limits.ATTRIBUTE:
        raise NotPublishable(f"the {name} has {size} bytes; {limits.ATTRIBUTE} are accepted")
    return text


def _encoded(data: object, what: str, most: int) -> bytes:
    try:
        value = orjson.dumps(data)
    except orjson.JSONEncodeError as error:
        raise NotPublishable(f"the data cannot be JSON: {error}") from None
    # NaN and the infinities become null without a word; only where there is one is it looked who meant it.
    if b"null" in value and not _is_finite(data):
        raise NotPublishable("the data cannot be JSON: they hold NaN or an infinite number")
    if len(value) > most:
        raise NotPublishable(f"{what} has {len(value)} bytes; {most} are accepted")
    try:
        refuse_deep(value, what)  # numbers beyond 64 bits orjson has refused
    except ContractError as error:
        raise NotPublishable(error.message) from None
    return value


def _is_finite(data: object) -> bool:
    """Whether all numbers in it are; of what was written as JSON, so no deeper than that may be."""
    if isinstance(data, float):
        return math.isfinite(data)
    if isinstance(data, Mapping):
        return all(map(_is_finite, cast("Mapping[object, object]", data).values()))
    if isinstance(data, list | tuple):
        return all(map(_is_finite, cast("Sequence[object]", data)))
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        return all(_is_finite(getattr(data, each.name)) for each in dataclasses.fields(data))
    return True
