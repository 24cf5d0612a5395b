"""The clock triggers of the live automations, and which of their times are owed."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from headrace.contracts.automation import TAKES_EVENTS, CronTrigger, LiveAutomation
from headrace.contracts.automation.schedules import Schedule, read_schedule
from headrace.contracts.timers import CronTimer, Missed, cron_key
from headrace.contracts.validation import explain
from headrace.streams import Record

LIVE = Gauge("headrace_crons", "Live automations that fire by the clock")
REFUSED = Counter("headrace_crons_refused_total", "Records of the automations topic that could not be read")

LATE = timedelta(seconds=60)
"""A time is missed when it is over by more: a killed scheduler's partitions are fired by another within ten seconds,
and a broker that restarts takes no longer than this; both are no outage that anyone would choose a policy for."""

ALLOWED: Mapping[Missed, int] = {"skip": 0, "run_once": 1, "run_all": 1_000}
"""How many of the missed times are made up for, the last ones. A thousand are two thirds of a day by the minute and six
weeks by the hour; all of them after a long outage would keep the automation from what is due now."""

_MAX_SHOWN = 500
"""Characters of a log line's parts: names in the record have whatever length it gave them."""

_SECOND = timedelta(seconds=1)


class LiveCron(NamedTuple):
    """An automation that is live and fires by the clock; its times count from `since` on, when it went live."""

    app: str
    automation: str
    trigger: CronTrigger
    since: datetime

    def schedule(self, begins: datetime) -> Schedule:
        """Its schedule; `@every` counts from `begins`."""
        return read_schedule(self.trigger.schedule, self.trigger.timezone, begins)

    def timer(self, due: datetime) -> CronTimer:
        """Its timer for one time."""
        return CronTimer(
            due=due,
            app=self.app,
            automation=self.automation,
            schedule=self.trigger.schedule,
            timezone=self.trigger.timezone,
            missed=self.trigger.missed,
        )

    def armed(self, current: CronTimer | None) -> CronTimer | None:
        """The timer that it must have in place of `current`; None if it never fires again."""
        if current is None or (current.schedule, current.timezone) != (self.trigger.schedule, self.trigger.timezone):
            first = self.schedule(self.since).next(self.since)
            return None if first is None else self.timer(first)
        return self.timer(current.due)


class LiveCrons:
    """By their timers' ids; one thread applies records of the automations topic while others look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revisions: dict[str, int] = {}
        self._live: dict[bytes, LiveCron] = {}
        self._changed: dict[bytes, int] = {}
        self.version = 0
        """Rises with every change."""

    def get(self, key: bytes) -> LiveCron | None:
        """The live automation of this timer."""
        with self._lock:
            return self._live.get(key)

    def changed_since(self, version: int) -> list[bytes]:
        """The ids of timers whose automation came, went or changed after `version`."""
        with self._lock:
            return [key for key, changed in self._changed.items() if changed > version]

    def apply(self, record: Record) -> None:
        """The next record of the automations topic. One that cannot be read is counted and logged with its place, and
        what was known of its automation stays."""
        automation_id = (record.key or b"").decode(errors="replace")
        app, _, name = automation_id.partition("/")
        if record.value is None:
            self._revisions.pop(automation_id, None)
            self._put(cron_key(app, name), None)
            return
        try:
            live = LiveAutomation.model_validate_json(record.value)
        except ValidationError as error:
            self._refused(record, automation_id, error)
            return
        document = live.document
        if live.revision < self._revisions.get(document.id, live.revision):
            return
        self._revisions[document.id] = live.revision
        trigger = document.trigger if live.state in TAKES_EVENTS and isinstance(document.trigger, CronTrigger) else None
        since = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        cron = None if trigger is None else LiveCron(document.app, document.name, trigger, since)
        self._put(cron_key(document.app, document.name), cron)

    def _put(self, key: bytes, cron: LiveCron | None) -> None:
        with self._lock:
            if cron is not None:
                self._live[key] = cron
            elif self._live.pop(key, None) is None:
                return
            self.version += 1
            self._changed[key] = self.version
            LIVE.set(len(self._live))

    def _refused(self, record: Record, automation_id: str, error: ValidationError) -> None:
        REFUSED.inc()
        type, reason = explain(error, "automation")
        structlog.get_logger().error(
            "automation refused",
            automation=automation_id[:_MAX_SHOWN],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            type=type,
            reason=reason[:_MAX_SHOWN],
        )


class Owed(NamedTuple):
    """Times of a clock that are over: those to make ticks of, in their order, and the time after `now`."""

    times: list[datetime]
    made_up: int
    """How many of `times` were missed."""
    are_all: bool
    """Whether none was left out."""
    next: datetime | None


def owed(timer: CronTimer, now: datetime) -> Owed:
    """What is owed of a clock whose timer is due."""
    schedule = read_schedule(timer.schedule, timer.timezone, timer.due)
    times: list[datetime] = []
    made_up = 0
    moment = schedule.previous(now)
    while moment is not None and moment >= timer.due:
        if moment < now - LATE:
            if made_up == ALLOWED[timer.missed]:
                break
            made_up += 1
        times.append(moment)
        moment = schedule.previous(moment - _SECOND)
    return Owed(times[::-1], made_up, moment is None or moment < timer.due, schedule.next(now))
