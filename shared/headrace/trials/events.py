"""An event as an author writes it down, through the real matcher to a job, or the reason why there is none."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import cast

import orjson

from headrace.contracts.automation import (
    Automation,
    AutomationTrigger,
    CronTrigger,
    EventTrigger,
    LiveAutomation,
    ManualTrigger,
    RowTrigger,
    WebhookTrigger,
)
from headrace.contracts.cloudevents import ROW_TYPES, Event, Location
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, read_job
from headrace.contracts.reserved import ENDED, RESERVED, STARTED, read_end, read_start
from headrace.contracts.rows import RowChange, read_row_change, row_id_of, row_key
from headrace.contracts.ticks import read_tick
from headrace.contracts.webhooks import read_webhook_request
from headrace.engine import Started
from headrace.engine.plain import dumps
from headrace.engine.stubs import LAST_TIME
from headrace.language.values import to_time
from headrace.matching import (
    Index,
    Match,
    MatchError,
    compile_definition,
    match_end,
    match_event,
    match_row,
    match_start,
    match_tick,
    match_webhook,
)
from headrace.matching.index import ANY, matches_pattern

COMMON = ("id", "time", "key")
"""What any event may have beside its trigger's own: its name (a row's id), its time, and the record's key."""

SOURCE = "headrace/trial"
"""The events' `ce_source`."""

FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Of an event: it is also the time of the run's job, and no record in Kafka has an earlier one."""

OPS = {type: op for op, type in ROW_TYPES.items()}


