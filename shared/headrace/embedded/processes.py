"""Child processes that never outlive us."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.embedded.errors import died
from headrace.embedded.interrupts import uninterrupted
from headrace.embedded.pidfile import write_pid_file

STOP_TIMEOUT_S = 15.0
"""After SIGTERM: a broker writes its snapshot, a service commits its batch. Then SIGKILL, which all of them survive."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used: CPU seconds (user and system) and peak resident memory (MiB)."""

    name: str
    pid: int
    cpu_s: float
    peak_mib: float


class Child:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches only us and we stop it in order.

    Made by `Children.spawn`. Its output goes to `log`; the log of the start before is kept beside it as `*.1`.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None) -> None:
        self.name = name
        self.log = log
        self._usage = Usage(name, 0, 0.0, 0.0)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), str(os.getpid())]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*launcher, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, minus the signal's number if a signal ended it; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises PartDied, a StackError with the end of its log, if it has ended."""
        if not self.alive:
            raise died(self.name, self.log, f"ended with code {self.exit_code}")

    def usage(self) -> Usage:
        """What it has used so far; of an ended process, what it had when last asked or when told to stop."""
        try:
            process = psutil.Process(self.pid)
            times = process.cpu_times()
            peak = _peak_mib(process)
        except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            return self._usage  # ended between two looks
        if peak > 0:  # a process that has ended and is not yet reaped has no memory any more
            self._usage = Usage(self.name, self.pid, times.user + times.system, peak)
        return self._usage

    def terminate(self) -> None:
        """Asks it to end."""
        if self.alive:
            self.usage()
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and what it may have started, at once."""
        with uninterrupted():
            if self.alive:
                # It leads a group of its own; not reaped yet, so the number is still its own.
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def join(self, timeout_s: float) -> bool:
        """Waits for its end; False if it has not ended within `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


class Children:
    """The processes of one owner. They end with `stop`, else when this object goes, at exit, or when we are killed."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._pid_files: dict[Child, Path] = {}
        weakref.finalize(self, _kill_all, self._children, os.getpid())

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        pid_file: Path | None = None,
    ) -> Child:
        """Starts a process with the environment `env` (None: ours). Only in the main thread; else RuntimeError.

        No signal can come between its start and its being written down here and in `pid_file`.
        """
        if threading.current_thread() is not threading.main_thread():
            # Linux sends the death signal when the *thread* that forked ends.
            raise RuntimeError("start processes in the main thread: they die with the thread that started them")
        with uninterrupted():
            child = Child(name, argv, log, env)
            self._children.append(child)
            if pid_file is not None:
                self._pid_files[child] = pid_file
                write_pid_file(pid_file, child.pid)
        return child

    def discard(self, child: Child) -> None:
        """Kills a process if it still runs, and forgets it."""
        child.kill()
        self._children.remove(child)
        self._remove_pid_file(child)

    def check(self) -> None:
        """Raises PartDied naming a process that has ended, with the end of its log."""
        for child in self._children:
            child.check()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Asks all at once to end, waits, kills what stays after `timeout_s`. Interrupted, it kills at once."""
        try:
            for child in self._children:
                child.terminate()
            deadline = time.monotonic() + timeout_s
            for child in self._children:
                child.join(max(0.0, deadline - time.monotonic()))
        finally:
            with uninterrupted():
                for child in self._children:
                    child.kill()
                    self._remove_pid_file(child)
                self._children.clear()

    def _remove_pid_file(self, child: Child) -> None:
        path = self._pid_files.pop(child, None)
        if path is not None:
            path.unlink(missing_ok=True)


def _kill_all(children: list[Child], owner: int) -> None:
    # A fork of this process runs finalizers too; the children are not its own.
    if os.getpid() == owner:
        for child in children:
            child.kill()


def _peak_mib(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return process.memory_info().rss / 2**20  # not Linux: the present value is the best there is
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0
