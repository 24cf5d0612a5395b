"""A broker that is killed under load: what was answered 202 is there, and all else was asked for again."""

import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from conftest import DEADLINE_S, Installation, until
from gateway_support import APP, Client, client_of, records

from headrace.embedded import Stack, Supervisor
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.processes import Children
from headrace.installation import topic_specs
from headrace.settings import Settings
from headrace.streams.admin import make_topics

pytestmark = pytest.mark.integration

SENDERS = 8


@pytest.fixture
def broker(tmp_path: Path) -> Generator[EmbeddedKafka]:
    """One that nobody else uses."""
    children = Children()
    found = EmbeddedKafka(tmp_path / "kafka", children, lambda _: None)
    try:
        found.start()
        yield found
    finally:
        children.stop()


@pytest.fixture
def gateway(broker: EmbeddedKafka, settings: Settings, stack: Stack, tmp_path: Path) -> Generator[Installation]:
    own = settings.model_copy(update={"kafka_bootstrap_servers": broker.wait()})
    make_topics(own.kafka, topic_specs(own))
    with Supervisor(own, tmp_path / "logs") as services:
        services.start_service("gateway")
        services.wait_ready()
        yield Installation(own, services)


class Load:
    """Senders, each of which sends a delivery until it is accepted, and then the next."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        self.accepted: list[str] = []
        self.refused: list[str | None] = []
        self.wrong: list[object] = []

    def start(self) -> None:
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(DEADLINE_S)
            assert not each.is_alive()

    def _send(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            id = f"{number}-{count}"
            answer = self._client.post(f"/webhooks/{APP}/push?id={id}", {"id": id})
            if answer.status == 202:
                self.accepted.append(id)
                count += 1
            elif answer.status == 503:
                self.refused.append(answer.headers.get("retry-after"))
            else:
                self.wrong.append((answer.status, answer.body))


def test_nothing_that_was_answered_202_is_lost_when_the_broker_is_killed_under_load(
    gateway: Installation, broker: EmbeddedKafka
) -> None:
    steps = [{"id": "out", "collect": "1"}]
    trigger = {"type": "webhook", "id": "push", "dedupe_key": "{{ query.id }}"}
    gateway.apply({"name": "push", "app": APP, "trigger": trigger, "steps": steps})
    client = client_of(gateway)
    until(lambda: client.post(f"/webhooks/{APP}/push?id=first").status == 202, "the webhook")
    load = Load(client)
    load.start()
    try:
        until(lambda: len(load.accepted) > 100, "a load")
        broker.kill()
        # Longer than a request waits, so that some are told to come again.
        until(lambda: len(load.refused) >= SENDERS, "requests to be refused")
        before = len(load.accepted)
        broker.restart()
        until(lambda: len(load.accepted) > before + 100, "the load to go on")
    finally:
        load.stop()
    assert load.wrong == []
    assert set(load.refused) == {"5"}
    found = [headers["ce_id"] for _, _, headers in records(gateway, "webhooks")]
    assert set(load.accepted) <= set(found)
    # A copy of a delivery that nobody knew the fate of is the same event: its run is one.
    assert set(found) - set(load.accepted) <= {"first"} | {f"{n}-{_next(load, n)}" for n in range(SENDERS)}
    assert client.get("/openapi.json").status == 200


def _next(load: Load, number: int) -> int:
    return sum(each.startswith(f"{number}-") for each in load.accepted)
