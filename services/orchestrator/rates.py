"""When a run may start whose automation has a rate: each start takes a place in time, in the order of arrival."""

from bisect import insort
from datetime import UTC, datetime, timedelta

from headrace.contracts.automation import Rate
from headrace.contracts.jobs import Job
from headrace.streams import Record

FORGET_AT = 10_000
"""Keys known before those are sought that no start depends on any more."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Starts:
    """The last starts of one key, ascending and each at a microsecond of its own, so that a place names its run."""

    __slots__ = ("per", "times")

    def __init__(self, per: int) -> None:
        self.per = per
        self.times: list[int] = []


class Rates:
    """The last `limit` starts of each key, with those that are still to come.

    Each process counts what it starts itself: it has all jobs of a key until their partition moves on. Who has it then
    learns of places that were given as those who hold them come back from their tiers.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str, str], _Starts] = {}
        self._forget_at = FORGET_AT
        self._given: dict[tuple[str, int, int], int] = {}

    def start(self, job: Job, record: Record, rate: Rate, now: datetime) -> datetime:
        """When the job may start; asked again for its record before `done`, the same time.

        A job that comes back from a tier keeps its place. One that comes too late takes a new one: all those that an
        outage held up would otherwise start together.
        """
        found = self._given.get(record[:3])
        if found is None:
            found = self._given[record[:3]] = self._place(job, rate, _number(now))
        return _EPOCH + found * _MICROSECOND

    def done(self, record: Record) -> None:
        """The record is handled: its run has started, or left for a tier with its place."""
        self._given.pop(record[:3], None)

    def _place(self, job: Job, rate: Rate, now: int) -> int:
        key = job.app, job.automation, job.key
        starts = self._keys.get(key)
        if starts is None:
            self._forget(now)
            starts = self._keys[key] = _Starts(0)
        starts.per, times = round(rate.per * 1e6), starts.times
        held = None if job.not_before is None else _number(job.not_before)
        if held is not None and held >= now:
            if held not in times:
                insort(times, held)
            at = held
        else:
            at = max(now, times[-1] + 1) if times else now
            if len(times) >= rate.limit:
                at = max(at, times[-rate.limit] + starts.per)
            times.append(at)
        del times[: -rate.limit]
        return at

    def _forget(self, now: int) -> None:
        if len(self._keys) >= self._forget_at:
            self._keys = {key: starts for key, starts in self._keys.items() if starts.times[-1] + starts.per > now}
            self._forget_at = max(FORGET_AT, 2 * len(self._keys))


def _number(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
