"""A record of an event topic to the jobs it triggers."""

from collections.abc import Sequence

import orjson
from prometheus_client import Counter

from headrace.contracts import limits
from headrace.contracts.cloudevents import REPLAY_HEADER, Event, Location, read_event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Priority, derived_uuid, job_key, run_id
from headrace.contracts.representable import refuse_deep, refuse_huge_numbers
from headrace.contracts.reserved import CALLED, ENDED, RESERVED, STARTED, read_end, read_start
from headrace.contracts.resumptions import EventName
from headrace.contracts.rows import read_row_change, row_id_of
from headrace.contracts.ticks import read_tick
from headrace.contracts.topics import EVENTS, JOBS, ROWS, TICKS, WAITS, WEBHOOKS
from headrace.contracts.waits import Arrival, wait_key, write_arrival, write_wait_record
from headrace.contracts.webhooks import read_webhook_request, webhook_of
from headrace.matching import (
    Index,
    Match,
    MatchError,
    match_end,
    match_event,
    match_row,
    match_start,
    match_tick,
    match_webhook,
)
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.replies import refusals_told

EVENTS_MATCHED = Counter("headrace_events_total", "Events read, by whether an automation fired", ["fired"])
ARRIVALS = Counter("headrace_awaited_events_total", "Events of types that runs wait for")
JOBS_MADE = Counter("headrace_jobs_total", "Jobs made", ["priority"])


