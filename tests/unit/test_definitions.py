"""What a matcher does with the records of the automations topic, whatever they are."""

from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from headrace.following import REFUSED
from headrace.matching import Index
from headrace.streams import Record
from services.trigger_matcher.definitions import Definitions

pytestmark = pytest.mark.unit

DOCUMENT: dict[str, Any] = {
    "name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": [{"id": "x", "collect": "1"}],
}  # fmt: skip


def live(revision: int = 1, **changes: Any) -> dict[str, Any]:
    document = {**DOCUMENT, **changes}
    return {"format": 1, "revision": revision, "version": 1, "state": "enabled", "document": document}


def record(value: bytes | None) -> Record:
    return Record("headrace.automations", 3, 42, 0, b"shop/a", value, [])


DEEP = b'{"format": 1, "document": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
REFUSED_VALUES = [
    ("not_json", b"hunter2"),
    ("bad_shape", orjson.dumps(live(trigger={"type": "hunter2"}))),
    ("bad_shape", orjson.dumps({**live(), "revision": "hunter2"})),
    ("bad_template", orjson.dumps(live(trigger={"type": "event", "event": "*", "when": "{{ 'hunter2' | hunter2 }}"}))),
    ("not_json", DEEP),
]


@pytest.mark.parametrize(("type", "value"), REFUSED_VALUES)
def test_an_automation_that_cannot_be_used_is_counted_and_logged_with_its_place_and_no_value(
    type: str, value: bytes
) -> None:
    index = Index()
    definitions = Definitions(index)
    definitions.apply(record(orjson.dumps(live())))
    counted = REFUSED._value.get()
    with capture_logs() as logs:
        definitions.apply(record(value))
    (line,) = logs
    assert (line["topic"], line["partition"], line["offset"]) == ("headrace.automations", 3, 42)
    assert (line["log_level"], line["type"], line["automation"]) == ("error", type, "shop/a")
    assert "hunter2" not in str(line)
    assert "http" not in line["reason"]
    assert REFUSED._value.get() == counted + 1
    assert len(index) == 1


def test_a_bug_in_one_automation_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index()
    definitions = Definitions(index)
    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr("services.trigger_matcher.definitions.compile_definition", lambda _: 1 / 0)
        definitions.apply(record(orjson.dumps(live())))
    assert logs[0]["type"] == "internal_error"
    definitions.apply(record(orjson.dumps(live())))
    assert len(index) == 1
