"""Waiting until nothing moves any more."""

import asyncio
from collections.abc import Callable

from confluent_kafka import KafkaException

from headrace.chaos.observations import PartitionOf, Stands
from headrace.chaos.reading import ends, lags_by_group, read_stands, read_timers, total_lag
from headrace.settings import Settings

CALM_S = 2.0
"""Nothing new for so long: longer than any hop from one topic to the next, and than a publisher's retry."""

POLL_S = 0.5
"""Each look asks the coordinator and every partition's leader; twice a second is no load."""


class Quiet:
    """Watches groups come to rest after the last fault.

    `at_start` is where they stood at the first look, `at_end` at the last, `moved_s` after how many seconds each
    partition with a lag was first seen to have moved.
    """

    def __init__(self, settings: Settings, calls: Callable[[], int], is_busy: Callable[[], bool]) -> None:
        """`calls` counts what the outside world has seen: it is not quiet while that grows, nor while `is_busy`."""
        self._settings = settings
        self._calls = calls
        self._is_busy = is_busy
        self.at_start: Stands = {}
        self.at_end: Stands = {}
        self.moved_s: dict[PartitionOf, float] = {}
        self.seconds = 0.0

    async def wait(self, deadline_s: float, while_waiting: Callable[[], None]) -> bool:
        """True once every group has committed all there is, nothing new came for CALM_S and no timer is pending; False
        past the deadline.

        `while_waiting` is called before every look.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        before: object = None
        calm_since = began
        while True:
            while_waiting()
            stands = await self._look()
            self.seconds = loop.time() - began
            now = (list(ends(stands)), self._calls()) if stands else None
            if now is None or now != before or total_lag(stands) > 0 or self._is_busy():
                before, calm_since = now, loop.time()
            self._note(stands)
            # Read whole, and so only where all else is at rest.
            if loop.time() - calm_since >= CALM_S and not await self._pending():
                return True
            if self.seconds > deadline_s:
                return False
            await asyncio.sleep(POLL_S)

    def lags(self) -> str:
        """What is left, in words."""
        return ", ".join(f"{group} {lag}" for group, lag in lags_by_group(self.at_end).items() if lag) or "none"

    async def _look(self) -> Stands:
        try:
            return await asyncio.to_thread(read_stands, self._settings)
        except KafkaException:
            return {}  # still coming back after a fault; the deadline bounds this

    async def _pending(self) -> bool:
        return bool(await asyncio.to_thread(read_timers, self._settings))

    def _note(self, stands: Stands) -> None:
        if not stands:
            return
        self.at_start = self.at_start or stands
        self.at_end = stands
        for partition, first in self.at_start.items():
            if first.lag > 0 and partition not in self.moved_s and stands[partition].committed > first.committed:
                self.moved_s[partition] = round(self.seconds, 2)
