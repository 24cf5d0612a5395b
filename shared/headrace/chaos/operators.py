"""The people of an installation: they redrive dead letters and cancel runs, while faults go on around them.

They use what the command line uses. What fails, or is cut off in the middle, they do again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from headrace.cancelling import NotAsked, cancel_runs
from headrace.chaos.loads.base import APP, ExpectedRun
from headrace.chaos.observations import CancelSeen
from headrace.chaos.threads import now_us
from headrace.contracts.runs import FINAL_STATUSES
from headrace.engine import PlatformUnavailable
from headrace.letter_actions import redrive
from headrace.redriving import How
from headrace.settings import Settings
from headrace.storage import Letter, LetterFilter, Storage
from headrace.streams import StreamFailed

LOOK_S = 0.5
"""How often they look for letters and for runs to cancel."""

MOST_LETTERS = 500
"""Of a look; there are fewer in a whole plan."""

BY = "chaos"

CUT_OFF = 0.3
"""The share of redrives that are cut off, somewhere between their first read and their last write."""

CUT_OFF_WITHIN_S = 0.1
"""A redrive takes some 50 ms."""

_AWAY = (PlatformUnavailable, StreamFailed, KafkaException, NotAsked)


@dataclass(frozen=True, slots=True)
class Wish:
    """The end of a run, to be asked for `at` seconds after the start of the load."""

    at: float
    run: str


class Operators:
    """Work until cancelled. What they have asked for stands in `cancels` and `redrives`."""

    def __init__(
        self,
        settings: Settings,
        seed: int,
        redriven: Sequence[ExpectedRun],
        wishes: Sequence[Wish],
        mend: Callable[[str], None],
    ) -> None:
        """`redriven` are the runs whose letters they redrive, once `mend` has been told of the event."""
        self._settings = settings
        self._chance = random.Random(f"headrace-chaos/{seed}/operators")
        self._events: Mapping[str, str] = {run.id: run.event for run in redriven}
        self._wishes = sorted(wishes, key=lambda wish: wish.at)
        self._mend = mend
        self.cancels: list[CancelSeen] = []
        self.redrives = 0
        self.is_busy = False
        """Whether there was something to do at the last look, or is being done."""

    async def work(self) -> None:
        """Looks for work and does it, until cancelled; raises what is no outage."""
        if not self._events and not self._wishes:
            return
        began = asyncio.get_running_loop().time()
        storage = Storage(self._settings)
        try:
            while True:
                passed = asyncio.get_running_loop().time() - began
                done = [
                    await self._unless_away(self._redrive(storage)),
                    await self._unless_away(self._cancel(storage, passed)),
                ]
                self.is_busy = not all(done)
                await asyncio.sleep(LOOK_S)
        finally:
            storage.close()

    async def _unless_away(self, work: Awaitable[bool]) -> bool:
        """Whether nothing was left to do."""
        try:
            return await work
        except _AWAY:
            return False

    async def _redrive(self, storage: Storage) -> bool:
        asked = LetterFilter(app=APP)
        found = [each for each in await storage.dead_letters.find(asked, MOST_LETTERS) if each.run_id in self._events]
        if not found:
            return True
        self.is_busy = True
        self.redrives += 1
        limit = CUT_OFF_WITHIN_S * self._chance.random() if self._chance.random() < CUT_OFF else None
        try:
            async with asyncio.timeout(limit):
                await self._redrive_all(storage, found)
        except TimeoutError:
            pass  # the letters that are still open are found by the next look
        return False

    async def _redrive_all(self, storage: Storage, letters: Sequence[Letter]) -> None:
        for letter in letters:
            self._mend(self._events[letter.run_id])
        asked = LetterFilter(ids=[letter.id for letter in letters])
        await redrive(self._settings, storage, asked, How(), BY, asyncio.Event())

    async def _cancel(self, storage: Storage, passed: float) -> bool:
        due = [wish for wish in self._wishes if wish.at <= passed]
        is_done = True
        for wish in due:
            run = await storage.runs.get(wish.run)
            if run is None:
                continue  # nothing is recorded of it yet: people cancel what they see
            self.is_busy = True
            is_done = False
            if run["status"] not in FINAL_STATUSES:
                self.cancels.append(CancelSeen(wish.run, None))
                await cancel_runs(self._settings, [run], BY, "chaos")
                self.cancels.append(CancelSeen(wish.run, now_us()))
            self._wishes.remove(wish)
        return is_done
