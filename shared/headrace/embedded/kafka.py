"""An Apache Kafka broker from its published jars on a Java runtime from a Python package."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from headrace.embedded.broker import BROKER_PROPERTIES, EMBEDDED_PROPERTIES, SINGLE_NODE_PROPERTIES
from headrace.embedded.errors import PartDied, StackError, died
from headrace.embedded.jars import java_runtime, kafka_jars
from headrace.embedded.kafka_facts import QUIET, has_controller
from headrace.embedded.kafka_storage import FAST_START, NODE_ID, prepare
from headrace.embedded.pidfile import end_leftover
from headrace.embedded.ports import HOST, answers, reserve_ports
from headrace.embedded.processes import Child, Children

START_TIMEOUT_S = 120.0
"""It takes 3 s; reading back a large log after a crash takes more, and a broker that dies is noticed at once."""

BIND_ATTEMPTS = 3
"""Someone may take a port between its choice and its use; three times in a row is another fault."""

_LOGGING = (
    # Warnings and errors only, with the time of day: an hour of work fits a screen.
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # Java 25 warns of Kafka's way to unmap a file; newer ones say so on four lines at every start.
    "--sun-misc-unsafe-memory-access=allow",
)

_PROBE_ID = "headrace-embedded-probe"
"""One transactional id for all starts, so that the broker remembers one."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A further way to the broker: it listens on `port` and tells its clients to come to `advertised_port`.

    Between the two a proxy can stand, and every request of a client that began there goes through it.
    """

    name: str
    port: int
    advertised_port: int


class EmbeddedKafka:
    """A broker and controller in one process; its data and logs in `directory`. `start`, then `wait`.

    `listeners` come beside its own.
    """

    def __init__(
        self,
        directory: Path,
        children: Children,
        on_progress: Callable[[str], None],
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._directory = directory
        self._listeners = listeners
        self._children = children
        self._on_progress = on_progress
        self._command: list[str] = []
        self._child: Child | None = None
        self._port = 0

    def start(self) -> None:
        """Starts the process; returns at once unless the data must be formatted (1 s). Raises StackError."""
        java, classpath = java_runtime(), kafka_jars(self._on_progress)
        config = self._directory / "server.properties"
        self._command = [java, "-Xmx512m", *FAST_START, *_LOGGING, "-cp", classpath, "kafka.Kafka", str(config)]
        end_leftover(self._directory / "broker.pid", "the broker")
        self._on_progress("Kafka: starting")
        self._configure()
        prepare(self._children, self._directory, java, classpath, config)
        self._spawn()

    def wait(self) -> str:
        """The address, once a controller is elected and a transaction could begin. Raises StackError."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for attempt in range(1, BIND_ATTEMPTS + 1):
            child = self._started()
            try:
                await_broker(child, self._port, deadline)
                break
            except PartDied as error:
                if not error.port_taken or attempt == BIND_ATTEMPTS:
                    raise
                self._children.discard(child)
                self._configure()
                self._spawn()
        address = f"{HOST}:{self._port}"
        self._on_progress(f"Kafka: up at {address}")
        return address

    def kill(self) -> None:
        """Ends the broker as a power cut would: SIGKILL. Its data stay."""
        self._children.discard(self._started())

    def restart(self) -> None:
        """Starts a killed broker again, on the same ports and data; returns at once."""
        self._spawn()

    def _configure(self) -> None:
        # Ports are chosen anew at each start; with `controller.quorum.voters` the voters are not kept in the data.
        self._port, controller_port = reserve_ports(2)
        properties = server_properties(self._directory / "data", self._port, controller_port, self._listeners)
        self._directory.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self._directory / "server.properties").write_text(text)

    def _spawn(self) -> None:
        directory = self._directory
        self._child = self._children.spawn(
            "Kafka", self._command, directory / "broker.log", pid_file=directory / "broker.pid"
        )

    def _started(self) -> Child:
        if self._child is None:
            raise RuntimeError("call start() before wait()")
        return self._child


def server_properties(
    data: Path, port: int, controller_port: int, listeners: Sequence[Listener] = ()
) -> dict[str, str]:
    """The broker's whole configuration."""
    ways = [Listener("PLAINTEXT", port, port), *listeners]
    return {
        "process.roles": "broker,controller",
        "node.id": NODE_ID,
        "controller.quorum.voters": f"{NODE_ID}@{HOST}:{controller_port}",
        "listeners": ",".join(
            [*(f"{way.name}://{HOST}:{way.port}" for way in ways), f"CONTROLLER://{HOST}:{controller_port}"]
        ),
        "advertised.listeners": ",".join(f"{way.name}://{HOST}:{way.advertised_port}" for way in ways),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in ("CONTROLLER", *[w.name for w in ways])
        ),
        "controller.listener.names": "CONTROLLER",
        # A properties file reads a backslash as an escape.
        "log.dirs": str(data.absolute()).replace("\\", "\\\\"),
        **EMBEDDED_PROPERTIES,
        **SINGLE_NODE_PROPERTIES,
        **BROKER_PROPERTIES,
    }


def await_broker(child: Child, port: int, deadline: float) -> None:
    """Returns once the broker really works: it listens, names a controller, and its transaction coordinator answers.

    Raises PartDied if the process ends, StackError past `deadline` (of time.monotonic).
    """
    while not answers(port):
        _in_time(child, deadline)
        time.sleep(0.02)  # nothing to await: a socket that does not listen gives no sign when it does
    connection = {"bootstrap.servers": f"{HOST}:{port}", "log_level": QUIET}
    admin = AdminClient({**connection})
    while not _has_controller(admin):
        _in_time(child, deadline)
    # Begins nothing and leaves no record in a topic of ours; proves the controller, the log and the coordinator.
    producer = Producer({**connection, "transactional.id": _PROBE_ID})
    while not _initialised(producer):
        _in_time(child, deadline)


def _in_time(child: Child, deadline: float) -> None:
    child.check()
    if time.monotonic() > deadline:
        raise StackError(str(died("Kafka", child.log, f"did not answer within {START_TIMEOUT_S:.0f} s")))


def _has_controller(admin: AdminClient) -> bool:
    try:
        return has_controller(admin, 1.0)
    except KafkaException:
        return False  # it listens and is not ready yet; the deadline bounds this


def _initialised(producer: Producer) -> bool:
    try:
        producer.init_transactions(1.0)
    except KafkaException as error:
        if error.args[0].retriable():
            return False  # the coordinator is still loading; the deadline bounds this
        raise StackError(f"the broker starts no transactions: {error.args[0].str()}") from error
    return True
