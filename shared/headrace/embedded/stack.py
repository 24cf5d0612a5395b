"""Finds or starts a Kafka and a MongoDB: a configured address, else the embedded one, else a container."""

import weakref
from collections.abc import Callable
from types import TracebackType

from headrace.embedded.containers import Container, docker_missing, kafka_container, mongodb_container
from headrace.embedded.errors import StackError
from headrace.embedded.interrupts import uninterrupted
from headrace.embedded.jars import packages_missing
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.mongodb import EmbeddedMongoDB, mongod_missing
from headrace.embedded.processes import Children, Usage
from headrace.embedded.statefile import StackAddresses, StateDirectory
from headrace.settings import Settings, load_settings

Progress = Callable[[str], None]


class Stack:
    """A running Kafka and MongoDB. A context manager: what it started ends with it, or with this process.

    Made by `start_stack`.
    """

    def __init__(self, settings: Settings, on_progress: Progress) -> None:
        self._asked = settings
        self._on_progress = on_progress
        self._directory: StateDirectory | None = None
        self._containers: list[Container] = []
        self._addresses: StackAddresses | None = None
        self.children = Children()
        """The processes it started; none for configured addresses and containers."""
        weakref.finalize(self, _stop_containers, self._containers)

    @property
    def addresses(self) -> StackAddresses:
        """Where both parts are."""
        if self._addresses is None:
            raise RuntimeError("the stack is not open")
        return self._addresses

    @property
    def settings(self) -> Settings:
        """The settings with the addresses filled in."""
        return settings_with(self._asked, self.addresses)

    def check(self) -> None:
        """Raises StackError if an embedded part has died, with the end of its log."""
        self.children.check()

    def usage(self) -> list[Usage]:
        """CPU seconds and peak memory of the embedded parts."""
        return [child.usage() for child in self.children]

    def close(self) -> None:
        """Stops what was started; data stay. Interrupted by a signal, it still ends everything, only less gently."""
        try:
            if self._directory is not None:
                self._directory.withdraw()
            self.children.stop()
        finally:
            _stop_containers(self._containers)
            if self._directory is not None:
                self._directory.release()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, *, fresh: bool, containers: bool) -> None:
        """Finds or starts both parts. Raises StackError; `close` then ends what was started."""
        kafka_from = _origin("Kafka", self._asked.kafka_bootstrap_servers, packages_missing, containers)
        uri = self._asked.mongodb_uri.get_secret_value() if self._asked.mongodb_uri else None
        mongodb_from = _origin("MongoDB", uri, mongod_missing, containers)
        if "embedded" in (kafka_from, mongodb_from):
            self._directory = StateDirectory(self._asked.state_dir)
            if fresh:
                self._directory.clear()
        kafka, mongodb = self._start(kafka_from, mongodb_from, uri)
        self._addresses = StackAddresses(kafka, mongodb, kafka_from, mongodb_from)
        if self._directory is not None:
            self._directory.publish(self._addresses)

    def _start(self, kafka_from: str, mongodb_from: str, uri: str | None) -> tuple[str, str]:
        # Both start before either is waited for: one loads its classes while the other recovers its journal.
        state = self._asked.state_dir
        embedded_mongodb = EmbeddedMongoDB(state / "mongodb", self.children, self._on_progress)
        embedded_kafka = EmbeddedKafka(state / "kafka", self.children, self._on_progress)
        if mongodb_from == "embedded":
            embedded_mongodb.start()
        if kafka_from == "embedded":
            embedded_kafka.start()
        mongodb = {
            "configured": lambda: uri or "",
            "embedded": embedded_mongodb.wait,
            "container": lambda: self._contain(mongodb_container),
        }[mongodb_from]()
        kafka = {
            "configured": lambda: self._asked.kafka_bootstrap_servers or "",
            "embedded": embedded_kafka.wait,
            "container": lambda: self._contain(kafka_container),
        }[kafka_from]()
        return kafka, mongodb

    def _contain(self, start: Callable[[], Container]) -> str:
        container = start()
        with uninterrupted():
            self._containers.append(container)
        self._on_progress(f"a container is up at {container.address}")
        return container.address


def start_stack(
    settings: Settings, *, on_progress: Progress = lambda _: None, fresh: bool = False, containers: bool = False
) -> Stack:
    """A running stack, as a context manager.

    `fresh` removes the embedded data first; `containers` uses nothing but containers, even where addresses are
    configured. `on_progress` gets one line for each thing that takes time.

    Call it in the main thread and outside an event loop. One stack at a time uses a state directory. Raises StackError,
    and then, as when it is interrupted at any moment, leaves no process behind.
    """
    stack = Stack(settings, on_progress)
    try:
        stack.open(fresh=fresh, containers=containers)
    except BaseException:
        stack.close()
        raise
    return stack


def settings_with(settings: Settings, addresses: StackAddresses) -> Settings:
    """The settings with these addresses; a broker of our own knows neither TLS nor users, whatever is set."""
    values = settings.model_dump(exclude={"kafka_bootstrap_servers", "mongodb_uri"})
    if addresses.kafka_from != "configured":
        values |= {name: None for name in values if name.startswith(("kafka_sasl_", "kafka_ssl_"))}
        values["kafka_security_protocol"] = "PLAINTEXT"
    return load_settings(**values, kafka_bootstrap_servers=addresses.kafka, mongodb_uri=addresses.mongodb)


def _origin(what: str, configured: str | None, embedded_missing: Callable[[], str | None], containers: bool) -> str:
    """Where a part is to come from; raises StackError naming every way and what each lacks."""
    if configured and not containers:
        return "configured"
    why = "containers are asked for" if containers else embedded_missing()
    if why is None:
        return "embedded"
    docker = docker_missing()
    if docker is None:
        return "container"
    variable = "KAFKA_BOOTSTRAP_SERVERS" if what == "Kafka" else "MONGODB_URI"
    raise StackError(
        f"no {what} can be used: {why}, and {docker}. Name a running {what} in {variable}, install headrace[embedded] "
        "on x86-64 Linux, or start a Docker engine"
    )


def _stop_containers(containers: list[Container]) -> None:
    while containers:
        containers.pop().stop()
