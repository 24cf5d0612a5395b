"""Faults done to a running system, and written down with their real times."""

import asyncio
from collections.abc import Awaitable, Callable

from headrace.chaos.fleet import Fleet
from headrace.chaos.observations import FaultSeen
from headrace.chaos.plan import SLOTS, Fault, Target
from headrace.chaos.system import System
from headrace.chaos.threads import now_us
from headrace.embedded import StackError

POLL_S = 0.05
"""There is nothing to await: a process that ends, or a port that opens, is another's."""

BACK_TIMEOUT_S = 60.0
"""A part that does not come back within this never will; recovery after a kill takes seconds."""

MOST_SLOTS = 4
"""Orchestrators in the middle of a `scale`."""


class PartStaysAway(StackError):
    """A part that was killed and started again does not answer: the harness cannot go on."""


class Injector:
    """Does the faults of a plan. What it has done stands in `seen`, in the order of the ends."""

    def __init__(self, system: System, fleet: Fleet) -> None:
        self._system = system
        self._fleet = fleet
        self.seen: list[FaultSeen] = []
        self._ways: dict[str, Callable[[Fault, Target], Awaitable[None]]] = {
            "kill": self._kill,
            "kill-stay": self._kill_for_good,
            "pause": self._pause,
            "rolling": self._rolling,
            "scale": self._scale,
            "cut": self._network,
            "delay": self._network,
            "half-open": self._network,
        }

    async def inject(self, fault: Fault) -> None:
        """Does one fault from its beginning to its end; what it took away is back then, but for `kill-stay`."""
        began = now_us()
        if fault.target is None:
            await self._part(fault)
        else:
            await self._ways[fault.kind](fault, fault.target)
        target = str(fault.target) if fault.target else fault.kind
        self.seen.append(FaultSeen(fault.kind, f"{target} {fault.side}".strip(), began, now_us()))

    async def _part(self, fault: Fault) -> None:
        broker = fault.kind == "broker"
        system = self._system
        (system.kill_broker if broker else system.kill_mongod)()
        await asyncio.sleep(fault.duration)
        (system.restart_broker if broker else system.restart_mongod)()
        await until(system.broker_answers if broker else system.mongod_answers, fault.kind)

    async def _kill(self, fault: Fault, target: Target) -> None:
        self._fleet.kill(target)
        await asyncio.sleep(fault.duration)
        self._fleet.start(target)

    async def _kill_for_good(self, fault: Fault, target: Target) -> None:
        self._fleet.kill(target, for_good=True)

    async def _pause(self, fault: Fault, target: Target) -> None:
        self._fleet.pause(target)
        await asyncio.sleep(fault.duration)
        self._fleet.wake(target)

    async def _rolling(self, fault: Fault, target: Target) -> None:
        for slot in range(SLOTS):
            each = Target(target.service, slot)
            self._fleet.terminate(each)
            await until(lambda each=each: self._fleet.ended(each), f"{each} to drain")
            self._fleet.start(each)
            await asyncio.sleep(fault.duration / SLOTS)

    async def _scale(self, fault: Fault, target: Target) -> None:
        """One, four, two."""
        others = [Target(target.service, slot) for slot in range(1, MOST_SLOTS)]
        self._fleet.terminate(others[0])
        await asyncio.sleep(fault.duration / 3)
        for each in others:
            self._fleet.start(each)
        await asyncio.sleep(fault.duration * 2 / 3)
        for each in others[SLOTS - 1 :]:
            self._fleet.terminate(each)
        for each in others[SLOTS - 1 :]:
            await until(lambda each=each: self._fleet.ended(each), f"{each} to drain")

    async def _network(self, fault: Fault, target: Target) -> None:
        way = self._system.ways[target]
        if fault.kind in ("cut", "delay", "half-open"):
            way.be(fault.side, fault.kind, fault.latency_s)
        await asyncio.sleep(fault.duration)
        way.be(fault.side, "open")


async def until(true: Callable[[], bool], what: str, timeout_s: float = BACK_TIMEOUT_S) -> None:
    """Returns when `true` is; raises PartStaysAway."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not true():
        if loop.time() > deadline:
            raise PartStaysAway(f"waited {timeout_s:.0f} s for {what}")
        await asyncio.sleep(POLL_S)
