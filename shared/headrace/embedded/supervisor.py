"""Runs the services of a stack as processes of this machine."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import psutil
from pydantic import SecretStr

from headrace.embedded.errors import died
from headrace.embedded.ports import HOST, reserve_ports
from headrace.embedded.processes import Child, Children, Usage
from headrace.installation import GATEWAY
from headrace.settings import Settings

READY_TIMEOUT_S = 60.0
"""A service is ready in 2 s; on a loaded machine more."""

_POLL_S = 0.05
"""Readiness is a request, which costs the service something; twenty a second are nothing to it."""

# A proxy of the environment has no way to our loopback.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A process under supervision; `ops_port` serves its /healthz, /readyz and /metrics on the loopback, `http_port`
    what a gateway serves to others."""

    name: str
    pid: int
    ops_port: int
    log: Path
    http_port: int | None = None

    def stats(self) -> psutil.Process:
        """psutil's view of it; raises psutil.NoSuchProcess."""
        return psutil.Process(self.pid)


class Supervisor:
    """Starts processes, waits until they are ready, watches and stops them. A context manager that ends with `stop`."""

    def __init__(self, settings: Settings, log_dir: Path) -> None:
        """`settings` go to every process as environment variables; each writes `log_dir`/NAME.log."""
        self._settings = settings
        self._log_dir = log_dir
        self._children = Children()
        self._started: list[tuple[Child, ServiceProcess]] = []
        self._last_usage: list[Usage] = []

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> ServiceProcess:
        """Starts a process; `argv[0]` is a program's path. Only in the main thread.

        Its environment is ours, then the settings, then HEADRACE_OPS_PORT with a free port, then `env`.
        """
        (port,) = reserve_ports(1)
        environment = {**_environment(self._settings), "HEADRACE_OPS_PORT": str(port), **(env or {})}
        child = self._children.spawn(name, argv, self._log_dir / f"{name}.log", environment)
        http_port = int((env or {}).get("HEADRACE_HTTP_PORT", 0)) or None
        process = ServiceProcess(name, child.pid, int(environment["HEADRACE_OPS_PORT"]), child.log, http_port)
        self._started.append((child, process))
        return process

    def start_service(self, service: str, slot: int = 0) -> ServiceProcess:
        """Starts `headrace service NAME` as process number `slot` of that service, under the name NAME-SLOT."""
        argv = [sys.executable, "-m", "headrace.cli", "service", service]
        environment = {"HEADRACE_SLOT": str(slot)}
        if service == GATEWAY:
            # The port that is set is the first one's: two processes of this machine cannot share it.
            port = self._settings.http_port if slot == 0 else 0
            environment["HEADRACE_HTTP_PORT"] = str(port or reserve_ports(1)[0])
        return self.start(f"{service}-{slot}", argv, environment)

    @property
    def processes(self) -> list[ServiceProcess]:
        """What was started and not stopped, living or dead."""
        return [process for _, process in self._started]

    def wait_ready(self, timeout: float = READY_TIMEOUT_S, check: Callable[[], None] = lambda: None) -> None:
        """Returns when every /readyz has answered 200; raises StackError naming the one that died or is late.

        `timeout` is in seconds, for all together. `check` looks at what the services stand on, and raises when that has
        died: the services would not become ready, or die of it, and be named in its place.
        """
        deadline = time.monotonic() + timeout
        for child, process in self._started:
            while not (ready := _readiness(process.ops_port)).ok:
                check()
                self.check()
                if time.monotonic() > deadline:
                    raise died(child.name, child.log, f"was not ready within {timeout:.0f} s ({ready.detail})")
                time.sleep(_POLL_S)
        check()
        self.check()

    def check(self) -> None:
        """Raises StackError naming a process that died, with the end of its log."""
        self._children.check()

    def usage(self) -> list[Usage]:
        """CPU seconds and peak memory of every process; after `stop`, what they were just before it."""
        if self._started:
            self._last_usage = [child.usage() for child, _ in self._started]
        return self._last_usage

    def stop(self) -> None:
        """Lets all finish what they are at, and ends them. Interrupted, it still ends them."""
        try:
            self.usage()
        finally:
            self._children.stop()
            self._started = []

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def settings_environment(settings: Settings) -> dict[str, str | None]:
    """The environment variables by which another process gets the same settings; None: the variable must be unset."""
    values: dict[str, str | None] = {}
    for name, described in type(settings).model_fields.items():
        alias = described.validation_alias
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        values[alias if isinstance(alias, str) else f"HEADRACE_{name.upper()}"] = None if value is None else str(value)
    return values


@dataclass(frozen=True, slots=True)
class _Readiness:
    ok: bool
    detail: str


def _environment(settings: Settings) -> dict[str, str]:
    values = settings_environment(settings)
    kept = {name: value for name, value in os.environ.items() if name not in values}
    return {**kept, **{name: value for name, value in values.items() if value is not None}}


def _readiness(port: int) -> _Readiness:
    url = f"http://{HOST}:{port}/readyz"
    try:
        with _OPENER.open(url, timeout=1) as answer:
            return _Readiness(answer.status == 200, f"{url} answered {answer.status}")
    except HTTPError as error:
        return _Readiness(False, f"{url} answered {error.code}")
    except (OSError, HTTPException) as error:
        return _Readiness(False, f"{url} does not answer: {error}")
