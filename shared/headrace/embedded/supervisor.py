"""Runs the services of a stack as processes of this machine."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from headrace.embedded.errors import died
from headrace.embedded.processes import Child, Usage, free_ports, stop_all
from headrace.settings import Settings

READY_TIMEOUT_S = 60.0
"""A service is ready in 2 s; on a loaded machine more."""


class Supervisor:
    """Starts `headrace service NAME` processes, waits until they are ready, watches and stops them."""

    def __init__(self, settings: Settings, log_directory: Path) -> None:
        self._settings = settings
        self._logs = log_directory
        self._children: list[tuple[Child, int]] = []

    def start(self, service: str, slot: int = 0) -> Child:
        """Starts one process of a service; call it in the main thread."""
        (port,) = free_ports(1)
        child = Child(
            f"{service}-{slot}",
            [sys.executable, "-m", "headrace.cli", "service", service],
            self._logs / f"{service}-{slot}.log",
            env={**os.environ, **service_environment(self._settings, slot, port)},
        )
        self._children.append((child, port))
        return child

    @property
    def ports(self) -> Mapping[str, int]:
        """The port of /healthz, /readyz and /metrics by process name."""
        return {child.name: port for child, port in self._children}

    def wait_ready(self) -> None:
        """Returns when every process is ready; raises StackError naming the one that died or is late."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        for child, port in self._children:
            while not _is_ready(port):
                child.check()
                if time.monotonic() > deadline:
                    raise died(child.name, child.log, f"was not ready within {READY_TIMEOUT_S:.0f} s")
                time.sleep(0.05)

    def check(self) -> None:
        """Raises StackError if a process has died."""
        for child, _ in self._children:
            child.check()

    def usage(self) -> Sequence[Usage]:
        """CPU seconds and peak memory of every process."""
        return [child.usage() for child, _ in self._children]

    def stop(self) -> None:
        """Lets all finish what they are at, and ends them."""
        stop_all([child for child, _ in self._children])
        self._children = []


def service_environment(settings: Settings, slot: int, ops_port: int) -> dict[str, str]:
    """The environment variables by which a service process gets `settings`."""
    uri = settings.mongodb_uri
    values: dict[str, object] = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers or "",
        "MONGODB_URI": uri.get_secret_value() if uri else "",
        "HEADRACE_PREFIX": settings.prefix,
        "HEADRACE_PARTITIONS": settings.partitions,
        "HEADRACE_REPLICATION_FACTOR": settings.replication_factor,
        "HEADRACE_RETENTION_DAYS": settings.retention_days,
        "HEADRACE_RUNS_RETENTION_DAYS": settings.runs_retention_days,
        "HEADRACE_ALLOW_PRIVATE_HOSTS": settings.allow_private_hosts,
        "HEADRACE_STATE_DIR": settings.state_dir,
        "HEADRACE_SLOT": slot,
        "HEADRACE_OPS_PORT": ops_port,
        "HEADRACE_LOG_LEVEL": settings.log_level,
    }
    return {name: str(value) for name, value in values.items()}


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False
