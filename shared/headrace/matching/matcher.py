"""Which automations an event triggers, and the job of each."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from headrace.contracts import limits
from headrace.contracts.cloudevents import ROW_TYPES, Event, Location, format_time
from headrace.contracts.jobs import JOB_FORMAT, run_id
from headrace.contracts.reserved import CALLED, End, Start, fired_by_end
from headrace.contracts.rows import RowChange
from headrace.contracts.ticks import Tick
from headrace.contracts.webhooks import WebhookRequest
from headrace.language import Scope, Template, TemplateError
from headrace.language.values import to_text
from headrace.matching.fields import given
from headrace.matching.index import Definition, Index


class Match(NamedTuple):
    """An automation that fires. `job` has the fields of contracts.jobs.Job; `key` orders and limits it."""

    definition: Definition
    key: str
    job: Mapping[str, object]


class MatchError(NamedTuple):
    """An automation that has no run, though it may be meant: its template failed on this event, so that nobody can say
    whether it fires or in which order; or the chain of runs that led here is too long."""

    definition: Definition
    type: str
    message: str


_MOST_BYTES = 4
"""Of a character in UTF-8."""

Found = list[Match | MatchError]


def match_row(
    index: Index,
    event: Event,
    change: RowChange,
    row_id: str,
    record_key: str,
    location: Location,
    changed: Sequence[str] | None = None,
) -> Found:
    """What a row change triggers; a snapshot's row (`op: r`) nothing.

    `changed` names the columns that differ where something other than the images tells. Where nothing does, each
    column may have changed, and all are named.
    """
    type = ROW_TYPES[change.op]
    definitions = index.for_row(event.app, type, change.source.table)
    if not definitions:
        return []
    changed = change.changed if changed is None else list(changed)
    trigger: dict[str, object] = {
        "type": type,
        "table": change.source.table,
        "id": row_id,
        "row": change.after if change.op != "d" else change.before,
        "old_row": change.before,
        "changed": changed,
        "timestamp": format_time(event.time),
        "event": _event_facts(event),
    }
    listening = [
        each for each in definitions if not each.only_if_changed or not each.only_if_changed.isdisjoint(changed)
    ]
    return _fire(listening, event, type, trigger, record_key, location)


def match_event(index: Index, event: Event, data: object, record_key: str, location: Location) -> Found:
    """What a domain event triggers."""
    trigger: dict[str, object] = {
        "type": "event",
        "data": data,
        "timestamp": format_time(event.time),
        "event": _event_facts(event),
    }
    return _fire(index.for_event(event.app, event.type), event, event.type, trigger, record_key, location)


def match_webhook(
    index: Index, event: Event, webhook: str, request: WebhookRequest, record_key: str, location: Location
) -> Found:
    """What a request to a webhook triggers."""
    trigger: dict[str, object] = {
        "type": "webhook",
        "id": webhook,
        "method": request.method,
        "headers": request.headers,
        "query": request.query,
        "body": request.body,
        "timestamp": format_time(event.time),
        "event": _event_facts(event),
    }
    return _fire(index.for_webhook(event.app, webhook), event, "webhook", trigger, record_key, location)


def match_tick(index: Index, event: Event, tick: Tick, record_key: str, location: Location) -> Found:
    """The one automation whose time has come."""
    found = index.for_tick(event.app, tick.automation)
    trigger: dict[str, object] = {
        "type": "cron",
        "scheduled": format_time(tick.scheduled),
        "timestamp": format_time(tick.scheduled),
        "event": _event_facts(event),
    }
    return _fire([] if found is None else [found], event, "cron", trigger, record_key, location)


def match_start(index: Index, event: Event, start: Start, record_key: str, location: Location) -> Found:
    """The one automation that a person or another automation starts.

    Nothing where there is none of this name, or it may not be started so: the caller finds no run of it.
    """
    found = index.for_start(event.app, start.automation)
    if found is None:
        return []
    type = "called" if event.type == CALLED else "manual"
    try:
        fields = given(found.live.document.fields, start.fields)
    except ValueError as error:
        return [MatchError(found, "bad_fields", f"automation {found.live.document.id}: {error}")]
    trigger: dict[str, object] = {
        "type": type,
        "fields": fields,
        "timestamp": format_time(event.time),
        "event": _event_facts(event),
    }
    return _fire([found], event, type, trigger, record_key, location, start)


def match_end(index: Index, event: Event, end: End, record_key: str, location: Location) -> Found:
    """What the end of another automation's run triggers."""
    trigger: dict[str, object] = {
        "type": "",
        "data": end.model_dump(),
        "timestamp": format_time(event.time),
        "event": _event_facts(event),
    }
    return [
        each
        for type in fired_by_end(end.status)
        for each in _fire(
            index.for_end(event.app, end.automation, type), event, type, {**trigger, "type": type}, record_key, location
        )
    ]


def _event_facts(event: Event) -> dict[str, object]:
    return {"id": event.id, "source": event.source, "type": event.type, "subject": event.subject}


def _fire(
    definitions: Iterable[Definition],
    event: Event,
    type: str,
    trigger: dict[str, object],
    record_key: str,
    location: Location,
    start: Start | None = None,
) -> Found:
    found: Found = []
    cause = _cause(event, type, location)
    roots = {**trigger, "trigger": trigger}
    for definition in definitions:
        document = definition.live.document
        run = run_id(document.app, document.name, event)
        scope = Scope(roots, run, event.time)
        try:
            if definition.when is not None and not definition.when.holds(scope):
                continue
            key = record_key if definition.key is None else _rendered(definition.key, scope)
        except TemplateError as error:
            found.append(MatchError(definition, error.type, f"automation {document.id}: {error.message}"))
            continue
        job = _job(definition, event, run, key, trigger, cause)
        if start is not None:
            job = {**job, **_who(start)}
        elif definition.responds and not event.replay:
            job = {**job, "reply": True}
        found.append(Match(definition, key, job))
    return found


def _who(start: Start) -> Mapping[str, object]:
    return start.model_dump(include={"parent", "user"})


def _rendered(template: Template, scope: Scope) -> str:
    key = to_text(template.render(scope))
    # Its bytes: the key of an event that the run publishes is this one, and is measured so.
    if len(key) * _MOST_BYTES > limits.ATTRIBUTE and (size := len(key.encode(errors="replace"))) > limits.ATTRIBUTE:
        raise TemplateError(f"its key for order and limits has {size} bytes; {limits.ATTRIBUTE} are accepted")
    return key


def _cause(event: Event, type: str, location: Location) -> Mapping[str, str | int | datetime]:
    return {
        "id": event.id,
        "source": event.source,
        "type": type,
        "topic": location.topic,
        "partition": location.partition,
        "offset": location.offset,
        "time": event.time,
    }


def _job(
    definition: Definition, event: Event, run: str, key: str, trigger: object, cause: Mapping[str, object]
) -> Mapping[str, object]:
    document = definition.live.document
    return {
        "format": JOB_FORMAT,
        "run_id": run,
        "app": document.app,
        "automation": document.name,
        "version": definition.live.version,
        "generation": 0,
        "segment": 0,
        "attempt": 1,
        "key": key,
        "priority": document.priority,
        "replay": event.replay,
        "chain": event.chain,
        "trigger": trigger,
        "cause": cause,
    }
