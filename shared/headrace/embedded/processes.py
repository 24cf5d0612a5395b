"""Child processes that never outlive us."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from headrace.embedded.errors import died

STOP_TIMEOUT_S = 15.0
"""After SIGTERM: a broker writes its snapshot, a service commits its batch. Then SIGKILL, which all of them survive."""


class Child:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches only us and we stop it in order."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start children from the main thread: they die with the thread that started them")
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
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

    def check(self) -> None:
        """Raises StackError with the end of its log if it has ended."""
        if not self.alive:
            raise died(self.name, self.log, f"ended with code {self._process.returncode}")

    def usage(self) -> "Usage":
        """CPU seconds and peak memory so far; raises StackError if it has ended."""
        self.check()
        process = psutil.Process(self.pid)
        times = process.cpu_times()
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return Usage(self.name, times.user + times.system, peak_kb / 1024)

    def terminate(self) -> None:
        """Asks it to end."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        if self.alive:
            self._process.kill()
        self._process.wait()

    def join(self, timeout_s: float) -> None:
        """Waits for its end; kills it after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


class Usage:
    """CPU seconds and peak resident memory (MiB) of a process."""

    def __init__(self, name: str, cpu_s: float, peak_mib: float) -> None:
        self.name = name
        self.cpu_s = cpu_s
        self.peak_mib = peak_mib


def stop_all(children: Sequence[Child]) -> None:
    """Asks all at once, waits for all, kills what stays."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))


def free_ports(count: int) -> list[int]:
    """Loopback ports free at this moment, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def answers(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
