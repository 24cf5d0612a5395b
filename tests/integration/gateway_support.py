"""A gateway as its callers see it: over real HTTP."""

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition
from conftest import DEADLINE_S, Installation

from headrace.api_keys import make_key
from headrace.contracts.roles import Role

APP = "shop"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def problem(self) -> str:
        """The problem's type, without what all begin with; fails where the answer is none."""
        assert self.headers["content-type"] == PROBLEM, (self.status, self.body)
        found = self.json
        assert found["status"] == self.status
        assert {"title", "detail", "request_id"} <= set(found)
        assert self.headers["x-request-id"] == found["request_id"]
        return str(found["type"]).removeprefix("urn:headrace:problem:")


@dataclass(frozen=True)
class Client:
    """Calls one gateway, with a key if it has one."""

    port: int
    key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        identity = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            connection.request(method, path, body, {**identity, **self.headers, **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, value: object = None, **headers: str) -> Answer:
        return self.call(
            "POST", path, b"" if value is None else orjson.dumps(value), {"Content-Type": "application/json", **headers}
        )

    def connect(self) -> socket.socket:
        """A connection, with nothing sent."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)

    def raw(self, sent: bytes) -> bytes:
        """What comes back until the gateway closes."""
        with self.connect() as connection:
            connection.sendall(sent)
            got = b""
            while part := connection.recv(65_536):
                got += part
            return got


def client_of(installation: Installation, key: str = "", slot: int = 0) -> Client:
    """A client of the gateway of that slot."""
    port = installation.process(f"gateway-{slot}").http_port
    assert port is not None
    return Client(port, key)


def key_of(installation: Installation, role: Role, app: str = APP, **more: Any) -> str:
    """A new key's text."""
    return installation.ask(lambda storage: make_key(storage, f"{role}s", {app: role}, "test", **more)).text


def records(installation: Installation, topic: str) -> list[tuple[bytes | None, Any, dict[str, str]]]:
    """Key, value and headers of all records of a topic, by partition and offset."""
    settings = installation.settings
    consumer = Consumer({**settings.kafka, "group.id": "test-records", "isolation.level": "read_committed"})
    name = f"{settings.prefix}.{topic}"
    found: list[tuple[bytes | None, Any, dict[str, str]]] = []
    try:
        for number in range(settings.partitions):
            first, end = consumer.get_watermark_offsets(TopicPartition(name, number), timeout=DEADLINE_S)
            consumer.assign([TopicPartition(name, number, first)])
            while sum(each.offset for each in consumer.position([TopicPartition(name, number)])) < end and first < end:
                for message in consumer.consume(1000, 0.2):
                    assert message.error() is None
                    headers = {key: (value or b"").decode() for key, value in message.headers() or ()}  # type: ignore
                    found.append((message.key(), orjson.loads(message.value() or b"null"), headers))
    finally:
        consumer.close()
    return found
