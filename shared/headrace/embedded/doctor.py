"""`headrace doctor`: looks at this machine and at the cluster in use, and says what to do."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import STDOUT, CalledProcessError, TimeoutExpired, check_output

from headrace.embedded.checks import (
    Check,
    MongoDBFacts,
    disk_check,
    failed,
    kafka_checks,
    mongodb_checks,
    passed,
    python_check,
)
from headrace.embedded.containers import docker_missing
from headrace.embedded.errors import StackError
from headrace.embedded.jars import KAFKA_VERSION, java_runtime, kafka_jars, packages_missing
from headrace.embedded.kafka_facts import kafka_facts
from headrace.embedded.mongodb import mongod_binary, mongod_environment, mongod_missing
from headrace.embedded.ports import reserve_ports
from headrace.embedded.stack import settings_with
from headrace.embedded.statefile import running_stack
from headrace.settings import Settings
from headrace.storage.admin import server_facts, write_to_majority

__all__ = ["Check", "diagnose"]

_RUN_TIMEOUT_S = 30.0
"""`--version` takes a tenth of a second."""


def diagnose(settings: Settings) -> list[Check]:
    """What Headrace needs here, each with a remedy if it fails; then the configured cluster, else the running stack's.

    Takes up to a minute where something does not answer. Fetches Kafka's jars (43 MB) if the embedded broker will need
    them and they are not there. Never raises for what it looks at.
    """
    checks = [python_check((sys.version_info[0], sys.version_info[1], sys.version_info[2]))]
    if not settings.kafka_bootstrap_servers:
        checks += _embedded_kafka()
    if not settings.mongodb_uri:
        checks += _embedded_mongodb()
    if not settings.kafka_bootstrap_servers or not settings.mongodb_uri:
        checks += [_ports(), _disk(settings.state_dir)]
    running = None if settings.kafka_bootstrap_servers and settings.mongodb_uri else running_stack(settings)
    if running is not None:
        settings = settings_with(settings, running)
    if settings.kafka_bootstrap_servers:
        checks += kafka_checks(settings.kafka_bootstrap_servers, kafka_facts(settings.kafka, settings.prefix))
    if settings.mongodb_uri:
        checks += mongodb_checks(_mongodb_facts(settings))
    return checks


def _embedded_kafka() -> list[Check]:
    missing = packages_missing()
    if missing is not None:
        return [_container_instead("embedded Kafka", missing, "KAFKA_BOOTSTRAP_SERVERS")]
    remedy = "reinstall headrace[embedded], or name a running broker in KAFKA_BOOTSTRAP_SERVERS"
    return [
        _attempt("Java runtime", lambda: _first_line([java_runtime(), "-version"]), remedy),
        _attempt(
            "Kafka's jars",
            lambda: f"{KAFKA_VERSION}, {len(kafka_jars(lambda _: None).split(':'))} jars",
            "make the Java package index reachable for the first start, or name a running broker in "
            "KAFKA_BOOTSTRAP_SERVERS",
        ),
    ]


def _embedded_mongodb() -> list[Check]:
    missing = mongod_missing()
    if missing is not None:
        return [_container_instead("embedded MongoDB", missing, "MONGODB_URI")]

    def version() -> str:
        with tempfile.TemporaryDirectory() as links:
            return _first_line([str(mongod_binary()), "--version"], mongod_environment(Path(links)))

    # The loader names the library: libcrypto.so.3 is OpenSSL 3; libcurl comes with the package pycurl.
    remedy = "install what the loader misses (OpenSSL 3; the Python package pycurl), or set MONGODB_URI"
    return [_attempt("mongod and its libraries", version, remedy)]


def _container_instead(name: str, missing: str, variable: str) -> Check:
    docker = docker_missing()
    if docker is None:
        return passed(name, f"{missing}; a container will be used")
    return failed(
        name, f"{missing}, and {docker}", f"install headrace[embedded], start a Docker engine, or set {variable}"
    )


def _ports() -> Check:
    def free() -> str:
        reserve_ports(4)
        return "free ports on 127.0.0.1"

    return _attempt("loopback", free, "bring the loopback interface up, or end what uses up the ports")


def _disk(directory: Path) -> Check:
    # The directory may not exist yet; then the nearest that does decides.
    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        return disk_check(str(directory), shutil.disk_usage(existing).free, None)
    except OSError as error:
        return disk_check(str(directory), None, error.strerror or str(error))


def _mongodb_facts(settings: Settings) -> MongoDBFacts:
    try:
        facts = server_facts(settings.mongodb)
    except ConnectionError as error:
        return MongoDBFacts(problem=str(error))
    problem: str | None = None
    try:
        write_to_majority(settings.mongodb, settings.prefix)
    except ConnectionError as error:
        problem = str(error)
    return MongoDBFacts(facts.version, facts.replica_set, facts.writable, None, problem)


def _attempt(name: str, look: Callable[[], str], remedy: str) -> Check:
    try:
        return passed(name, look())
    except CalledProcessError as error:
        return failed(name, " ".join(str(error.output).split())[:300] or f"exit code {error.returncode}", remedy)
    except (StackError, OSError, TimeoutExpired) as error:
        return failed(name, str(error), remedy)


def _first_line(argv: list[str], env: dict[str, str] | None = None) -> str:
    output = check_output(argv, stderr=STDOUT, text=True, env=env, timeout=_RUN_TIMEOUT_S)
    return output.strip().splitlines()[0]
