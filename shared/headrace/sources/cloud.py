"""A CloudEvent of another publisher, in Kafka's binary or structured mode.

Source: CloudEvents 1.0.2, Kafka protocol binding §3 (content modes), JSON event format §3.1 (`data`, `data_base64`).
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import cast

from headrace.contracts import limits
from headrace.contracts.bodies import read_body
from headrace.contracts.cloudevents import Event, Headers, Location, read_event
from headrace.contracts.errors import ContractError

STRUCTURED = "application/cloudevents"


def read_cloud_event(
    headers: Headers, value: bytes | None, app: str, location: Location, timestamp_ms: int
) -> tuple[Event, object]:
    """The event and its data; raises ContractError. `app` is whose it is, whatever the headers say."""
    found = dict(headers)
    content = _content_type(found)
    if content.startswith(f"{STRUCTURED}-batch"):
        raise ContractError("batched", "CloudEvents in batches are not taken: one record is one event")
    if content.startswith(STRUCTURED):
        return _structured(found, content, value, app, location, timestamp_ms)
    kept = [(name, text) for name, text in headers if name.startswith("ce_") and name != "ce_app"]
    event = _event(kept, found, app, location, timestamp_ms)
    return event, None if value is None else _data(value, content)


def _structured(
    found: Mapping[str, bytes], content: str, value: bytes | None, app: str, location: Location, timestamp_ms: int
) -> tuple[Event, object]:
    if content != f"{STRUCTURED}+json":
        raise ContractError("unknown_format", f"content-type is {content[:64]!r}; {STRUCTURED}+json is known")
    parsed = read_body(value)
    if not isinstance(parsed, dict):
        raise ContractError("bad_shape", "CloudEvent: expected an object with specversion, id, source and type")
    told = cast("Mapping[str, object]", parsed)
    attributes = [
        (f"ce_{name}", text.encode(errors="replace"))
        for name, text in told.items()
        if isinstance(text, str) and name not in ("app", "data", "data_base64")
    ]
    event = _event(attributes, found, app, location, timestamp_ms)
    if "data_base64" not in told:
        return event, told.get("data")
    try:
        raw = b64decode(str(told["data_base64"]), validate=True)
    except ValueError:
        raise ContractError("bad_shape", "CloudEvent: data_base64: expected base64") from None
    return event, _data(raw, str(told.get("datacontenttype") or ""))


def _event(kept: Headers, found: Mapping[str, bytes], app: str, location: Location, timestamp_ms: int) -> Event:
    if "ce_specversion" not in dict(kept):
        raise ContractError("missing_attribute", "specversion is missing: this is no CloudEvent in a mode of Kafka's")
    trace = [("traceparent", found["traceparent"])] if "traceparent" in found else []
    # None of Headrace's own headers: whoever writes this topic does not say what led to what.
    return read_event([*kept, *trace, ("ce_app", app.encode())], location, timestamp_ms)


def _content_type(found: Mapping[str, bytes]) -> str:
    value = found.get("content-type", b"")[: limits.ATTRIBUTE]
    return value.decode(errors="replace").partition(";")[0].strip().lower()


def _data(value: bytes, content: str) -> object:
    """JSON where nothing is said; of other kinds the text, or base64."""
    kind = content.partition(";")[0].strip().lower()
    if kind in ("", "application/json", "text/json") or kind.endswith("+json"):
        return read_body(value)
    if len(value) > limits.EVENT_BODY:
        raise ContractError("over_limit", f"the event's body has {len(value)} bytes; {limits.EVENT_BODY} are accepted")
    if kind.startswith("text/"):
        return value.decode(errors="replace")
    return b64encode(value).decode()
