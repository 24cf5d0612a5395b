"""What makes a run that is not at its end go on: a record of its own, in the transaction that ends the segment."""

from datetime import UTC, datetime

from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job, dated, delayed, next_attempt, next_segment
from headrace.contracts.resumptions import RESUMES_HEADER, Resumption, Timer, write_timer
from headrace.contracts.topics import TIMERS, WAITS
from headrace.contracts.waits import Wait, wait_key, write_wait_record
from headrace.engine.decisions import Awaited, DeadLetter, Decision, HandOver, Hold, Park, Postpone, Retry
from headrace.installation import retry_topics
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record

TIER_LATE_S = 1.0
"""By how much a tier may be late: the promise of retry tiers."""


class Continuations:
    """A job, the record that carried it, and the decision, to the record that follows from them."""

    def __init__(self, settings: Settings, dead_letter: DeadLetterWriter) -> None:
        self._dead_letter = dead_letter
        self._timers = TIMERS.full_name(settings.prefix)
        self._waits = WAITS.full_name(settings.prefix)
        self._retries = {delay: topic.full_name(settings.prefix) for delay, topic in retry_topics(settings).items()}

    def __call__(self, job: Job, record: Record, decision: Decision) -> list[Outgoing]:
        """What makes the run go on, or waits for a person."""
        job = dated(job, _written_at(record))
        headers = [(name, value) for name, value in record.headers if name != RESUMES_HEADER]
        match decision:
            case HandOver():
                return [Outgoing(self._retries[min(self._retries)], record.key, next_segment(job), headers)]
            case Postpone():
                return [Outgoing(self._retries[decision.tier], record.key, delayed(job, decision.until), headers)]
            case Retry():
                value = next_attempt(job, decision.retried)
                return [Outgoing(self._retries[decision.tier], record.key, value, headers)]
            case Hold():
                held = Timer(due=_written_at(record), held=True, resumes=_resumption(job, record))
                # Not in the partition of the run's id: those of one ordering key stay in their order.
                return [Outgoing(self._timers, job.run_id.encode(), write_timer(held), partition=record.partition)]
            case Park():
                timer = Timer(due=decision.until, resumes=_resumption(job, record))
                waits = [self._wait(job, record, each) for each in decision.events]
                return [Outgoing(self._timers, job.run_id.encode(), write_timer(timer)), *waits]
            case DeadLetter():
                failed = decision.error
                return [self._dead_letter.of_outcome(record, failed["type"], failed["message"], job)]

    def _wait(self, job: Job, record: Record, awaited: Awaited) -> Outgoing:
        wait = Wait(
            step=awaited.step,
            since=awaited.since,
            until=awaited.until,
            after=awaited.after,
            replay=job.replay,
            resumes=_resumption(job, record),
        )
        return Outgoing(self._waits, wait_key(job.app, awaited.type, awaited.key), write_wait_record(wait))

    def postponing(self, start: datetime, now: datetime) -> Postpone | None:
        """How a run that starts at `start` waits; None where it is so soon that it should wait here."""
        wait = (start - now).total_seconds()
        # Back in time: late, it would lose its place.
        tier = max((each for each in self._retries if each + TIER_LATE_S <= wait), default=None)
        return None if tier is None else Postpone(start, tier)


def _written_at(record: Record) -> datetime:
    return datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)


def _resumption(job: Job, record: Record) -> Resumption:
    cause = job.cause
    traceparent = next((value for name, value in record.headers if name == "traceparent"), b"")
    return Resumption(
        run_id=job.run_id,
        app=job.app,
        automation=job.automation,
        source=Location(cause.topic, cause.partition, cause.offset),
        generation=job.generation,
        segment=job.segment + 1,
        restart=job.restart,
        key=job.key,
        priority=job.priority,
        traceparent=traceparent.decode(errors="replace"),
        replay=job.replay,
    )
