"""The state directory: one stack at a time, and where another terminal finds it."""

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from headrace.embedded.errors import StackError
from headrace.embedded.pidfile import ProcessId, end_leftover
from headrace.embedded.ports import answers
from headrace.settings import Settings

_OTHER = "or set HEADRACE_STATE_DIR to another directory"


@dataclass(frozen=True, slots=True)
class StackAddresses:
    """Where Kafka and MongoDB are, and whether each is `configured`, `embedded` or in a `container`."""

    kafka: str
    mongodb: str = field(repr=False)
    """A URI, perhaps with a password: not for a log."""
    kafka_from: str
    mongodb_from: str


class StateDirectory:
    """The state directory under this process's lock, which the kernel frees however we end."""

    def __init__(self, path: Path) -> None:
        """Makes the directory and takes the lock; raises StackError naming the process and addresses that hold it."""
        self.path = path
        self._file = path / "stack.json"
        try:
            # The data are readable through a server without a password: for this user alone, like the files.
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: IO[str] | None = (path / "stack.lock").open("a+")
        except OSError as error:
            raise StackError(f"{path} cannot be used ({error.strerror}): make it writable, {_OTHER}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = _held(path, self._lock)
            self._lock.close()
            raise StackError(message) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        self._file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the data and logs of an earlier stack; raises StackError."""
        end_leftover(self.path / "kafka" / "broker.pid", "the broker")
        end_leftover(self.path / "mongodb" / "mongod.pid", "the mongod")
        for part in ("kafka", "mongodb"):
            try:
                if (self.path / part).exists():
                    shutil.rmtree(self.path / part)
            except OSError as error:
                raise StackError(
                    f"{error.filename} cannot be removed ({error.strerror}): remove it by hand, {_OTHER}"
                ) from None

    def publish(self, addresses: StackAddresses) -> None:
        """Says where the stack is, for `running_stack` in other processes."""
        ours = ProcessId.of(os.getpid())
        partial = self._file.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)  # a configured URI may hold a password
        partial.write_text(json.dumps({"pid": ours.pid, "began": ours.began, "addresses": asdict(addresses)}, indent=1))
        partial.replace(self._file)

    def withdraw(self) -> None:
        """Takes back what `publish` said: the stack is about to stop."""
        if self._lock is not None:
            self._file.unlink(missing_ok=True)

    def release(self) -> None:
        """Gives the directory to others."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def running_stack(settings: Settings) -> StackAddresses | None:
    """The addresses of the stack that a living process keeps on the state directory; None if there is none.

    An embedded part that no longer listens counts as no stack.
    """
    found = _read(settings.state_dir)
    return found[1] if found else None


def _read(path: Path) -> tuple[int, StackAddresses] | None:
    try:
        found = json.loads((path / "stack.json").read_text())
        owner = ProcessId(int(found["pid"]), float(found["began"]))
        addresses = StackAddresses(**found["addresses"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None  # no file, or one that an older Headrace wrote: no stack that we could use
    if owner.process() is None:
        return None
    embedded = [
        address
        for address, origin in (
            (addresses.kafka, addresses.kafka_from),
            (addresses.mongodb.removeprefix("mongodb://").split("/")[0], addresses.mongodb_from),
        )
        if origin == "embedded"
    ]
    return (owner.pid, addresses) if all(answers(int(a.rpartition(":")[2])) for a in embedded) else None


def _held(path: Path, lock: IO[str]) -> str:
    lock.seek(0)
    holder = f"process {lock.read().strip() or 'unknown'}"
    found = _read(path)
    if found is None:
        return f"{holder} is starting or stopping a stack on {path}: wait for it, stop it, {_OTHER}"
    kafka, mongodb = found[1].kafka, found[1].mongodb if found[1].mongodb_from != "configured" else "a configured one"
    return f"{holder} runs a stack on {path} (Kafka {kafka}, MongoDB {mongodb}): use that one, stop it, {_OTHER}"
