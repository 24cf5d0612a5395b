"""Kafka and MongoDB in containers, where a Docker engine answers."""

from importlib import import_module
from typing import Any, cast

from headrace.embedded.errors import StackError


class Container:
    """A started container and its address; `stop` removes it."""

    def __init__(self, started: Any, address: str) -> None:
        self._started = started
        self.address = address

    def stop(self) -> None:
        """Stops and removes the container."""
        self._started.stop()


def docker_answers() -> bool:
    """Whether testcontainers is installed and a Docker engine answers."""
    try:
        docker = cast(Any, import_module("docker"))
    except ImportError:
        return False
    try:
        return bool(docker.from_env(timeout=3).ping())
    except (docker.errors.DockerException, OSError):
        return False


def kafka_container() -> Container:
    """A KRaft broker; raises StackError."""
    _require_docker("Kafka", "KAFKA_BOOTSTRAP_SERVERS")
    module = cast(Any, import_module("testcontainers.community.kafka"))
    started = module.KafkaContainer().with_kraft().start()
    return Container(started, str(started.get_bootstrap_server()))


def mongodb_container() -> Container:
    """A one-node replica set; raises StackError."""
    from headrace.storage.admin import ensure_replica_set

    _require_docker("MongoDB", "MONGODB_URI")
    core = cast(Any, import_module("testcontainers.core.container"))
    # testcontainers' own MongoDbContainer starts a standalone server, which has no transactions.
    started = (
        core.DockerContainer("mongo:7").with_command("--replSet rs --bind_ip_all").with_exposed_ports(27017).start()
    )
    address = f"{started.get_container_host_ip()}:{started.get_exposed_port(27017)}"
    try:
        ensure_replica_set(address, "rs", 60.0)
    except TimeoutError as error:
        started.stop()
        raise StackError(f"the MongoDB container {error}") from None
    return Container(started, f"mongodb://{address}/?directConnection=true")


def _require_docker(what: str, variable: str) -> None:
    if not docker_answers():
        raise StackError(
            f"no {what}: name a running one in {variable}, or use x86-64 Linux with headrace[embedded] installed, or "
            "start a Docker engine"
        )
