"""The people who answer for whole automations: they cancel all of one's runs, pause and resume it, withdraw its clock,
while faults go on around them.

They use what the command line uses. What fails they do again until it is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from confluent_kafka import KafkaException

from headrace.applying import NotLive, PartlyApplied
from headrace.cancelling import NotAsked, cancel_automation
from headrace.chaos.loads import clocks
from headrace.chaos.loads.base import APP
from headrace.chaos.observations import ClockSeen, HoldSeen, RecallSeen
from headrace.chaos.orders import Order
from headrace.chaos.reading import live_since
from headrace.chaos.threads import now_us
from headrace.contracts.runs import FINAL_STATUSES
from headrace.engine import PlatformUnavailable
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import StreamFailed
from headrace.switching import Asked, Switch, switch

AGAIN_S = 0.5
"""Between two tries of what failed."""

LOOK_S = 0.5
"""How often they look whether the clock's last run has ended."""

LAST_RUN_S = 90.0
"""How long they wait for it before they withdraw the clock all the same: the judge says then what is missing."""

BY, WHY = "chaos", "chaos"

AWAY = (PlatformUnavailable, StreamFailed, KafkaException, NotAsked, NotLive, PartlyApplied)

_T = TypeVar("_T")


class Administrators:
    """Work once, for one plan. What they have done stands in `recalls`, `holds` and `clocks`."""

    def __init__(self, settings: Settings, orders: Sequence[Order], has_clock: bool) -> None:
        self._settings = settings
        self._orders = orders
        self._has_clock = has_clock
        self._load_is_over = asyncio.Event()
        self._paused: dict[str, int] = {}
        self.recalls: list[RecallSeen] = []
        self.holds: list[HoldSeen] = []
        self.clocks: list[ClockSeen] = []
        self.is_busy = True
        """Whether something is left to do."""

    def load_is_over(self) -> None:
        """Load and faults have ended: the clock may be withdrawn."""
        self._load_is_over.set()

    async def work(self) -> None:
        """Carries out the orders at their times, counted from now; after the load withdraws the clock. Raises what is
        no outage."""
        began = asyncio.get_running_loop().time()
        storage = Storage(self._settings)
        try:
            async with asyncio.TaskGroup() as group:
                for automation in {order.automation for order in self._orders}:
                    group.create_task(self._carry_out(storage, automation, began))
            if self._has_clock:
                await self._load_is_over.wait()
                await self._withdraw(storage)
        finally:
            storage.close()
        self.is_busy = False

    async def _carry_out(self, storage: Storage, automation: str, began: float) -> None:
        """One automation's orders, one after the other."""
        for order in self._orders:
            if order.automation != automation:
                continue
            await asyncio.sleep(max(0.0, began + order.at - asyncio.get_running_loop().time()))
            match order.what:
                case "cancel":
                    await _until_done(lambda: self._cancel(storage, automation))
                case "pause":
                    await _until_done(lambda: self._switch(storage, automation, "pause"))
                    self._paused[automation] = now_us()
                case "resume":
                    self.holds.append(HoldSeen(automation, self._paused.pop(automation), now_us()))
                    rate = order.rate
                    await _until_done(lambda rate=rate: self._switch(storage, automation, "resume", rate))

    async def _cancel(self, storage: Storage, automation: str) -> None:
        asked = now_us()
        # Written down before it is known: what is cut off may have been asked.
        self.recalls.append(RecallSeen(automation, asked))
        await cancel_automation(self._settings, storage, APP, automation, BY, WHY)
        self.recalls.append(RecallSeen(automation, asked, now_us()))

    async def _switch(self, storage: Storage, automation: str, which: Switch, rate: float | None = None) -> None:
        await switch(self._settings, storage, f"{APP}/{automation}", Asked(which, BY, WHY, rate))

    async def _withdraw(self, storage: Storage) -> None:
        """Takes the clock out once the run of its latest time has ended: those before it came first."""
        latest = clocks.latest(now_us())
        await _within(LAST_RUN_S, lambda: _has_ended(storage, clocks.run_of(latest).id))
        since = await _until_done(lambda: asyncio.to_thread(live_since, self._settings))
        await _until_done(lambda: self._switch(storage, clocks.NAME, "disable"))
        self.clocks.append(ClockSeen(clocks.NAME, since[f"{APP}/{clocks.NAME}"], latest, now_us()))


async def _has_ended(storage: Storage, run_id: str) -> bool:
    run = await storage.runs.get(run_id)
    return run is not None and run["status"] in FINAL_STATUSES


async def _within(seconds: float, is_so: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `is_so` says yes, or after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if await _until_done(is_so):
            return
        await asyncio.sleep(LOOK_S)


async def _until_done(work: Callable[[], Awaitable[_T]]) -> _T:
    """What `work` answers, once the platform is there for it."""
    while True:
        try:
            return await work()
        except AWAY:
            await asyncio.sleep(AGAIN_S)
