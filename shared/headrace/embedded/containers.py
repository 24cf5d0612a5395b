"""Kafka and MongoDB in containers, where a Docker engine answers. The same images as docker-compose.yml."""

from importlib import import_module
from typing import Any, cast

from headrace.embedded.broker import BROKER_PROPERTIES, SINGLE_NODE_PROPERTIES
from headrace.embedded.errors import StackError
from headrace.embedded.ports import HOST, reserve_ports

KAFKA_IMAGE = "apache/kafka:4.1.0"
"""4.0 is the first with KIP-848 on by default. testcontainers' own KafkaContainer proposes 3.6, without it."""

MONGODB_IMAGE = "mongo:7"

KAFKA_READY_LOG = r"Kafka Server started"

START_TIMEOUT_S = 120
"""The images may have to be pulled."""


class Container:
    """A started container and its address; `stop` removes it."""

    def __init__(self, started: Any, address: str) -> None:
        self._started = started
        self.address = address

    def stop(self) -> None:
        """Stops and removes the container."""
        self._started.stop()


def docker_missing() -> str | None:
    """Why no container can be started, in words; None if a Docker engine answers."""
    try:
        docker = cast(Any, import_module("docker"))
        import_module("testcontainers.core.container")
    except ImportError:
        return "the Python package testcontainers is not installed"
    try:
        answered = bool(docker.from_env(timeout=3).ping())
    except (docker.errors.DockerException, OSError):
        answered = False
    return None if answered else "no Docker engine answers"


def kafka_container() -> Container:
    """A broker and controller in KRaft mode on a free loopback port, with our broker settings; raises StackError."""
    _require_docker("Kafka", "KAFKA_BOOTSTRAP_SERVERS")
    (port,) = reserve_ports(1)
    container = _container(KAFKA_IMAGE, 9092, port)
    for name, value in kafka_environment(f"{HOST}:{port}").items():
        container.with_env(name, value)
    logs = cast(Any, import_module("testcontainers.core.wait_strategies"))
    ready = logs.LogMessageWaitStrategy(KAFKA_READY_LOG).with_startup_timeout(START_TIMEOUT_S)
    started = _start("Kafka", container.waiting_for(ready))
    return Container(started, f"{HOST}:{port}")


def mongodb_container() -> Container:
    """A one-node replica set on a free loopback port; raises StackError.

    testcontainers' own MongoDbContainer starts a standalone server, which has no transactions.
    """
    from headrace.storage.admin import ensure_replica_set  # the driver is needed for this way only

    _require_docker("MongoDB", "MONGODB_URI")
    (port,) = reserve_ports(1)
    # The same port inside, so that the replica set's member has one name on both sides.
    container = _container(MONGODB_IMAGE, port, port).with_command(f"--replSet rs --bind_ip_all --port {port}")
    started = _start("MongoDB", container)
    try:
        ensure_replica_set(f"{HOST}:{port}", "rs", START_TIMEOUT_S)
    except BaseException as error:
        started.stop()
        if isinstance(error, TimeoutError):
            raise StackError(f"the MongoDB container {error}") from None
        raise
    return Container(started, f"mongodb://{HOST}:{port}/?directConnection=true")


def kafka_environment(advertised: str) -> dict[str, str]:
    """The environment by which the apache/kafka image makes a one-node cluster that clients reach at `advertised`."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{advertised}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        **SINGLE_NODE_PROPERTIES,
        **BROKER_PROPERTIES,
    }
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}


def _container(image: str, inside: int, outside: int) -> Any:
    module = cast(Any, import_module("testcontainers.core.container"))
    container = module.DockerContainer(image)
    container.ports[inside] = (HOST, outside)  # `with_exposed_ports` would listen on every interface
    return container


def _start(what: str, container: Any) -> Any:
    docker = cast(Any, import_module("docker"))
    try:
        return container.start()
    except (docker.errors.DockerException, TimeoutError) as error:
        container.stop()
        raise StackError(f"the {what} container did not start: {str(error)[:300]}") from error
    except BaseException:
        container.stop()
        raise


def _require_docker(what: str, variable: str) -> None:
    missing = docker_missing()
    if missing:
        raise StackError(
            f"no {what} container: {missing}; start a Docker engine, or name a running {what} in {variable}"
        )
