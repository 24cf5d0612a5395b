"""The services' processes: started, killed, stopped, woken; and those that end by themselves are noticed."""

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple, cast
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import psutil

from headrace.chaos.observations import ProcessSeen
from headrace.chaos.plan import SERVICES, SLOTS, Target
from headrace.chaos.threads import now_us
from headrace.embedded.ports import HOST, reserve_ports
from headrace.embedded.processes import Child, Children
from headrace.embedded.supervisor import settings_environment
from headrace.settings import Settings

MARK = "HEADRACE_CHAOS_MARK"
"""An environment variable that every process of a fleet carries, and every process that one of them starts."""

DRAIN_S = 20.0
"""A service asked to end commits what it is at: at most the longest step, here 20 s."""

ANSWER_S = 5.0
"""An answer is made of what is in memory, within milliseconds."""

LAST_WORDS = ("cannot run", "Faust does not stop; the process ends without it")
"""What a service logs last when it ends because it cannot go on."""

# A proxy of the environment has no way to our loopback.
_OPENER = build_opener(ProxyHandler({}))


class Fallen(NamedTuple):
    """A process that ended by itself: its exit code (minus the signal's number), when it was last seen alive, and when
    its end was noticed."""

    target: Target
    code: int
    alive: int
    at: int
    seen: ProcessSeen
    reason: str
    """Why it could not go on, where it said so itself."""


