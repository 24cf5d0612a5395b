"""How long a partition stands still after its worker was killed: measured, never judged."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

from headrace.chaos.fleet import Fleet
from headrace.chaos.live import make_live
from headrace.chaos.loads.base import APP, SOURCE
from headrace.chaos.plan import Target
from headrace.chaos.system import System
from headrace.chaos.watcher import Watcher
from headrace.embedded import StackError
from headrace.installation import topic_specs
from headrace.publisher import Publisher
from headrace.settings import Settings
from headrace.streams.admin import make_topics

SERVICES = ("orchestrator", "trigger_matcher")
"""Those whose output shows when a partition goes on."""

RATE = 60.0
"""Events a second: some fifteen for each of four partitions, so that one that stands still shows within 0.1 s."""

CUSTOMERS = 64
"""Keys enough that none of four partitions is without one."""

LONGEST_S = 30.0
"""A partition that yields nothing for so long is not recovering; it is reported with this."""

SETTLE_S = 4.0
"""Between kills: the group gives the newcomer its half."""

RESTART_S = 0.5
"""As any supervisor would."""

READY_TIMEOUT_S = 60.0
"""A service is ready in 2 s; on a loaded machine more."""

POLL_S = 0.02
"""There is nothing to await: what is measured is another process's output."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL: which slot, whether it was started again, and how long each partition stood still, in seconds."""

    slot: int
    restarted: bool
    partitions: dict[int, float]

    @property
    def slowest_s(self) -> float:
        """The partition that took longest."""
        return max(self.partitions.values())


@dataclass(frozen=True, slots=True)
class Recovery:
    """All kills of one service."""

    service: str
    kills: tuple[Kill, ...]

    def summary(self) -> dict[str, float]:
        """The slowest partition of a kill, in seconds: half of the kills were faster than `p50_s`; the rest are maxima
        over all kills, those after which the process was started again, and those after which it was not."""
        slowest = [kill.slowest_s for kill in self.kills]
        again = [kill.slowest_s for kill in self.kills if kill.restarted]
        alone = [kill.slowest_s for kill in self.kills if not kill.restarted]
        return {
            "p50_s": round(median(slowest), 3),
            "max_s": max(slowest),
            "max_restarted_s": max(again, default=0.0),
            "max_not_restarted_s": max(alone, default=0.0),
        }


def measure_recovery(
    asked: Settings, directory: Path, kills: int, tell: Tell, services: Sequence[str] = SERVICES
) -> list[Recovery]:
    """Kills one of two processes of each service `kills` times under a steady load of pure runs.

    Every other one is started again at once. Call it in the main thread and outside an event loop. Raises StackError.
    """
    with ExitStack() as closing:
        system = closing.enter_context(System(asked, directory, (), tell))
        make_topics(system.settings.kafka, topic_specs(system.settings))
        fleet = Fleet(system.settings, {}, {}, directory / "logs")
        closing.callback(fleet.stop)
        fleet.start_all()
        _await_ready(fleet)
        make_live(directory / "automations", ["pure"], "", fleet.environment())
        steady = _Steady(system.settings)
        closing.callback(steady.close)
        return [_measure(system.settings, fleet, service, kills, tell) for service in services]


def _measure(settings: Settings, fleet: Fleet, service: str, kills: int, tell: Tell) -> Recovery:
    watcher = Watcher(settings, service)
    try:
        done: list[Kill] = []
        for number in range(kills):
            time.sleep(SETTLE_S)
            done.append(_kill(settings, fleet, watcher, Target(service, number % 2), restart=number % 4 < 2))
            times = ", ".join(f"{each} {seconds:.2f} s" for each, seconds in sorted(done[-1].partitions.items()))
            tell(f"{service}-{number % 2} killed: slowest partition {done[-1].slowest_s:.2f} s ({times})")
            if not done[-1].restarted:
                fleet.start(Target(service, number % 2))
            _await_ready(fleet)
        return Recovery(service, tuple(done))
    finally:
        watcher.close()


def _kill(settings: Settings, fleet: Fleet, watcher: Watcher, target: Target, restart: bool) -> Kill:
    watcher.forget()
    fleet.kill(target)
    moment = time.time()
    restarted = False
    while True:
        times = watcher.first_since(moment)
        waited = time.time() - moment
        if restart and not restarted and waited > RESTART_S:
            fleet.start(target)
            restarted = True
        if len(times) == settings.partitions and restarted == restart:
            return Kill(target.slot, restarted, times)
        if waited > LONGEST_S:
            missing = {number: LONGEST_S for number in range(settings.partitions) if number not in times}
            return Kill(target.slot, restarted, {**times, **missing})
        time.sleep(POLL_S)


def _await_ready(fleet: Fleet) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not all(fleet.ready(target) for target in fleet.targets):
        for fallen in fleet.fallen():
            raise StackError(f"{fallen.target} {fallen.seen.what}")
        if time.monotonic() > deadline:
            raise StackError(f"not all services were ready within {READY_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


class _Steady:
    """Publishes pure events at RATE, in a thread, until closed."""

    def __init__(self, settings: Settings) -> None:
        servers = settings.kafka["bootstrap.servers"]
        self._publisher = Publisher(APP, bootstrap_servers=servers, source=SOURCE, prefix=settings.prefix)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="chaos-steady", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the load."""
        self._closing.set()
        self._thread.join()
        self._publisher.close()

    def _publish(self) -> None:
        number = 0
        while not self._closing.wait(1 / RATE):
            number += 1
            customer = f"c{number % CUSTOMERS}"
            data = {"customer": customer, "amount": number % 100}
            self._publisher.submit_event("chaos.pure", data, key=customer, id=str(uuid4()))
