"""A dead letter: what could not be processed, where it came from and why."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime

import orjson

from headrace.contracts import limits
from headrace.contracts.cloudevents import Headers, Location

DEAD_LETTER_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that a service could not process: its bytes as they were read."""

    location: Location
    key: bytes | None
    value: bytes | None
    headers: Headers


def dead_letter(service: str, refused: Refused, type: str, message: str, at: datetime) -> bytes:
    """The dead-letter record's value: a pointer to the record, the reason, and the first 64 KB of its bytes.

    Bytes are base64, because no one could read them. The whole record stays at the pointer until its topic's retention.
    """
    value, key = refused.value or b"", cut_key(refused.key)
    kept = value[: limits.STORED_VALUE]
    return orjson.dumps(
        {
            "format": DEAD_LETTER_FORMAT,
            "service": service,
            "reason": {"type": type, "message": message[:_MAX_MESSAGE]},
            "source": refused.location._asdict(),
            "at": at,
            "key": None if key is None else b64encode(key).decode(),
            "headers": [
                [name[: limits.ATTRIBUTE], b64encode(content[: limits.ATTRIBUTE]).decode()]
                for name, content in list(refused.headers)[:_MAX_HEADERS]
            ],
            "value": None if refused.value is None else b64encode(kept).decode(),
            "size": len(value),
            "truncated": len(value) > len(kept),
        },
        option=orjson.OPT_UTC_Z,
    )


def cut_key(key: bytes | None) -> bytes | None:
    """The key of a dead letter in Kafka: the record's own, of one that is too long its beginning."""
    return None if key is None else key[: limits.ATTRIBUTE]


_MAX_MESSAGE = 2_000
"""Characters of a reason: it may name fields of the record, and their names are as long as the record made them."""

_MAX_HEADERS = 64
"""Headers kept with a dead letter: with the limit on each, the letter stays far below the broker's record limit."""
