"""Topics that others write, in a whole installation: their records start runs, and nothing in them stops anything."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import orjson
import pytest
import yaml
from confluent_kafka import Producer
from conftest import DEADLINE_S, Installation, run_headrace, until
from schema_registry import SchemaRegistry, framed

from headrace.contracts.cloudevents import Location, read_event
from headrace.contracts.jobs import run_id
from headrace.embedded import Supervisor
from headrace.settings import Settings
from headrace.storage import RunFilter
from headrace.streams.admin import TopicSpec, make_topics

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).parents[1] / "samples/debezium"
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "int"}, {"name": "state", "type": "string"}],
}


class Others:
    """Their topics: other counts of partitions than ours, and times as producers set them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = Producer({**settings.kafka})

    def topic(self, name: str, partitions: int = 3) -> str:
        made = f"{self._settings.prefix}-{name}"
        spec = TopicSpec(made, partitions, 1, {"message.timestamp.type": "CreateTime"})
        make_topics(self._settings.kafka, [spec])
        return made

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None = b"k", headers: Mapping[str, str] | None = None
    ) -> None:
        self._producer.produce(topic, value, key, headers=dict(headers or {}), timestamp=1_000)
        assert self._producer.flush(DEADLINE_S) == 0

    def sample(self, topic: str, name: str) -> None:
        found = json.loads((SAMPLES / f"{name}.json").read_text())
        self.produce(topic, orjson.dumps(found["value"]), orjson.dumps(found["key"]))


@pytest.fixture
def others(topics: Settings) -> Others:
    return Others(topics)


@pytest.fixture
def registry() -> Generator[SchemaRegistry]:
    with SchemaRegistry().served() as served:
        yield served


Start = Callable[..., Installation]


@pytest.fixture
def start(topics: Settings, tmp_path: Path, start_services: Callable[[Settings, Sequence[str]], Supervisor]) -> Start:
    def started(*sources: dict[str, Any], registry: str | None = None) -> Installation:
        file = tmp_path / "sources.yaml"
        document: dict[str, Any] = {"sources": sources}
        file.write_text(yaml.safe_dump(document if registry is None else {**document, "registry": {"url": registry}}))
        settings = topics.model_copy(update={"sources_file": file})
        return Installation(settings, start_services(settings, ("trigger_matcher", "orchestrator", "recorder")))

    return started


def automation(name: str, trigger: dict[str, Any], collected: str) -> dict[str, object]:
    return {"name": name, "app": "shop", "trigger": trigger, "steps": [{"id": "out", "collect": collected}]}


CHANGED = automation(
    "changed",
    {"type": "row.updated", "table": "orders", "only_if_changed": ["state"], "when": "{{ row.state == 'paid' }}"},
    "{{ [trigger.id, trigger.changed, trigger.old_row.state, trigger.row.total] }}",
)
CREATED = automation("created", {"type": "row.created", "table": "orders"}, "{{ trigger.row.id }}")
PAID = automation("paid", {"type": "event", "event": "order.*"}, "{{ trigger.data.id }}")


def collected(installation: Installation, count: int) -> list[Any]:
    """What the app's runs came to, once there are so many."""
    until(lambda: len(found(installation)) >= count, f"{count} runs")
    runs = found(installation)
    assert all(each["status"] == "success" for each in runs), runs
    return sorted((each["collected"] for each in runs), key=str)


def found(installation: Installation) -> list[Any]:
    runs = installation.ask(lambda storage: storage.runs.find(RunFilter("shop", limit=1000)))
    return [installation.ask(lambda storage, id=each["_id"]: storage.runs.get(id)) for each in runs]


def letters(installation: Installation, count: int) -> list[Any]:
    def listed() -> list[Any]:
        done = installation.headrace("dlq", "list", "--json")
        assert done.returncode == 0, done.stderr
        return orjson.loads(done.stdout)

    until(lambda: len(listed()) >= count, f"{count} dead letters")
    return listed()


def test_a_row_of_postgres_starts_a_run_that_knows_what_changed(start: Start, others: Others) -> None:
    topic = others.topic("pg.public.orders")
    installation = start({"topic": topic, "format": "debezium", "app": "shop"})
    installation.apply(CHANGED, CREATED)
    others.sample(topic, "postgres_snapshot")
    others.sample(topic, "postgres_create")
    others.sample(topic, "postgres_update_with_schema")
    others.produce(topic, None, b'{"id": 7}')
    others.sample(topic, "heartbeat")
    assert collected(installation, 2) == [7, ["7", ["state", "total"], "open", "12.35"]]
    assert letters(installation, 0) == []


