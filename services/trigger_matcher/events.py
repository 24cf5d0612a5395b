"""A record of an event topic to the jobs it triggers."""

from collections.abc import Sequence

from headrace.contracts import limits
from headrace.contracts.bodies import read_body
from headrace.contracts.cloudevents import Event, Location, read_event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import derived_uuid, run_id
from headrace.contracts.reserved import CALLED, ENDED, RESERVED, STARTED, read_end, read_start
from headrace.contracts.resumptions import EventName
from headrace.contracts.rows import read_row_change, row_id_of
from headrace.contracts.ticks import read_tick
from headrace.contracts.topics import EVENTS, ROWS, TICKS, WEBHOOKS
from headrace.contracts.waits import Arrival, wait_key, write_wait_record
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
from services.trigger_matcher.jobs import JobWriter
from services.trigger_matcher.replies import refusals_told


class RecordMatcher:
    """The runtime's handler. A batch may be matched again: the same jobs come of it, if perhaps at another priority,
    as what is matched twice counts twice for its app's rate."""

    def __init__(self, index: Index, settings: Settings, dead_letter: DeadLetterWriter, apps: AppRates) -> None:
        self._index = index
        self._jobs = JobWriter(settings, dead_letter, apps)
        self._rows = ROWS.full_name(settings.prefix)
        self._webhooks = WEBHOOKS.full_name(settings.prefix)
        self._ticks = TICKS.full_name(settings.prefix)
        self._events = EVENTS.full_name(settings.prefix)
        self._prefix = settings.prefix

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """For each record its jobs, or the dead letter that says why it has none."""
        return self._jobs.batch(records, self._match)

    def _match(self, record: Record) -> list[Outgoing]:
        try:
            event, found = self._find(record)
            made = self._jobs.outgoing(record, event, found)
            if record.key and record.topic == self._events and self._index.is_awaited(event.app, event.type):
                made.append(self._jobs.arrival(event, record.key.decode(errors="backslashreplace"), record.value))
            elif record.topic == self._webhooks:
                webhook = webhook_of((record.key or b"").decode(errors="backslashreplace"), event.app)
                made += refusals_told(self._index, event, webhook, found, self._prefix)
            elif event.type == CALLED and not any(isinstance(each, Match) for each in found):
                made += self._not_started(record, event, found)
        except ContractError as error:
            return [self._jobs.dead_letter(record, error.type, error.message)]
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
            request = read_webhook_request(read_body(record.value, limits.RECORD))
            return event, match_webhook(self._index, event, webhook_of(key, event.app), request, key, location)
        if record.topic == self._ticks:
            return event, match_tick(self._index, event, read_tick(read_body(record.value)), key, location)
        return event, self._match_event(event, read_body(record.value), key, location)

    def _match_event(self, event: Event, data: object, key: str, location: Location) -> list[Match | MatchError]:
        if not event.type.startswith(RESERVED):
            return match_event(self._index, event, data, key, location)
        if event.type in (CALLED, STARTED):
            return match_start(self._index, event, read_start(data), key, location)
        if event.type == ENDED:
            return match_end(self._index, event, read_end(data), key, location)
        raise ContractError("reserved_type", f"types that begin with `{RESERVED}` are Headrace's own; this one is none")

    def _not_started(self, record: Record, event: Event, found: Sequence[Match | MatchError]) -> list[Outgoing]:
        """The answer for a run that waits for the end of one that will never be."""
        start = read_start(read_body(record.value))
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
        return [Outgoing(self._jobs.waits_topic, wait_key(event.app, ENDED, run), value)]
