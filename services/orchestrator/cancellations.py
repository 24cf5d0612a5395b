"""Which runs are to end: what the control topic says, and the runs of this process that it concerns."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

import structlog
from prometheus_client import Counter

from headrace.contracts.control import Cancel, covers, read_cancel
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job
from headrace.engine import Cancellation
from headrace.service import Loop
from headrace.streams import Record

REFUSED = Counter("headrace_control_refused_total", "Records of the control topic that could not be used")


class Cancellations:
    """Made of the records of the control topic: applied in the thread that reads it, asked in the event loop's.

    An automation's cancel covers all segments of the runs whose first job was written before it. Whoever cancels it
    also names those of its runs that are at rest, so that they end at once; but of a run that has parked just now there
    may be no record yet.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._runs: dict[str, Cancel] = {}
        self._automations: dict[str, Cancel] = {}
        self._under_way: dict[Cancellation, tuple[Job, datetime]] = {}

    def apply(self, record: Record) -> None:
        """Takes up what a record asks; never raises. One that cannot be read is counted, and logged with its place."""
        try:
            cancel = read_cancel(record.value)
        except ContractError as error:
            REFUSED.inc()
            structlog.get_logger().error(
                "control record refused", partition=record.partition, at=record.offset, reason=error.message
            )
            return
        if cancel.run_id is not None:
            self._runs[cancel.run_id] = cancel
        else:
            self._automations[f"{cancel.app}/{cancel.automation}"] = cancel
        self._loop.call_soon(self._reach)

    def learn(self, cancel: Cancel) -> None:
        """Takes up the end of one run that is known before the control topic has told of it; for the event loop's
        thread."""
        known = None if cancel.run_id is None else self._runs.get(cancel.run_id)
        if cancel.run_id is not None and (known is None or known.generation < cancel.generation):
            self._runs[cancel.run_id] = cancel
            self._reach()

    def of(self, job: Job, written_at: datetime) -> Cancel | None:
        """What ends the job's run; `written_at` is the time of its record, which counts where it is the first."""
        if not self._runs and not self._automations:
            return None
        found = self._runs.get(job.run_id)
        if found is not None and found.app == job.app and job.generation <= found.generation:
            return found
        asked = self._automations.get(f"{job.app}/{job.automation}")
        return asked if asked is not None and covers(asked, job.written_at or written_at) else None

    @contextmanager
    def reaching(self, job: Job, written_at: datetime) -> Generator[Cancellation]:
        """Within it the run can be cancelled; it is already if it was before."""
        cancellation = Cancellation()
        self._under_way[cancellation] = job, written_at
        self._ask(job, written_at, cancellation)
        try:
            yield cancellation
        finally:
            del self._under_way[cancellation]

    def _reach(self) -> None:
        for cancellation, (job, written_at) in self._under_way.items():
            self._ask(job, written_at, cancellation)

    def _ask(self, job: Job, written_at: datetime, cancellation: Cancellation) -> None:
        found = self.of(job, written_at)
        if found is not None:
            cancellation.ask(found.by, found.reason)
