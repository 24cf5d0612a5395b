"""Every kind of trigger, from records on its topic to the run, on the running services."""

from typing import Any

import orjson
import pytest
from conftest import Installation, until

from headrace.contracts.reserved import ENDED, STARTED

pytestmark = pytest.mark.integration

APP = "shop"


def _automation(name: str, trigger: dict[str, Any], collect: str, **more: Any) -> dict[str, object]:
    return {"name": name, "app": APP, "trigger": trigger, "steps": [{"id": "out", "collect": collect}], **more}


def _headers(type: str, id: str) -> dict[str, str]:
    return {"ce_specversion": "1.0", "ce_source": "test", "ce_type": type, "ce_app": APP, "ce_id": id}


def _by_automation(installation: Installation) -> dict[str, Any]:
    return {run["automation"]: run for run in installation.runs(APP)}


def test_every_kind_of_trigger_fires_on_its_record_and_on_no_other(installation: Installation) -> None:
    installation.apply(
        _automation("hook", {"type": "webhook", "id": "orders", "when": "{{ body.n > 1 }}"}, "{{ trigger.body.n }}"),
        _automation("other-hook", {"type": "webhook", "id": "others"}, "never"),
        _automation("clock", {"type": "cron", "schedule": "*/5 * * * *"}, "{{ trigger.scheduled }}"),
        _automation(
            "by-hand",
            {"type": "manual"},
            "{{ trigger.fields }} {{ user.name }}",
            fields={"n": "number", "note": {"type": "text", "default": "none"}},
        ),
        _automation("after", {"type": "automation.finished", "automation": "billing"}, "{{ trigger.data.status }}"),
        _automation("upset", {"type": "automation.failed", "automation": "*"}, "{{ trigger.data.status }}"),
        _automation("all-events", {"type": "event", "event": "*"}, "{{ trigger.event.type }}"),
    )
    for n in (1, 2):
        request = {"method": "POST", "headers": {}, "query": {}, "body": {"n": n}}
        installation.produce("webhooks", orjson.dumps(request), _headers("webhook", f"hook-{n}"), b"shop/orders")
    tick = {"automation": "clock", "scheduled": "2013-01-01T00:05:00Z"}
    installation.produce("ticks", orjson.dumps(tick), _headers("tick", "tick-1"), b"shop/clock")
    start = {"automation": "by-hand", "fields": {"n": "7"}, "user": {"name": "ann"}}
    installation.produce("events", orjson.dumps(start), _headers(STARTED, "start-1"))
    for run, status in (("r-1", "success"), ("r-2", "error")):
        end = {"automation": "billing", "run_id": run, "status": status}
        installation.produce("events", orjson.dumps(end), _headers(ENDED, f"end-{run}"))
    runs = installation.runs(APP)
    found = sorted((run["automation"], run.get("collected")) for run in runs)
    assert found == [
        ("after", "error"),
        ("after", "success"),
        ("by-hand", '{"n":7,"note":"none"} ann'),
        ("clock", "2013-01-01T00:05:00.000000+00:00"),
        ("hook", 2),
        ("upset", "error"),
    ]
    assert installation.dead_letters() == []


def test_what_cannot_be_started_so_is_a_dead_letter_that_says_why(installation: Installation) -> None:
    installation.apply(_automation("by-hand", {"type": "manual"}, "x", fields={"n": "number"}))
    for id, fields in (("missing", {}), ("unknown", {"n": 1, "m": 2}), ("wrong", {"n": "many"})):
        installation.produce("events", orjson.dumps({"automation": "by-hand", "fields": fields}), _headers(STARTED, id))
    installation.produce("events", b"{}", _headers(STARTED, "nameless"))
    installation.produce("events", b"{}", _headers("headrace.unheard", "unheard"))
    installation.produce("webhooks", b"{}", _headers("webhook", "w"), b"elsewhere/x")
    installation.produce("ticks", b'{"automation": "a", "scheduled": "soon"}', _headers("tick", "t"))
    reasons = sorted((each["reason"]["type"], each["reason"]["message"]) for each in installation.dead_letters())
    assert [type for type, _ in reasons] == ["bad_fields"] * 3 + ["bad_shape"] * 3 + ["reserved_type"]
    told = " ".join(message for _, message in reasons)
    assert all(
        word in told for word in ("'n' is missing", "'m' is not known", "'n': expected a number", "tick: scheduled")
    )
    assert installation.runs(APP) == []


def test_a_called_automation_runs_once_and_both_runs_name_each_other(installation: Installation) -> None:
    call = {"id": "ask", "call": {"automation": "helper", "fields": {"n": "{{ trigger.data.n }}"}}}
    each = {"id": "each", "loop": {"over": "{{ [1, 2, 3] }}"}, "steps": [call]}
    installation.apply(
        {"name": "caller", "app": APP, "trigger": {"type": "event", "event": "go"}, "steps": [each]},
        _automation("helper", {"type": "manual"}, "{{ trigger.fields.n * 2 }}", fields={"n": "number"}),
    )
    with installation.publisher(APP) as publisher:
        for _ in range(2):
            publisher.event("go", {"n": 21}, id="once")
    until(lambda: len(installation.runs(APP)) == 4, "the caller and three calls")
    runs = installation.runs(APP)
    (caller,) = (run for run in runs if run["automation"] == "caller")
    helpers = {run["_id"]: run for run in runs if run["automation"] == "helper"}
    named = [child["outputs"]["run_id"] for child in caller["steps"][0]["children"]]
    assert sorted(named) == sorted(helpers)
    assert {run["collected"] for run in helpers.values()} == {42}
    assert {run["parent"]["run_id"] for run in helpers.values()} == {caller["_id"]}
    assert len({run["parent"]["step"] for run in helpers.values()}) == 3
