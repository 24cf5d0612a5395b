"""Stops crons that keep failing."""

import asyncio

import structlog
from prometheus_client import Counter

from headrace import applying
from headrace.contracts.automation import LiveAutomation
from headrace.contracts.stats import Delta, Streak, streak_of
from headrace.engine import PlatformUnavailable
from headrace.settings import Settings
from headrace.storage import AutomationStore
from services.insights.rows import Failures

STOPPED = Counter("headrace_automations_stopped_total", "Automations stopped after repeated failures")


class Judge:
    """Counts the failures in a row of each cron, and stops one that has as many as the setting allows.

    They are counted for one revision of the live document: a version that is published starts anew, and so does an
    automation that is enabled again.
    """

    def __init__(self, settings: Settings, automations: AutomationStore) -> None:
        self._settings = settings
        self._automations = automations
        self._most = settings.max_recurring_errors

    async def judged(self, row: Failures, offset: int, delta: Delta) -> Failures:
        """The automation's row once the delta at `offset` is added, which may stop the automation.

        Judging the same delta again, after a crash before the row was written, comes to the same. Raises
        PlatformUnavailable.
        """
        streak = streak_of(delta)
        row = row._replace(offset=offset)
        if not streak.longest and not row.in_a_row:
            return row  # no failure, now or before: most deltas
        automation = f"{delta['app']}/{delta['automation']}"
        while True:
            live = await self._automations.live(automation)
            if live is None or live.version != delta["version"]:
                return row  # what runs of other versions come to says nothing of the one that is live
            if live.state != "enabled":
                if live.state == "stopped_error":
                    await self._publish(live)  # whoever stopped it may have died before that
                return row._replace(revision=live.revision, in_a_row=0)
            before = row.in_a_row if row.revision == live.revision else 0
            joined = Streak(before, before, before, has_success=False).then(streak)
            if joined.longest < self._most:
                return row._replace(revision=live.revision, in_a_row=joined.last)
            last_at = f"{delta['time']:%Y-%m-%d %H:%M:%S} UTC"
            reason = f"version {live.version} failed {joined.longest} times in a row, the last at {last_at}"
            stopped = await self._stop_cron(live, reason)
            if stopped is not None:
                return row._replace(revision=stopped.revision, in_a_row=0)

    async def _stop_cron(self, live: LiveAutomation, reason: str) -> LiveAutomation | None:
        stopped = await self._automations.change_state(live, "stopped_error", reason, by="insights")
        if stopped is not None:
            await self._publish(stopped)
            STOPPED.inc()
            structlog.get_logger().warning("automation stopped", automation=live.document.id, reason=reason)
        return stopped

    async def _publish(self, live: LiveAutomation) -> None:
        try:
            await asyncio.to_thread(applying.publish, self._settings, [live])
        except applying.PartlyApplied as error:
            raise PlatformUnavailable(str(error)) from error
