"""What a timer leads to on other topics."""

from datetime import datetime
from typing import NamedTuple

import structlog
from prometheus_client import Counter

from headrace.contracts.cloudevents import event_headers
from headrace.contracts.resumptions import Resumption, Timer, resumption_headers, write_resumption
from headrace.contracts.ticks import Tick, tick_event, tick_key, write_tick
from headrace.contracts.timers import CronTimer
from headrace.contracts.topics import JOBS, TICKS
from headrace.settings import Settings
from headrace.streams import Outgoing
from services.scheduler.crons import LiveCron, owed

RESUMED = Counter("headrace_timers_resumed_total", "Runs that timers and events put back on the jobs topics")
TICKS_FIRED = Counter("headrace_ticks_total", "Ticks of clock triggers, by whether their time was missed", ["missed"])


class Fired(NamedTuple):
    """The ticks of a clock, and the timer of its next time; None if it never comes again."""

    ticks: list[Outgoing]
    next: CronTimer | None


class Firing:
    """Makes the records of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._jobs = {priority: topic.full_name(settings.prefix) for priority, topic in JOBS.items()}
        self._ticks = TICKS.full_name(settings.prefix)

    def resume(self, timer: Timer) -> Outgoing:
        """The record that lets a parked run go on."""
        return self.resumption(timer.resumes)

    def resumption(self, resumption: Resumption) -> Outgoing:
        """The same, of a run that waited for something else, or for nothing more."""
        RESUMED.inc()
        topic, value = self._jobs[resumption.priority], write_resumption(resumption)
        return Outgoing(topic, resumption.record_key, value, resumption_headers(resumption))

    def tick(self, cron: LiveCron, timer: CronTimer, now: datetime) -> Fired:
        """The ticks that a clock owes at `now`, in their order, one as a rule."""
        found = owed(timer, now)
        if not found.are_all:
            structlog.get_logger().warning(
                "times passed by", automation=f"{cron.app}/{cron.automation}", since=str(timer.due), missed=timer.missed
            )
        TICKS_FIRED.labels("no").inc(len(found.times) - found.made_up)
        TICKS_FIRED.labels("yes").inc(found.made_up)
        ticks = [self._tick(cron, Tick(automation=cron.automation, scheduled=time, fired=now)) for time in found.times]
        return Fired(ticks, None if found.next is None else cron.timer(found.next))

    def _tick(self, cron: LiveCron, tick: Tick) -> Outgoing:
        headers = event_headers(tick_event(cron.app, tick))
        return Outgoing(self._ticks, tick_key(cron.app, cron.automation), write_tick(tick), headers)