def test_a_topic_that_comes_later_and_matches_a_pattern_is_read_from_its_beginning(
    start: Start, others: Others
) -> None:
    first = others.topic("pg.public.first")
    pattern = f"^{first.removesuffix('public.first').replace('.', chr(92) + '.')}.+"
    installation = start({"topic": pattern, "format": "debezium", "app": "shop", "table": "orders"})
    installation.apply(CREATED)
    others.sample(first, "postgres_create")
    collected(installation, 1)
    others.sample(others.topic("pg.public.second", partitions=1), "postgres_create")
    assert collected(installation, 2) == [7, 7]


def test_what_stood_in_a_topic_that_begins_with_the_latest_starts_nothing(start: Start, others: Others) -> None:
    topic = others.topic("events")
    old = {"id": 1}
    others.produce(topic, orjson.dumps(old))
    installation = start(
        {"topic": topic, "format": "json", "app": "shop", "event_type": "order.paid", "begin": "latest"}
    )
    installation.apply(PAID)
    others.produce(topic, orjson.dumps({"id": 2}))
    assert collected(installation, 1) == [2]


def test_poison_of_others_is_a_dead_letter_that_is_redriven_beside_their_topic(
    start: Start, others: Others, tmp_path: Path
) -> None:
    topic = others.topic("events")
    installation = start({"topic": topic, "format": "json", "app": "shop", "event_type": "order.paid"})
    installation.apply(PAID)
    others.produce(topic, b"\xff\x00 nonsense", headers={"ce_app": "victim", "headrace_redriven": "other/0/0"})
    others.produce(topic, b'{"id": 2}')
    assert collected(installation, 1) == [2]
    (letter,) = letters(installation, 1)
    assert (letter["error"], letter["app"], letter["source"].split("/")[0]) == ("not_json", "shop", topic)
    mended = tmp_path / "mended.json"
    mended.write_text('{"id": 1}')
    done = installation.headrace("dlq", "redrive", letter["letter"], "--value", str(mended))
    assert done.returncode == 0, done.stderr
    assert collected(installation, 2) == [1, 2]
    (first,) = [run for run in found(installation) if run["collected"] == 1]
    partition, offset = map(int, letter["source"].split("/")[1:])
    place = read_event([("ce_app", b"shop")], Location(topic, partition, offset), 0)
    assert first["_id"] == run_id("shop", "paid", place), "it is the event of its first place"
    assert len(installation.read(f"{installation.settings.prefix}.replay")) == 1


def test_while_the_schema_registry_is_away_its_topics_wait_and_all_else_goes_on(
    start: Start, others: Others, registry: SchemaRegistry
) -> None:
    topic = others.topic("orders.avro")
    registry.schemas[5] = {"schema": json.dumps(ORDER)}
    registry.is_away = True
    source = {"topic": topic, "format": "avro", "app": "shop", "event_type": "order.paid"}
    installation = start(source, registry=registry.url)
    installation.apply(PAID)
    written = BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(ORDER), {"id": 5, "state": "paid"})
    others.produce(topic, framed(5, written.getvalue()))
    others.produce(topic, framed(6, written.getvalue()))
    until(lambda: "/schemas/ids/5" in registry.asked, "the question for the schema")
    with installation.publisher("shop") as publisher:
        publisher.event("order.paid", {"id": 1})
    assert collected(installation, 1) == [1]
    assert letters(installation, 0) == []
    registry.is_away = False
    assert collected(installation, 2) == [1, 5]
    (letter,) = letters(installation, 1)
    assert (letter["error"], letter["app"]) == ("unknown_schema", "shop")


def test_a_mistake_in_the_file_stops_the_matcher_with_its_place(topics: Settings, tmp_path: Path) -> None:
    file = tmp_path / "sources.yaml"
    for text, why in (
        ("sources: [{topic: a, format: debezium}]", "sources.0.app: must be given"),
        (f"sources: [{{topic: {topics.prefix}.rows, format: debezium, app: a}}]", "a topic of Headrace's own"),
    ):
        file.write_text(text)
        done = run_headrace(topics.model_copy(update={"sources_file": file}), "service", "trigger_matcher")
        assert done.returncode == 2
        assert f"HEADRACE_SOURCES_FILE: {file}: " in done.stdout + done.stderr
        assert why in done.stdout + done.stderr
