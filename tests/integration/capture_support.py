"""What tests of change capture ask of the topic of rows, and a plain MongoDB client that knows nothing of Headrace."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from confluent_kafka import KafkaException
from conftest import until
from pymongo import MongoClient
from pymongo.database import Database

from headrace.contracts.cloudevents import Event, Location, read_event
from headrace.contracts.rows import RowChange, read_row_change
from headrace.contracts.topics import ROWS
from headrace.installation import capture_config
from headrace.settings import Settings
from headrace.streams import Record
from headrace.streams.admin import read_topic
from headrace.streams.source import read_place


@contextmanager
def foreign(settings: Settings) -> Generator[Database[dict[str, Any]]]:
    """The rows' database, as any other program sees it."""
    with MongoClient[dict[str, Any]](settings.mongodb, w="majority") as client:
        yield client[settings.rows_database]


def records(settings: Settings) -> list[Record]:
    """All committed records of the topic of rows."""
    return list(read_topic(settings.kafka, ROWS.full_name(settings.prefix)))


def await_records(settings: Settings, count: int) -> list[Record]:
    """The same, once there are so many."""
    found: list[Record] = []

    def there() -> bool:
        found[:] = records(settings)
        return len(found) >= count

    until(there, f"{count} records of rows")
    return found


def event_of(record: Record) -> tuple[Event, RowChange]:
    """What the matcher reads in it."""
    place = Location(record.topic, record.partition, record.offset)
    return read_event(record.headers, place, record.timestamp_ms), read_row_change(record.value)


def bodies(found: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """The records' values by key, in their order."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for record in found:
        by_key.setdefault((record.key or b"").decode(), []).append(orjson.loads(record.value or b""))
    return by_key


def place(settings: Settings) -> str | None:
    """The committed place."""
    try:
        return read_place(capture_config(settings))
    except KafkaException:
        return None
