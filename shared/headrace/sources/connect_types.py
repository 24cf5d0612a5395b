"""Values of Kafka Connect's JSON with its schema part, made plain: decimals text, dates and times ISO 8601.

The schema part alone says what a number is (days, microseconds); without it values pass as they are. Sources: Debezium
3 documentation, "Data type mappings" (Temporal types, Decimal types); Kafka's org.apache.kafka.connect.data.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import cast

from headrace.sources.extended_json import time_text

Object = Mapping[str, object]


def plain_values(schema: object, value: object) -> object:
    """`value` with every value of a type in `_PLAIN` made text; what does not fit its schema stays as it is."""
    if not isinstance(schema, dict) or value is None:
        return value
    told = cast("Object", schema)
    kind = told.get("type")
    if (plain := _PLAIN.get(str(told.get("name")))) is not None:
        try:
            found = plain(value, told)
        except (ArithmeticError, TypeError, ValueError):
            return value
        return value if found is None else found
    if kind == "struct" and isinstance(value, dict):
        fields = _by_name(told.get("fields"))
        return {name: plain_values(fields.get(name), each) for name, each in cast("Object", value).items()}
    if kind == "array" and isinstance(value, list):
        return [plain_values(told.get("items"), each) for each in cast("list[object]", value)]
    if kind == "map" and isinstance(value, dict):
        return {name: plain_values(told.get("values"), each) for name, each in cast("Object", value).items()}
    return value


def _by_name(fields: object) -> Mapping[str, object]:
    if not isinstance(fields, list):
        return {}
    listed = [cast("Object", each) for each in cast("list[object]", fields) if isinstance(each, dict)]
    return {str(each.get("field")): each for each in listed}


def _unscaled(text: object, scale: int) -> str | None:
    if not isinstance(text, str) or len(text) > _MOST_DECIMAL or not -_MOST_SCALE <= scale <= _MOST_SCALE:
        return None
    number = int.from_bytes(b64decode(text, validate=True), "big", signed=True)
    sign, digits, _ = Decimal(number).as_tuple()
    return f"{Decimal((sign, digits, -scale)):f}"


_MOST_DECIMAL = 1_000
"""Characters of base64: hundreds of digits, where databases have 65 (MySQL) or are asked for a few (Postgres)."""
_MOST_SCALE = 1_000
"""Of Postgres; a scale of more would be a text without end."""


def _decimal(value: object, schema: Object) -> str | None:
    parameters = schema.get("parameters")
    scale = cast("Object", parameters).get("scale") if isinstance(parameters, dict) else None
    return None if scale is None else _unscaled(value, int(str(scale)))


def _decimal_with_scale(value: object, _schema: Object) -> str | None:
    if not isinstance(value, dict):
        return None
    found = cast("Object", value)
    return _unscaled(found.get("value"), int(str(found.get("scale"))))


def _date(value: object, _schema: Object) -> str | None:
    return None if not isinstance(value, int) else (date(1970, 1, 1) + timedelta(days=value)).isoformat()


def _time(per_second: int) -> Callable[[object, Object], str | None]:
    def text(value: object, _schema: Object) -> str | None:
        # A MySQL TIME may be negative or beyond a day: no time of day says that.
        if not isinstance(value, int) or not 0 <= value < 86_400 * per_second:
            return None
        found: time = (datetime(1970, 1, 1) + timedelta(microseconds=value * 1_000_000 // per_second)).time()  # noqa: DTZ001
        return found.isoformat()

    return text


def _timestamp(per_second: int) -> Callable[[object, Object], str | None]:
    return lambda value, _schema: time_text(value, per_second) if isinstance(value, int) else None


_PLAIN: Mapping[str, Callable[[object, Object], str | None]] = {
    "org.apache.kafka.connect.data.Decimal": _decimal,
    "io.debezium.data.VariableScaleDecimal": _decimal_with_scale,
    "io.debezium.time.Date": _date,
    "org.apache.kafka.connect.data.Date": _date,
    "io.debezium.time.Time": _time(1_000),
    "org.apache.kafka.connect.data.Time": _time(1_000),
    "io.debezium.time.MicroTime": _time(1_000_000),
    "io.debezium.time.NanoTime": _time(1_000_000_000),
    "io.debezium.time.Timestamp": _timestamp(1_000),
    "org.apache.kafka.connect.data.Timestamp": _timestamp(1_000),
    "io.debezium.time.MicroTimestamp": _timestamp(1_000_000),
    "io.debezium.time.NanoTimestamp": _timestamp(1_000_000_000),
}
"""By the schema's name. Text already: ZonedTimestamp, ZonedTime, Interval, Uuid, Json, Enum, IsoDate and its like."""
