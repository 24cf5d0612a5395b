"""A whole installation: topics, services as processes, and what a test asks of it from outside."""

import asyncio
import os
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar
from urllib.request import urlopen

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace import applying
from headrace.contracts.automation import parse_automation
from headrace.contracts.topics import DEAD_LETTERS
from headrace.embedded import Stack, Supervisor
from headrace.embedded.supervisor import ServiceProcess, settings_environment
from headrace.installation import READS, group_name, source_topics, topic_specs
from headrace.publisher import Publisher
from headrace.settings import Settings
from headrace.storage import RunFilter, Storage
from headrace.streams.admin import group_lag, make_topics
from headrace.streams.config import MAX_MESSAGE_BYTES

DEADLINE_S = 60.0
"""What takes longer has failed; the slowest wait of these tests takes a few seconds."""

_T = TypeVar("_T")


def until(true: Callable[[], bool], what: str) -> None:
    """Returns when `true` is; fails the test after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.05)  # state of other processes: there is nothing here to await


def run_headrace(
    settings: Settings, *arguments: str, stdin: str = "", columns: int = 200, timeout_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would, with the settings as its environment."""
    values = settings_environment(settings)
    environment = {name: value for name, value in os.environ.items() if name not in values}
    environment |= {name: value for name, value in values.items() if value is not None} | {"COLUMNS": str(columns)}
    argv = [str(Path(sys.executable).parent / "headrace"), *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, env=environment, timeout=timeout_s)


@dataclass(frozen=True)
class Installation:
    """A running installation with a prefix of its own."""

    settings: Settings
    services: Supervisor

    def apply(self, *documents: dict[str, object]) -> None:
        """Makes automations live."""
        parsed = [parse_automation(document) for document in documents]
        self.ask(lambda storage: applying.apply(self.settings, storage, parsed, "test"))

    def headrace(self, *arguments: str, stdin: str = "", columns: int = 200) -> subprocess.CompletedProcess[str]:
        """Runs the command line against it."""
        return run_headrace(self.settings, *arguments, stdin=stdin, columns=columns)

    def publisher(self, app: str) -> Publisher:
        """The SDK, connected to it."""
        servers = self.settings.kafka["bootstrap.servers"]
        return Publisher(app, prefix=self.settings.prefix, bootstrap_servers=servers)

    def produce(self, topic: str, value: bytes | None, headers: Mapping[str, str], key: bytes = b"key") -> None:
        """A record as any client could have made it."""
        producer = Producer({**self.settings.kafka, "message.max.bytes": MAX_MESSAGE_BYTES})
        producer.produce(f"{self.settings.prefix}.{topic}", value, key, headers={**headers})
        assert producer.flush(DEADLINE_S) == 0

    def ask(self, question: Callable[[Storage], Awaitable[_T]]) -> _T:
        """An answer from MongoDB."""

        async def run() -> _T:
            storage = Storage(self.settings)
            try:
                return await question(storage)
            finally:
                storage.close()

        return asyncio.run(run())

    def await_quiet(self) -> None:
        """Returns when every service, in the order of an event's way, has committed all that its topics hold."""
        for service in READS:
            group, topics = group_name(self.settings, service), source_topics(self.settings, service)
            until(lambda g=group, t=topics: group_lag(self.settings.kafka, g, t) == 0, f"lag 0 of {service}")

    def runs(self, app: str) -> list[Any]:
        """The app's runs with all their steps once all is quiet, newest first."""
        self.await_quiet()
        found = self.ask(lambda storage: storage.runs.find(RunFilter(app, limit=1000)))
        return [self.ask(lambda storage, id=run["_id"]: storage.runs.get(id)) for run in found]

    def dead_letters(self) -> list[dict[str, Any]]:
        """All dead letters once all is quiet, their bytes decoded."""
        self.await_quiet()
        found = [orjson.loads(value) for value in self.read(DEAD_LETTERS.full_name(self.settings.prefix))]
        for each in found:
            kept = each.get("value")
            each["value"] = each["job"].encode() if "value" not in each else None if kept is None else b64decode(kept)
        return found

    def read(self, topic: str) -> list[bytes]:
        """All committed values of a topic."""
        consumer = Consumer({**self.settings.kafka, "group.id": "test-reader", "isolation.level": "read_committed"})
        try:
            return [value for number in range(self.settings.partitions) for value in _values(consumer, topic, number)]
        finally:
            consumer.close()

    def process(self, name: str) -> ServiceProcess:
        """The youngest process of that name."""
        return [each for each in self.services.processes if each.name == name][-1]

    def get(self, process: str, path: str) -> str:
        """What a process's ops endpoint answers."""
        with urlopen(f"http://127.0.0.1:{self.process(process).ops_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


def _values(consumer: Consumer, topic: str, number: int) -> list[bytes]:
    first, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=DEADLINE_S)
    consumer.assign([TopicPartition(topic, number, first)])
    values: list[bytes] = []
    # position() passes transaction markers, which occupy offsets and are never delivered.
    while max(first, *(each.offset for each in consumer.position([TopicPartition(topic, number)]))) < end:
        for message in consumer.consume(1000, 0.2):
            assert message.error() is None, message.error()
            values.append(message.value() or b"")
    return values


@pytest.fixture
def start_services(tmp_path: Path) -> Generator[Callable[[Settings, Sequence[str]], Supervisor]]:
    """Starts services and waits until they are ready; they end with the test."""
    started: list[Supervisor] = []

    def start(settings: Settings, names: Sequence[str] = tuple(READS)) -> Supervisor:
        services = Supervisor(settings, tmp_path / "logs")
        started.append(services)
        for name in names:
            services.start_service(name)
        services.wait_ready()
        return services

    yield start
    for services in started:
        services.stop()


@pytest.fixture
def installation(topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]) -> Installation:
    """One process of each service, ready, on topics and databases of its own."""
    return Installation(topics, start_services(topics, tuple(READS)))


@pytest.fixture(scope="module")
def shared_gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Generator[Installation]:
    """A gateway for many requests of which none is told apart from the others by what it leaves."""
    settings = stack.settings.model_copy(update={"prefix": f"test-{token_hex(4)}", "partitions": 2})
    make_topics(settings.kafka, topic_specs(settings))
    with Supervisor(settings, tmp_path_factory.mktemp("logs")) as services:
        services.start_service("gateway")
        services.wait_ready()
        yield Installation(settings, services)
