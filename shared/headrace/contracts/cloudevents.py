"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the body is the data.

Source: CloudEvents specification 1.0.2 and its Kafka protocol binding, §3.2. `ce_app` is our extension attribute.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from headrace.contracts import limits
from headrace.contracts.errors import ContractError

Headers = Sequence[tuple[str, bytes]]

SPECVERSION = "1.0"
REPLAY_HEADER = "headrace_replay"
"""Carries a replay's id from the replayed event to all that follows from it."""

CHAIN_HEADER = "headrace_chain"
"""Carries the automations whose runs led to the event, the first one first, with commas between."""

REDRIVEN_HEADER = "headrace_redriven"
"""The place (`topic/partition/offset`) of the record that this one repeats: a dead letter was redriven. An event
without CloudEvents attributes keeps its name by it."""

ROW_TYPES = {"c": "row.created", "u": "row.updated", "d": "row.deleted", "r": "row.read"}
"""Debezium's `op` to the event type it means."""


class Location(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


class Event(NamedTuple):
    """An event's name and origin; `(source, id)` is its identity everywhere, however often it was published.

    `time` is the event's own time, aware, in UTC; `replay` is "" except for replayed events. `chain` names the
    automations whose runs led to it, each by the one before: by what it published, by a call, or by its end.
    """

    id: str
    source: str
    type: str
    time: datetime
    subject: str
    app: str
    replay: str
    traceparent: str
    chain: tuple[str, ...] = ()


def read_event(headers: Headers | None, location: Location, timestamp_ms: int) -> Event:
    """The event that `headers` describe.

    A record without CloudEvents attributes (a raw Debezium topic) is named by its place in Kafka, or by that of the
    record it repeats. Raises ContractError for an unknown specversion, a missing or overlong attribute, a bad time or
    chain, a place that is none, or no app.
    """
    found = dict(headers or ())
    app = _attribute(found, "ce_app")
    if not app:
        raise ContractError("no_app", "header ce_app is missing: it names the app whose automations may see this event")
    if not is_name(app):
        raise ContractError("bad_app", f"header ce_app is {app!r}: an app's name is made of a-z, 0-9, '_' and '-'")
    if "ce_specversion" not in found and "ce_id" not in found:
        named = _redriven(found) or location
        id, source = f"{named.partition}/{named.offset}", f"kafka:{named.topic}"
        type = _attribute(found, "ce_type")
    else:
        if (version := _attribute(found, "ce_specversion")) != SPECVERSION:
            raise ContractError("unknown_version", f"header ce_specversion is {version!r}; {SPECVERSION!r} is known")
        id, source, type = (_required(found, name) for name in ("ce_id", "ce_source", "ce_type"))
    return Event(
        id=id,
        source=source,
        type=type,
        time=_time(_attribute(found, "ce_time"), timestamp_ms),
        subject=_attribute(found, "ce_subject"),
        app=app,
        replay=_attribute(found, REPLAY_HEADER),
        traceparent=_attribute(found, "traceparent"),
        chain=_chain(found.get(CHAIN_HEADER)),
    )


def event_headers(event: Event) -> list[tuple[str, bytes]]:
    """The headers that `read_event` reads back as `event`."""
    attributes = {
        "ce_specversion": SPECVERSION,
        "ce_id": event.id,
        "ce_source": event.source,
        "ce_type": event.type,
        "ce_time": format_time(event.time),
        "ce_subject": event.subject,
        "ce_app": event.app,
        REPLAY_HEADER: event.replay,
        CHAIN_HEADER: ",".join(event.chain),
        "traceparent": event.traceparent,
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in attributes.items() if value]


def repeating_headers(headers: Headers, location: Location, timestamp_ms: int | None) -> list[tuple[str, bytes]]:
    """The headers under which the record at `location` is the same event when it stands in another place as well."""
    names = {name for name, _ in headers}
    repeating = [*headers]
    if REDRIVEN_HEADER not in names:
        repeating.append((REDRIVEN_HEADER, "/".join(map(str, location)).encode()))
    if "ce_time" not in names and timestamp_ms is not None and 0 <= timestamp_ms < _END_OF_TIME_MS:
        repeating.append(("ce_time", format_time(datetime.fromtimestamp(timestamp_ms / 1000, UTC)).encode()))
    return repeating


def app_of(headers: Headers) -> str:
    """The app that an event's headers name, "" if they name none that may be one."""
    app = dict(headers).get("ce_app", b"")[: limits.ATTRIBUTE].decode(errors="replace")
    return app if is_name(app) else ""


def is_name(text: str) -> bool:
    """Whether `text` may name an app, a table or an automation: `[a-z0-9_-]+`."""
    return bool(text) and _NAME_CHARACTERS.issuperset(text)


def format_time(time: datetime) -> str:
    """RFC 3339 with microseconds; `time` is aware."""
    return time.isoformat(timespec="microseconds")


_END_OF_TIME_MS = 253_402_300_800_000
"""The first millisecond that no datetime can say: of the year 10000. Kafka takes any number from a client."""

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")

_MOST_CHAIN = 64 << 10
"""Bytes of a chain: a hundred names of the longest kind, where a run is refused long before."""


def _attribute(found: dict[str, bytes], name: str) -> str:
    value = found.get(name)
    if value is None:
        return ""
    if len(value) > limits.ATTRIBUTE:
        raise ContractError("over_limit", f"header {name} has {len(value)} bytes; {limits.ATTRIBUTE} are accepted")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ContractError("not_utf8", f"header {name} is not UTF-8") from None


def _required(found: dict[str, bytes], name: str) -> str:
    if value := _attribute(found, name):
        return value
    raise ContractError("missing_attribute", f"header {name} is missing or empty; CloudEvents 1.0 requires it")


def _chain(value: bytes | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = value[: _MOST_CHAIN + 1].decode(errors="replace").split(",")
    if len(value) > _MOST_CHAIN or not all(all(map(is_name, name.partition("/")[::2])) for name in names):
        raise ContractError(
            "bad_chain", f"header {CHAIN_HEADER} is no list of automations: Headrace's services write it"
        )
    return tuple(names)


def _redriven(found: dict[str, bytes]) -> Location | None:
    text = _attribute(found, REDRIVEN_HEADER)
    if not text:
        return None
    topic, _, place = text.partition("/")
    partition, _, offset = place.partition("/")
    if not (topic and _is_number(partition) and _is_number(offset)):
        raise ContractError("bad_place", f"header {REDRIVEN_HEADER} is {text[:64]!r}; expected topic/partition/offset")
    return Location(topic, int(partition), int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _time(text: str, timestamp_ms: int) -> datetime:
    if not text:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    try:
        time = datetime.fromisoformat(text)
        # An offset at the calendar's edge overflows on its way to UTC.
        return time if time.tzinfo is UTC else time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ContractError("bad_time", f"header ce_time is {text[:64]!r}; expected RFC 3339") from None