class Fleet:
    """At most one process for each target. Only for the main thread, which they die with."""

    def __init__(
        self, settings: Settings, ways: Mapping[Target, Mapping[str, str]], extra: Mapping[str, str], log_dir: Path
    ) -> None:
        """`ways` are the addresses of targets that have their own; `extra` is everybody's environment."""
        self._settings = settings
        self._ways = ways
        self._extra = extra
        self._log_dir = log_dir
        self._children = Children()
        self._alive: dict[Target, Child] = {}
        self._ports: dict[Target, int] = {}
        self._starts = 0
        self._coming: dict[Target, int] = {}
        self._draining: set[Target] = set()
        self._gone: set[Target] = set()
        self._looked = now_us()
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        """The value of MARK in this fleet."""

    def start(self, target: Target) -> None:
        """Starts the process of a slot, unless it was killed for good.

        One that still drains there is waited for first, and killed past DRAIN_S.
        """
        if target in self._gone:
            return
        if target in self._alive:
            self._end(target, DRAIN_S)
        (port,) = reserve_ports(1)
        self._starts += 1
        log = self._log_dir / f"{target}.{self._starts}.log"
        argv = [sys.executable, "-m", "headrace.cli", "service", target.service]
        environment = self.environment() | {
            "HEADRACE_SLOT": str(target.slot),
            "HEADRACE_OPS_PORT": str(port),
            **self._ways.get(target, {}),
        }
        self._alive[target] = self._children.spawn(str(target), argv, log, environment)
        self._ports[target] = port
        self._coming[target] = now_us()

    def start_all(self) -> None:
        """SLOTS processes of each service."""
        for service in SERVICES:
            for slot in range(SLOTS):
                self.start(Target(service, slot))

    def environment(self) -> dict[str, str]:
        """What every process gets: ours, the settings, `extra`, the mark."""
        values = settings_environment(self._settings)
        kept = {name: value for name, value in os.environ.items() if name not in values}
        given = {name: value for name, value in values.items() if value is not None}
        return {**kept, **given, **self._extra, MARK: self.mark}

    @property
    def targets(self) -> list[Target]:
        """Those that have a process, living or draining."""
        return list(self._alive)

    def kill(self, target: Target, *, for_good: bool = False) -> None:
        """SIGKILL, if it has a process; `for_good` makes `start` do nothing for this target."""
        if for_good:
            self._gone.add(target)
        self._draining.discard(target)
        child = self._alive.pop(target, None)
        if child is not None:
            self._children.discard(child)

    def terminate(self, target: Target) -> None:
        """SIGTERM; it drains and ends by itself."""
        child = self._alive.get(target)
        if child is not None:
            self._draining.add(target)
            child.terminate()

    def ended(self, target: Target) -> bool:
        """Whether it has no living process; one that was told to end is then forgotten."""
        child = self._alive.get(target)
        if child is not None and not child.alive:
            self.kill(target)
        return target not in self._alive

    def pause(self, target: Target) -> bool:
        """SIGSTOP; whether there was a process to stop."""
        return self._signal(target, signal.SIGSTOP)

    def wake(self, target: Target) -> None:
        """SIGCONT."""
        self._signal(target, signal.SIGCONT)

    def fallen(self) -> list[Fallen]:
        """Those that have ended since the last look though nobody ended them; they are forgotten."""
        fallen: list[Fallen] = []
        looked, self._looked = self._looked, now_us()
        for target, child in list(self._alive.items()):
            if not child.alive and target not in self._draining:
                code = child.exit_code or 0
                what = f"ended by itself with code {code}; its log is {child.log}"
                fallen.append(
                    Fallen(
                        target,
                        code,
                        looked,
                        self._looked,
                        ProcessSeen(child.name, child.pid, what),
                        last_words(child.log),
                    )
                )
                self.kill(target)
        return fallen

    def ready(self, target: Target) -> bool:
        """Whether its /readyz answers 200."""
        return self._status(target, "readyz") == HTTPStatus.OK

    def stalled(self) -> list[ProcessSeen]:
        """Those whose /healthz says that they are: an orchestrator of containers would end them now."""
        return [
            ProcessSeen(child.name, child.pid, "is stalled, by its /healthz")
            for target, child in tuple(self._alive.items())
            if self._status(target, "healthz") == HTTPStatus.SERVICE_UNAVAILABLE
        ]

    def arrived(self) -> list[tuple[Target, int]]:
        """Those that have become ready since the last look, each with the time of its start."""
        for target in list(self._coming):
            if target not in self._alive:
                del self._coming[target]
        found = [(target, self._coming[target]) for target in list(self._coming) if self.ready(target)]
        for target, _ in found:
            self._coming.pop(target, None)
        return found

    def answer(self, target: Target, path: str) -> object | None:
        """What its ops port answers, from JSON; None where it does not."""
        try:
            with _OPENER.open(f"http://{HOST}:{self._ports[target]}{path}", timeout=ANSWER_S) as answer:
                return json.loads(answer.read())
        except (OSError, HTTPException, json.JSONDecodeError):
            return None

    def stop(self) -> None:
        """Wakes, drains and ends all of them."""
        for target in self._alive:
            self.wake(target)
        self._children.stop(DRAIN_S)
        self._alive.clear()

    def leaked(self) -> list[ProcessSeen]:
        """Living processes that carry the mark of this fleet: after `stop` there must be none."""
        found: list[ProcessSeen] = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(ProcessSeen(process.name(), process.pid, "still runs after the end"))
            except (psutil.AccessDenied, psutil.NoSuchProcess):
                continue  # another user's, or gone meanwhile: in neither case ours
        return found

    def _status(self, target: Target, path: str) -> int | None:
        """What it answers; None where it does not."""
        try:
            with _OPENER.open(f"http://{HOST}:{self._ports[target]}/{path}", timeout=1) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (OSError, HTTPException):
            return None

    def _signal(self, target: Target, number: signal.Signals) -> bool:
        child = self._alive.get(target)
        if child is None or not child.alive:
            return False
        os.kill(child.pid, number)
        return True

    def _end(self, target: Target, timeout_s: float) -> None:
        child = self._alive[target]
        child.terminate()
        child.join(timeout_s)
        self.kill(target)


def last_words(log: Path) -> str:
    """Why a service says in its log that it ends; nothing where it does not say so."""
    said = ""
    for line in log.read_text(errors="replace").splitlines():
        try:
            found: object = json.loads(line)
        except json.JSONDecodeError:
            continue  # a library's own words
        if isinstance(found, dict):
            entry = cast("dict[str, object]", found)
            if entry.get("event") in LAST_WORDS:
                said = str(entry.get("reason") or entry["event"])
    return said
