"""What a match leads to: a job at the app's priority, or the dead letter that says why there is none."""

from collections.abc import Callable, Sequence

import orjson
from prometheus_client import Counter

from headrace.contracts.cloudevents import REPLAY_HEADER, Event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Priority, job_key
from headrace.contracts.representable import refuse_huge_numbers
from headrace.contracts.resumptions import EventName
from headrace.contracts.topics import JOBS, WAITS
from headrace.contracts.waits import Arrival, wait_key, write_arrival, write_wait_record
from headrace.matching import Match, MatchError
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record
from services.trigger_matcher.apps import AppRates

EVENTS_MATCHED = Counter("headrace_events_total", "Events read, by whether an automation fired", ["fired"])
ARRIVALS = Counter("headrace_awaited_events_total", "Events of types that runs wait for")
JOBS_MADE = Counter("headrace_jobs_total", "Jobs made", ["priority"])


class JobWriter:
    """Makes the outgoing records of one stream, and counts what a batch made."""

    def __init__(self, settings: Settings, dead_letter: DeadLetterWriter, apps: AppRates) -> None:
        self._apps = apps
        self.dead_letter = dead_letter
        self.waits_topic = WAITS.full_name(settings.prefix)
        self._jobs = {priority: topic.full_name(settings.prefix) for priority, topic in JOBS.items()}
        self._fired = 0
        self._made = dict.fromkeys(self._jobs, 0)

    def batch(self, records: Sequence[Record], match: Callable[[Record], list[Outgoing]]) -> list[list[Outgoing]]:
        """What `match` makes of each record; a batch that fails counts for nothing.

        Counted once a batch: a metric's increment takes a lock, and costs as much as reading the event.
        """
        self._fired, self._made = 0, dict.fromkeys(self._jobs, 0)
        self._apps.pass_time()
        outputs = [match(record) for record in records]
        EVENTS_MATCHED.labels("yes").inc(self._fired)
        EVENTS_MATCHED.labels("no").inc(len(records) - self._fired)
        for priority, count in self._made.items():
            JOBS_MADE.labels(priority).inc(count)
        return outputs

    def outgoing(self, record: Record, event: Event, found: Sequence[Match | MatchError]) -> list[Outgoing]:
        """What the matches of one event lead to; raises ContractError where its data cannot be in a job."""
        made = [self._one(record, event, each) for each in found]
        self._fired += bool(found)
        return made

    def _one(self, record: Record, event: Event, found: Match | MatchError) -> Outgoing:
        document = found.definition.live.document
        if isinstance(found, MatchError):
            return self.dead_letter.of_automation(record, found.type, found.message, document.app, document.name)
        priority = "low" if self._apps.is_over(document.app) else document.priority
        value = _job_value(record, found, priority)
        self._made[priority] += 1
        headers = [("traceparent", event.traceparent.encode())] if event.traceparent else []
        if event.replay:
            headers.append((REPLAY_HEADER, event.replay.encode()))
        key = job_key(document.app, document.name, found.key).encode()
        return Outgoing(self._jobs[priority], key, value, headers)

    def arrival(self, event: Event, key: str, body: bytes | None) -> Outgoing:
        """The event for who may wait for it, `body` being its data: in the transaction that holds its jobs."""
        return self._arrival(event, key, write_arrival(_arrival_of(event), body))

    def arrival_of(self, event: Event, key: str, data: object) -> Outgoing:
        """The same, with the data as they were read; raises ContractError where they cannot be written."""
        try:
            value = write_wait_record(_arrival_of(event, data))
        except orjson.JSONEncodeError as error:
            raise ContractError("not_representable", f"event: its data cannot be written ({error})") from None
        return self._arrival(event, key, value)

    def _arrival(self, event: Event, key: str, value: bytes) -> Outgoing:
        ARRIVALS.inc()
        return Outgoing(self.waits_topic, wait_key(event.app, event.type, key), value)


def _arrival_of(event: Event, data: object = None) -> Arrival:
    name = EventName(id=event.id, source=event.source, type=event.type, time=event.time)
    return Arrival(event=name, replay=event.replay, data=data)


def _job_value(record: Record, match: Match, priority: Priority) -> bytes:
    job = match.job if match.job["priority"] == priority else {**match.job, "priority": priority}
    try:
        return orjson.dumps(job, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as error:
        refuse_huge_numbers(record.value or b"", "event")
        # What was read may still be more than can be written; the error names the kind of value, and quotes none.
        raise ContractError("not_representable", f"event: its data cannot be written into a job ({error})") from None
