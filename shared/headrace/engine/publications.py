"""What a run gives to the world by Kafka."""

from dataclasses import dataclass
from datetime import datetime

from headrace.contracts import limits
from headrace.contracts.cloudevents import Event, event_headers
from headrace.contracts.jobs import Job


@dataclass(frozen=True, slots=True)
class Publication:
    """A record to be produced in the transaction that ends the run."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


def chain_of(job: Job) -> tuple[str, ...]:
    """The automations whose runs led to what the job's run gives to the world, its own the last one."""
    return (*job.chain, f"{job.app}/{job.automation}")


def own_event(job: Job, id: str, type: str, time: datetime, *, subject: str, source: str = "") -> Event:
    """An event that a run publishes; without `source` it is the automation's."""
    return Event(
        id=id,
        source=source or f"headrace/{job.app}/{job.automation}",
        type=type,
        time=time,
        subject=subject,
        app=job.app,
        replay=job.replay,
        traceparent="",
        chain=chain_of(job),
    )


def published(event: Event, topic: str, key: str, body: bytes) -> Publication:
    """The record of `event`."""
    # The job's key may be an event's whose bytes were no UTF-8, which takes more room as text.
    return Publication(topic, key.encode(errors="replace")[: limits.ATTRIBUTE], body, event_headers(event))
