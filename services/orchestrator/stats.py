"""The stream's summary: each transaction's runs, counted by automation and version."""

from collections.abc import Sequence
from typing import cast

import orjson

from headrace.contracts.automation import CronTrigger
from headrace.contracts.runs import FINAL_STATUSES, RunRecord, RunStatus
from headrace.contracts.sketch import bucket_of
from headrace.contracts.stats import ERRORS, SUCCESSES, Delta
from headrace.contracts.topics import STATS
from headrace.engine import Plan
from headrace.engine.ports import SystemClock
from headrace.settings import Settings
from headrace.streams import Outcome, Outgoing

Tally = tuple[Plan, RunStatus, float]
"""What a run counts as: its plan, final status and duration in milliseconds. A plain tuple: each run makes one."""


def tally(plan: Plan, record: RunRecord) -> Tally | None:
    """For `Turn.tally`; None for a run that is not at its end."""
    status = record["status"]
    return (plan, status, record["duration_ms"]) if status in FINAL_STATUSES else None


class _Sum:
    __slots__ = ("durations", "ended", "first", "has_success", "last", "longest", "plan")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ended: dict[RunStatus, int] = {}
        self.durations: dict[int, int] = {}
        self.first = self.last = self.longest = 0
        self.has_success = False


class Summary:
    """Makes the records of the stats topic: `streams.Summarise`."""

    def __init__(self, settings: Settings) -> None:
        self._topic = STATS.full_name(settings.prefix)
        self._clock = SystemClock()

    def __call__(self, outcomes: Sequence[Outcome]) -> list[Outgoing]:
        """One delta for each automation and version of which a run ended."""
        sums: dict[int, _Sum] = {}
        for outcome in outcomes:
            if outcome.tally is None:
                continue
            plan, status, duration_ms = cast(Tally, outcome.tally)
            # By identity: a plan's own hash would be that of all its steps.
            found = sums.get(id(plan))
            if found is None:
                found = sums[id(plan)] = _Sum(plan)
            ended, durations, bucket = found.ended, found.durations, bucket_of(duration_ms)
            ended[status] = ended.get(status, 0) + 1
            durations[bucket] = durations.get(bucket, 0) + 1
            if status in SUCCESSES:
                found.has_success, found.last = True, 0
            elif status in ERRORS:
                found.last += 1
                found.longest = max(found.longest, found.last)
                found.first += not found.has_success
        return [self._outgoing(found) for found in sums.values()]

    def _outgoing(self, found: _Sum) -> Outgoing:
        document = found.plan.automation
        delta: Delta = {
            "format": 1,
            "app": document.app,
            "automation": document.name,
            "version": found.plan.version,
            "is_cron": isinstance(document.trigger, CronTrigger),
            "ended": found.ended,
            "errors_first": found.first,
            "errors_last": found.last,
            "errors_longest": found.longest,
            "durations": found.durations,
            "time": self._clock.now(),
        }
        value = orjson.dumps(delta, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)
        return Outgoing(self._topic, document.id.encode(), value)