class BadTrialEvent(ValueError):
    """The event is none of its automation's trigger's form; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Fired:
    """The job that the matcher made, as the orchestrator would read it."""

    started: Started


@dataclass(frozen=True, slots=True)
class NotFired:
    """Why there is no job; `is_error` where a template failed, so that nobody can say whether there should be one."""

    reason: str
    is_error: bool = False


_Found = list[Match | MatchError]


def fire(automation: Automation, event: object, at: datetime) -> Fired | NotFired:
    """What becomes of `event` for this automation; `at` (aware) is its time where it names none.

    The event's form is that of the trigger: see docs/language.md. Raises BadTrialEvent, LanguageError.
    """
    # Through JSON, as any event: YAML's dates become text, and nothing is shared with the document.
    given: object = orjson.loads(dumps({} if event is None else event))
    if not isinstance(given, dict):
        raise BadTrialEvent("the event is an object, in the form of its automation's trigger")
    form = _Form(automation, cast(dict[str, object], given), at)
    try:
        found, otherwise = form.matched()
        if not found:
            return NotFired(otherwise())
        (match,) = found
        if isinstance(match, MatchError):
            return NotFired(f"{match.type}: {match.message}", is_error=True)
        job = read_job(orjson.dumps(match.job, option=orjson.OPT_UTC_Z))
    except ContractError as error:
        raise BadTrialEvent(error.message) from None
    return Fired(_started(job, form.time))


def _started(job: Job, at: datetime) -> Started:
    return Started(job, Location("trial", 0, 0), at)


class _Form:
    """One event in the form of its automation's trigger."""

    def __init__(self, automation: Automation, given: dict[str, object], at: datetime) -> None:
        self._automation = automation
        self._trigger = automation.trigger
        self._given = given
        self.time = self._time(at)
        self._index = Index()
        live = LiveAutomation(format=1, revision=0, version=0, state="enabled", document=automation)
        self._index.put(compile_definition(live))

    def matched(self) -> tuple[_Found, Callable[[], str]]:
        """What the matcher finds, and how to say why it found nothing."""
        match self._trigger:
            case RowTrigger() as trigger:
                return self._row(trigger)
            case EventTrigger() as trigger:
                return self._event(trigger)
            case WebhookTrigger() as trigger:
                return self._webhook(trigger)
            case CronTrigger():
                return self._tick()
            case ManualTrigger():
                return self._start()
            case AutomationTrigger() as trigger:
                return self._end(trigger)

    def _row(self, trigger: RowTrigger) -> tuple[_Found, Callable[[], str]]:
        change = self._change(trigger)
        app, table = self._automation.app, change.source.table
        id = self._text("id") or row_id_of(None, app, change)
        key = self._text("key") or row_key(app, table, id)
        found = match_row(self._index, self._named(ROW_TYPES[change.op]), change, id, key, _LOCATION)
        return found, lambda: self._no_row(trigger, change)

    def _no_row(self, trigger: RowTrigger, change: RowChange) -> str:
        type, table = ROW_TYPES[change.op], change.source.table
        if (type, table) != (trigger.type, trigger.table):
            return f"the event is a {type} of table {table}; the trigger listens to {trigger.type} of {trigger.table}"
        wanted = trigger.only_if_changed
        if wanted and not set(wanted) & set(change.changed):
            changed = ", ".join(change.changed) or "nothing"
            return f"only_if_changed: none of {', '.join(wanted)} has changed (changed: {changed})"
        return _WHEN

    def _change(self, trigger: RowTrigger) -> RowChange:
        if "op" in self._given:
            self._expect(("op", "before", "after", "source", "ts_ms", *COMMON))
            envelope = {"source": {"table": trigger.table}, **self._given}
            return read_row_change(orjson.dumps(envelope))
        self._expect(("row", "old_row", *COMMON))
        row, old = self._given.get("row"), self._given.get("old_row")
        op = OPS[trigger.type]
        before, after = (row if old is None else old, None) if op == "d" else (old, row)
        if (before if op == "d" else after) is None:
            raise BadTrialEvent(f"a {trigger.type} has a `row`, or is Debezium's envelope with `op`, `before`, `after`")
        return read_row_change(
            orjson.dumps({"op": op, "before": before, "after": after, "source": {"table": trigger.table}})
        )

    def _event(self, trigger: EventTrigger) -> tuple[_Found, Callable[[], str]]:
        self._expect(("type", "data", "subject", "source", *COMMON))
        type = self._text("type") or ("" if ANY in trigger.event else trigger.event)
        if not type:
            raise BadTrialEvent(f"the event needs a `type`: the trigger listens to the pattern {trigger.event}")
        if type.startswith(RESERVED):
            raise BadTrialEvent(f"types that begin with `{RESERVED}` are Headrace's own")
        found = match_event(self._index, self._named(type), self._given.get("data"), self._text("key"), _LOCATION)

        def otherwise() -> str:
            if matches_pattern(trigger.event, type):
                return _WHEN
            return f"the event's type is {type}; the trigger listens to {trigger.event}"

        return found, otherwise

    def _webhook(self, trigger: WebhookTrigger) -> tuple[_Found, Callable[[], str]]:
        self._expect(("method", "headers", "query", "body", *COMMON))
        headers = self._given.get("headers", {})
        if isinstance(headers, dict):
            # As the gateway hands them on.
            headers = {name.lower(): value for name, value in cast(dict[str, object], headers).items()}
        request = read_webhook_request({"method": "POST", **self._given, "headers": headers})
        key = self._text("key") or f"{self._automation.app}/{trigger.id}"
        return match_webhook(self._index, self._named("webhook"), trigger.id, request, key, _LOCATION), lambda: _WHEN

    def _tick(self) -> tuple[_Found, Callable[[], str]]:
        self._expect(("scheduled", *COMMON))
        scheduled = self._given.get("scheduled", self.time)
        tick = read_tick({"automation": self._automation.name, "scheduled": scheduled})
        key = self._text("key") or self._automation.id
        return match_tick(self._index, self._named("headrace.tick"), tick, key, _LOCATION), lambda: _WHEN

    def _start(self) -> tuple[_Found, Callable[[], str]]:
        self._expect(("fields", "user", *COMMON))
        start = read_start({"fields": {}, **self._given, "automation": self._automation.name})
        return match_start(self._index, self._named(STARTED), start, self._text("key"), _LOCATION), lambda: _WHEN

    def _end(self, trigger: AutomationTrigger) -> tuple[_Found, Callable[[], str]]:
        self._expect(("automation", "run_id", "status", "error", "collected", *COMMON))
        other = trigger.automation if trigger.automation != ANY else "another"
        status = "error" if trigger.type == "automation.failed" else "success"
        end = read_end({"automation": other, "run_id": "trial", "status": status, **self._given})
        # The matcher tells of two triggers for a bad end; this automation has one of them.
        found = match_end(self._index, self._named(ENDED), end, self._text("key"), _LOCATION)

        def otherwise() -> str:
            if end.automation == self._automation.name:
                return "an automation is not told of its own end"
            if trigger.automation not in (ANY, end.automation):
                return f"the run is one of {end.automation}; the trigger listens to {trigger.automation}"
            if trigger.type == "automation.failed" and end.status in ("success", "stopped"):
                return f"the run ended {end.status}; the trigger listens to those that fail"
            return _WHEN

        return found, otherwise

    def _named(self, type: str) -> Event:
        source = self._given.get("source")  # of a row it is Debezium's, an object
        return Event(
            id=self._text("id") or "trial",
            source=source if isinstance(source, str) and source else SOURCE,
            type=type,
            time=self.time,
            subject=self._text("subject"),
            app=self._automation.app,
            replay="",
            traceparent="",
        )

    def _time(self, at: datetime) -> datetime:
        given = self._given.get("time")
        if given is None:
            return at
        found = to_time(given)
        if found is None:
            raise BadTrialEvent("the event's `time` is no time such as 2013-01-31T10:00:00Z")
        if not FIRST_TIME <= found < LAST_TIME:
            raise BadTrialEvent(f"the event's `time` is not between the years {FIRST_TIME.year} and {LAST_TIME.year}")
        return found.astimezone(UTC)

    def _text(self, name: str) -> str:
        value = self._given.get(name)
        return "" if value is None else str(value)

    def _expect(self, names: tuple[str, ...]) -> None:
        for name in self._given:
            if name not in names:
                close = get_close_matches(name, names, n=1)
                told = f"did you mean `{close[0]}`?" if close else f"it may have {', '.join(names)}"
                raise BadTrialEvent(f"an event of a {self._trigger.type} trigger has no {name!r}; {told}")


_LOCATION = Location("trial", 0, 0)
_WHEN = "trigger.when is false for this event"
