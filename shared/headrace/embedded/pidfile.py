"""Pid files that cannot name the wrong process, and the end of what an earlier stack left."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.embedded.errors import StackError

_SAME_S = 2.0
"""The kernel counts a process's start in ticks since boot; the boot's time shifts by a second when a clock is set."""

_TERM_S = 15.0
"""What a broker needs to close its logs."""

_KILL_S = 10.0
"""The kernel frees a killed process's memory and locks well within this."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process by pid and start time (seconds since the epoch): a recycled pid began later."""

    pid: int
    began: float

    @staticmethod
    def of(pid: int) -> "ProcessId":
        """A living process's identity; raises psutil.NoSuchProcess."""
        return ProcessId(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it still lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < _SAME_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def write_pid_file(path: Path, pid: int) -> None:
    """Writes the identity of a living process; raises psutil.NoSuchProcess."""
    identity = ProcessId.of(pid)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"pid": identity.pid, "began": identity.began}))
    partial.replace(path)


def read_pid_file(path: Path) -> ProcessId | None:
    """The identity in the file; None if there is no file or it holds none."""
    try:
        found = json.loads(path.read_text())
        return ProcessId(int(found["pid"]), float(found["began"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # never written, or cut short: it names no one


def end_leftover(path: Path, what: str) -> None:
    """Ends the process that a pid file of an earlier stack names, if it is still that one, and removes the file.

    Call it under the lock of the state directory: then whoever started that process is gone. Raises StackError if the
    process cannot be ended.
    """
    identity = read_pid_file(path)
    process = identity.process() if identity else None
    if identity and process:
        try:
            process.terminate()
            if not _gone(identity, _TERM_S):
                process.kill()
        except psutil.NoSuchProcess:
            pass  # it went by itself in between
        except psutil.AccessDenied:
            raise StackError(
                f"{what} of an earlier start still runs as process {identity.pid} of another user"
            ) from None
        if not _gone(identity, _KILL_S):
            raise StackError(f"{what} of an earlier start, process {identity.pid}, does not end: end it by hand")
    path.unlink(missing_ok=True)


def _gone(identity: ProcessId, timeout_s: float) -> bool:
    # Polled: it is not our child, so there is nothing to wait on.
    deadline = time.monotonic() + timeout_s
    while identity.process() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
