"""What the matcher makes of a record, whatever the record is: jobs, or one dead letter that says why not."""

from typing import Any

import orjson
import pytest

from headrace.contracts import limits
from headrace.contracts.automation import LiveAutomation, awaited_types, parse_automation
from headrace.contracts.cloudevents import REPLAY_HEADER
from headrace.contracts.jobs import read_job
from headrace.contracts.replies import read_reply
from headrace.contracts.waits import Arrival, read_wait_record
from headrace.matching import Index, compile_definition
from headrace.service import DeadLetterWriter
from headrace.settings import load_settings
from headrace.streams import Outgoing, Record
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.events import RecordMatcher

pytestmark = pytest.mark.unit

SETTINGS = load_settings(prefix="headrace")
HEADERS = [
    ("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"hello"), ("ce_app", b"shop"),
]  # fmt: skip
HUGE = "1" * 30


def matcher(*awaits: str, state: Any = "enabled", rate: int | None = None) -> RecordMatcher:
    index = Index()
    triggers: dict[str, dict[str, Any]] = {
        "on-event": {"type": "event", "event": "*"},
        "on-row": {"type": "row.created", "table": "t"},
        "on-hook": {"type": "webhook", "id": "h", "respond": {}, "when": "{{ body == 'yes' }}"},
    }
    for name, trigger in triggers.items():
        steps = [{"id": "x", "use": "log", "with": {"text": "y"}}]
        document = parse_automation({"name": name, "app": "shop", "trigger": trigger, "steps": steps})
        live = LiveAutomation(format=1, revision=1, version=1, state=state, awaits=awaits, document=document)
        index.put(compile_definition(live))
    return RecordMatcher(index, SETTINGS, DeadLetterWriter("trigger_matcher", SETTINGS), AppRates(rate, float))


def record(topic: str, value: bytes, key: bytes | None = b"k") -> Record:
    return Record(f"headrace.{topic}", 0, 7, 0, key, value, HEADERS)


def event(data: str) -> Record:
    return record("events", data.encode())


def row(data: str) -> Record:
    return record("rows", f'{{"op": "c", "after": {{"a": {data}}}, "source": {{"table": "t"}}}}'.encode())


def made(*records: Record) -> list[Outgoing]:
    return [outgoing for outputs in matcher()(records) for outgoing in outputs]


def reason(outgoing: Outgoing) -> tuple[str, str]:
    assert outgoing.topic == "headrace.jobs.dlq"
    found = orjson.loads(outgoing.value or b"")["reason"]
    return found["type"], found["message"]


@pytest.mark.parametrize("topic", ["events", "rows"])
def test_a_key_that_no_topic_of_the_way_could_carry_is_a_dead_letter_with_a_short_key(topic: str) -> None:
    value = row("1").value or b""
    giant, fitting = record(topic, value, b"k" * 9_400_000), record(topic, value, b"k" * limits.ATTRIBUTE)
    letter, job = made(giant, fitting)
    assert reason(letter) == ("over_limit", f"the record's key has 9400000 bytes; {limits.ATTRIBUTE} are accepted")
    assert letter.key == b"k" * limits.ATTRIBUTE
    assert len(letter.value or b"") < 1 << 20
    assert job.topic == "headrace.jobs.normal"


@pytest.mark.parametrize("carry", [event, row])
@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", f"[{1 << 64}]", f"{-(1 << 63) - 1}", "9" * 5_000])
def test_a_number_beyond_64_bits_is_refused_alike_in_events_and_rows(carry: Any, number: str) -> None:
    (letter,) = made(carry(number))
    type, message = reason(letter)
    assert type == "not_representable"
    assert "64 bits" in message
    assert "1111" not in message


@pytest.mark.parametrize("carry", [event, row])
@pytest.mark.parametrize("value", [f"{(1 << 64) - 1}", f"{-(1 << 63)}", f'"{HUGE}"', f"0.{HUGE}", "1e30", "-0"])
def test_what_only_looks_like_such_a_number_makes_its_job(carry: Any, value: str) -> None:
    (job,) = made(carry(value))
    trigger = read_job(job.value).trigger
    kept = trigger["data"] if carry is event else trigger["row"]
    assert kept == (orjson.loads(value) if carry is event else {"a": orjson.loads(value)})


@pytest.mark.parametrize("carry", [event, row])
@pytest.mark.parametrize("depth", [199, 230, 900, 5_000])
def test_nesting_that_no_job_could_hold_is_refused_alike_in_events_and_rows(carry: Any, depth: int) -> None:
    (letter,) = made(carry("[" * depth + "]" * depth))
    assert reason(letter)[0] == "not_representable"
    assert "nested" in reason(letter)[1]


@pytest.mark.parametrize("carry", [event, row])
@pytest.mark.parametrize("data", ["[" * 180 + "]" * 180, "[" + "[]," * 500 + "[]]"])
def test_what_may_be_nested_can_be_read_by_the_orchestrator(carry: Any, data: str) -> None:
    (job,) = made(carry(data))
    assert read_job(job.value).trigger


def test_a_value_that_cannot_be_written_again_costs_its_record_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.contracts.bodies.refuse_deep", lambda *_: None)
    first, second = made(event("[" * 900 + "]" * 900), event("{}"))
    assert reason(first)[0] == "not_representable"
    assert second.topic == "headrace.jobs.normal"


@pytest.mark.parametrize("state", ["enabled", "disabled"])
def test_an_event_of_a_type_that_runs_wait_for_is_told_to_them_beside_its_jobs(state: str) -> None:
    (outputs,) = matcher("paid", "hello", state=state)([event('{"n": [1.0, null]}')])
    *jobs, told = outputs
    assert [each.topic for each in jobs] == (["headrace.jobs.normal"] if state == "enabled" else [])
    assert (told.topic, told.key) == ("headrace.waits", b"shop/hello/k")
    arrival = read_wait_record(told.value)
    assert isinstance(arrival, Arrival)
    assert (arrival.event.id, arrival.event.source, arrival.event.type) == ("1", "s", "hello")
    assert arrival.data == {"n": [1.0, None]}


def test_nobody_is_told_of_other_types_nor_of_what_has_no_key_or_is_no_event() -> None:
    waited_for = matcher("hello", "row.created")
    nameless = [record("events", b"{}", key=key) for key in (None, b"")]
    others = [*nameless, record("events", b"{nonsense"), row("1")]
    topics = [each.topic for outputs in (*waited_for(others), *matcher("other")([event("{}")])) for each in outputs]
    assert "headrace.waits" not in topics


def test_types_are_forgotten_with_the_last_automation_that_waits_for_them() -> None:
    index = Index()
    for name in ("a", "b"):
        wait = {"id": "w", "wait_for_event": {"type": "paid", "key": "k", "timeout": "1d"}}
        steps = [{"id": "p", "parallel": [{"name": "x", "steps": [wait]}]}]
        document = parse_automation({"name": name, "app": "shop", "trigger": {"type": "manual"}, "steps": steps})
        awaits = tuple(awaited_types(document))
        assert awaits == ("paid",)
        live = LiveAutomation(format=1, revision=1, version=1, state="enabled", awaits=awaits, document=document)
        index.put(compile_definition(live))
    index.remove("shop/a")
    assert index.is_awaited("shop", "paid")
    assert not index.is_awaited("other", "paid")
    index.remove("shop/b")
    assert not index.is_awaited("shop", "paid")


def test_jobs_of_an_app_over_its_rate_go_to_low_whole_and_say_so() -> None:
    found = matcher(rate=2)([event("1"), event("2"), event("3"), event("4")])
    topics = [outgoing.topic.removeprefix("headrace.jobs.") for outputs in found for outgoing in outputs]
    assert topics == ["normal", "normal", "low", "low"]
    jobs = [read_job(outgoing.value) for outputs in found for outgoing in outputs]
    assert [job.priority for job in jobs] == topics


@pytest.mark.parametrize("replay", [False, True])
def test_the_caller_of_a_webhook_is_told_where_there_is_no_run_and_a_replay_has_no_caller(replay: bool) -> None:
    headers = [*HEADERS, (REPLAY_HEADER, b"again")] if replay else HEADERS
    yes, no = (
        record("webhooks", orjson.dumps({"method": "POST", "body": body}), b"shop/h")._replace(headers=headers)
        for body in ("yes", "no")
    )
    made = matcher()([yes, no])
    assert [[each.topic for each in outputs] for outputs in made] == [
        ["headrace.jobs.normal"],
        [] if replay else ["headrace.replies"],
    ]
    job = read_job(made[0][0].value)
    assert job.reply is not replay
    if not replay:
        (told,) = made[1]
        assert (told.key, read_reply(told.value).status) == (job.run_id.encode(), "not_started")