class RecordMatcher:
    """The runtime's handler. A batch may be matched again: the same jobs come of it, if perhaps at another priority,
    as what is matched twice counts twice for its app's rate."""

    def __init__(self, index: Index, settings: Settings, dead_letter: DeadLetterWriter, apps: AppRates) -> None:
        self._apps = apps
        self._index = index
        self._dead_letter = dead_letter
        self._rows = ROWS.full_name(settings.prefix)
        self._webhooks = WEBHOOKS.full_name(settings.prefix)
        self._ticks = TICKS.full_name(settings.prefix)
        self._events = EVENTS.full_name(settings.prefix)
        self._prefix = settings.prefix
        self._waits = WAITS.full_name(settings.prefix)
        self._jobs = {priority: topic.full_name(settings.prefix) for priority, topic in JOBS.items()}
        self._fired = 0
        self._made = dict.fromkeys(self._jobs, 0)

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """For each record its jobs, or the dead letter that says why it has none."""
        self._fired, self._made = 0, dict.fromkeys(self._jobs, 0)
        self._apps.pass_time()
        outputs = [self._match(record) for record in records]
        # Counted once a batch: a metric's increment takes a lock, and costs as much as reading the event.
        EVENTS_MATCHED.labels("yes").inc(self._fired)
        EVENTS_MATCHED.labels("no").inc(len(records) - self._fired)
        for priority, count in self._made.items():
            JOBS_MADE.labels(priority).inc(count)
        return outputs

    def _match(self, record: Record) -> list[Outgoing]:
        try:
            event, found = self._find(record)
            made = [self._outgoing(record, event, each) for each in found]
            if record.key and record.topic == self._events and self._index.is_awaited(event.app, event.type):
                made.append(self._arrival(record, event))
            elif record.topic == self._webhooks:
                webhook = webhook_of((record.key or b"").decode(errors="backslashreplace"), event.app)
                made += refusals_told(self._index, event, webhook, found, self._prefix)
            elif event.type == CALLED and not any(isinstance(each, Match) for each in found):
                made += self._not_started(record, event, found)
        except ContractError as error:
            return [self._dead_letter(record, error.type, error.message)]
        self._fired += bool(found)
        return made

    def _find(self, record: Record) -> tuple[Event, list[Match | MatchError]]:
        if len(record.key or b"") > limits.ATTRIBUTE:
            raise ContractError(
                "over_limit", f"the record's key has {len(record.key or b'')} bytes; {limits.ATTRIBUTE} are accepted"
            )
        location = Location(record.topic, record.partition, record.offset)
        event = read_event(record.headers, location, record.timestamp_ms)
        key = "" if record.key is None else record.key.decode(errors="backslashreplace")
        if record.topic == self._rows:
            change = read_row_change(record.value)
            row_id = row_id_of(record.key, event.app, change)
            return event, match_row(self._index, event, change, row_id, key, location)
        if not event.type:
            raise ContractError("missing_attribute", "header ce_type is missing or empty; it names the event's type")
        if record.topic == self._webhooks:
            request = read_webhook_request(_body(record, limits.RECORD))
            return event, match_webhook(self._index, event, webhook_of(key, event.app), request, key, location)
        if record.topic == self._ticks:
            return event, match_tick(self._index, event, read_tick(_body(record)), key, location)
        return event, self._match_event(event, _body(record), key, location)

    def _match_event(self, event: Event, data: object, key: str, location: Location) -> list[Match | MatchError]:
        if not event.type.startswith(RESERVED):
            return match_event(self._index, event, data, key, location)
        if event.type in (CALLED, STARTED):
            return match_start(self._index, event, read_start(data), key, location)
        if event.type == ENDED:
            return match_end(self._index, event, read_end(data), key, location)
        raise ContractError("reserved_type", f"types that begin with `{RESERVED}` are Headrace's own; this one is none")

    def _arrival(self, record: Record, event: Event) -> Outgoing:
        """The event for who may wait for it: in the transaction that holds its jobs."""
        ARRIVALS.inc()
        name = EventName(id=event.id, source=event.source, type=event.type, time=event.time)
        value = write_arrival(Arrival(event=name, replay=event.replay), record.value)
        key = (record.key or b"").decode(errors="backslashreplace")
        return Outgoing(self._waits, wait_key(event.app, event.type, key), value)

    def _not_started(self, record: Record, event: Event, found: Sequence[Match | MatchError]) -> list[Outgoing]:
        """The answer for a run that waits for the end of one that will never be."""
        start = read_start(_body(record))
        if start.parent is None or not start.parent.awaits:
            return []
        run = run_id(event.app, start.automation, event)
        why = next((each.message for each in found if isinstance(each, MatchError)), "")
        message = (
            why or f"the app has no automation {start.automation} that may be called, or its trigger's `when` is false"
        )
        data = {
            "automation": start.automation,
            "run_id": run,
            "status": "error",
            "error": {"type": "not_started", "message": message, "retryable": False},
            "collected": None,
        }
        name = EventName(id=derived_uuid(f"{run}/0/end"), source="headrace/matcher", type=ENDED, time=event.time)
        value = write_wait_record(Arrival(event=name, replay=event.replay, data=data))
        return [Outgoing(self._waits, wait_key(event.app, ENDED, run), value)]

    def _outgoing(self, record: Record, event: Event, found: Match | MatchError) -> Outgoing:
        document = found.definition.live.document
        if isinstance(found, MatchError):
            return self._dead_letter.of_automation(record, found.type, found.message, document.app, document.name)
        priority = "low" if self._apps.is_over(document.app) else document.priority
        value = _job_value(record, found, priority)
        self._made[priority] += 1
        headers = [("traceparent", event.traceparent.encode())] if event.traceparent else []
        if event.replay:
            headers.append((REPLAY_HEADER, event.replay.encode()))
        key = job_key(document.app, document.name, found.key).encode()
        return Outgoing(self._jobs[priority], key, value, headers)


def _job_value(record: Record, match: Match, priority: Priority) -> bytes:
    job = match.job if match.job["priority"] == priority else {**match.job, "priority": priority}
    try:
        return orjson.dumps(job, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as error:
        refuse_huge_numbers(record.value or b"", "event")
        # What was read may still be more than can be written; the error names the kind of value, and quotes none.
        raise ContractError("not_representable", f"event: its data cannot be written into a job ({error})") from None


def _body(record: Record, most: int = limits.EVENT_BODY) -> object:
    """The value, of at most `most` bytes: what the gateway took of a request is more as JSON, in a record."""
    if record.value is None:
        return None
    if len(record.value) > most:
        raise ContractError("over_limit", f"the event's body has {len(record.value)} bytes; {most} are accepted")
    refuse_huge_numbers(record.value, "event")
    refuse_deep(record.value, "event")
    try:
        return orjson.loads(record.value)
    except orjson.JSONDecodeError as error:
        raise ContractError("not_json", f"event: not JSON ({error})") from None
