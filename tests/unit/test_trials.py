"""Test runs on this machine: the real matcher and engine, nothing outside touched, said so where it would be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
import yaml
from typer.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.cli.output import UsageError
from headrace.contracts.automation import Automation, DocumentError, parse_automation
from headrace.documents import check
from headrace.engine.stub_answers import StubError
from headrace.settings import SettingsError
from headrace.trials import BadTrialEvent, NotFired, Trial, Tried, try_automation, try_case

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, 12, tzinfo=UTC)
CALL = {"id": "page", "use": "http.request", "with": {"url": "https://example.org/", "headers": {"X-Token": "s3cret"}}}
LOG = {"id": "after", "use": "log", "with": {"text": "{{ steps.page.status }}"}}
EVENT = {"type": "event", "event": "order.placed"}


def automation(*steps: dict[str, Any], **more: Any) -> Automation:
    document = parse_automation({"name": "a", "app": "shop", "trigger": EVENT, "steps": list(steps), **more})
    check(document)
    return document


def tried(document: Automation, event: object = None, **more: Any) -> Tried:
    found = try_automation(document, Trial({} if event is None else event, **more), AT)
    assert isinstance(found, Tried)
    return found


def step(found: Tried, id: str) -> Any:
    return next(each for each in found.record["steps"] if each["id"] == id)


def test_an_outside_call_without_a_stub_is_refused_and_the_way_out_is_named() -> None:
    found = tried(automation(CALL, LOG))
    assert step(found, "page")["error"] == {
        "type": "not_allowed",
        "message": "not allowed in a test run; give --stub page=JSON or --allow-effects",
        "retryable": False,
    }
    assert (found.record["status"], step(found, "after")["status"]) == ("error", "success")


def test_a_test_case_is_told_of_the_way_out_that_it_has() -> None:
    document = automation(CALL, {**WAITS[0], "id": "wait"}, tests=[{"name": "c", "expect": {"status": "success"}}])
    found = try_case(document, document.tests[0])
    assert isinstance(found.tried, Tried)
    messages = [step(found.tried, id)["error"]["message"] for id in ("page", "wait")]
    assert messages == [
        "not allowed in a test run; give the case stubs: {page: …}",
        "a test run waits for nobody; give it a stub (stubs: {wait: …})",
    ]


def test_a_stub_gives_the_outputs_and_its_inputs_are_rendered_checked_and_masked() -> None:
    found = tried(automation(CALL, LOG), stubs={"page": {"status": 200}})
    assert step(found, "after")["inputs"] == {"text": 200}
    assert step(found, "page")["inputs"]["url"] == "https://example.org/"
    assert "s3cret" not in str(found.record)
    bad = automation({**CALL, "with": {"url": "{{ trigger.data.url }}"}})
    found = tried(bad, {"data": {"url": "no url"}}, stubs={"page": {"status": 200}})
    assert found.record["error"] is not None
    assert found.record["error"]["type"] == "bad_input"


@pytest.mark.parametrize(("retryable", "status"), [(True, "dead_lettered"), (False, "error")])
def test_a_stubbed_error_ends_the_run_as_the_real_one_would(retryable: bool, status: str) -> None:
    error = {"type": "http_status", "message": "it was 503", "retryable": retryable}
    found = tried(automation(CALL), stubs={"page": {"error": error}})
    assert step(found, "page")["error"] == error
    assert found.record["status"] == status


def test_a_list_of_stubs_is_one_for_each_iteration_and_the_last_repeats() -> None:
    loop = {"id": "each", "loop": {"over": [1, 2, 3, 4]}, "steps": [CALL]}
    found = tried(automation(loop), stubs={"page": [{"status": 200}, {"error": {"type": "x"}}, {"status": 202}]})
    children = step(found, "each")["children"]
    assert [child["outputs"].get("status") for child in children] == [200, None, 202, 202]


@pytest.mark.parametrize(
    ("stubs", "told"),
    [
        ({"pge": {}}, "stub 'pge': no step has this id; did you mean `page`?"),
        ({"zzz": {}}, "stubs can be given for page, after, wait, call, pause"),
        ({"way": {}}, "a step of kind `branch` decides where the run goes"),
        ({"page": 200}, "expected an object of outputs"),
        ({"page": []}, "expected an object of outputs"),
        ({"page": {"error": "boom"}}, "its error is an object of type, message and retryable"),
        ({"page": {"error": {"tpye": "x"}}}, "an error has type, message and retryable, not tpye"),
        ({"page": {"error": None}}, "its error is an object of type, message and retryable"),
        ({"page": {"sttaus": 200}}, "`http.request` has no output 'sttaus'; did you mean `status`?"),
        ({"page": {"error": {}, "rows": []}}, "has no output 'rows'; its outputs are data, headers, status, truncated"),
        ({"page": [{"status": 200}, {"status": 500}]}, "the step is in none; give one object"),
        ({"page": {"success": False}}, "`success` can only be true"),
        ({"wait": {"status": "success"}}, "`wait_for_event` has no output 'status'; its outputs are data, event"),
        ({"call": {"status": "success"}}, "`call` has no output 'status'; its outputs are automation, run_id"),
        ({"pause": {"til": "x"}}, "`delay` has no output 'til'; did you mean `until`?"),
    ],
)
def test_a_stub_that_cannot_be_meant_is_refused_even_where_the_event_does_not_fire(stubs: Any, told: str) -> None:
    way = {"id": "way", "branch": [{"name": "all", "else": True, "steps": [LOG]}]}
    others = [
        {**WAITS[0], "id": "wait"},
        {"id": "call", "call": {"automation": "b"}},
        {"id": "pause", "delay": {"for": 1}},
    ]
    with pytest.raises(StubError) as error:
        try_automation(automation(CALL, way, *others), Trial({"type": "other"}, stubs), AT)
    assert told in str(error.value)


def test_a_delay_passes_at_once_and_the_clock_is_then_as_far_ahead() -> None:
    pauses = [{"id": f"p{n}", "delay": {"for": "2d"}} for n in range(2)]
    found = tried(automation(*pauses, LOG))
    begin = datetime.fromisoformat(step(found, "p0")["started_at"])
    end = datetime.fromisoformat(step(found, "after")["started_at"])
    assert timedelta(days=4) <= end - begin < timedelta(days=4, seconds=60)
    assert datetime.fromisoformat(step(found, "p1")["outputs"]["until"]) - AT >= timedelta(days=4)


SEES = {"use": "log", "with": {"text": "{{ now }}"}}


def seen(found: Tried) -> dict[str, timedelta]:
    """How long after the event each `now` was, to the minute: the clock also goes while a test runs."""
    texts = {each["id"]: each["outputs"]["text"] for each in leaves(found.record["steps"]) if each["use"] == "log"}
    return {id: round((datetime.fromisoformat(text) - AT) / MINUTE) * MINUTE for id, text in texts.items()}


MINUTE = timedelta(minutes=1)


def leaves(steps: Any) -> Any:
    return [leaf for each in steps for leaf in (leaves(each["children"]) if "children" in each else [each])]


def test_now_is_the_time_at_which_a_delay_that_parks_the_real_run_was_over() -> None:
    long, short = {"delay": {"for": "10m"}}, {"delay": {"for": "5s"}}
    found = tried(
        automation({"id": "p1", **long}, {"id": "a", **SEES}, {"id": "p2", **short}, {"id": "b", **SEES},
                   {"id": "p3", **long, "timeout": "1m"}, {"id": "c", **SEES})
    )  # fmt: skip
    assert seen(found) == {"a": 10 * MINUTE, "b": 10 * MINUTE, "c": 11 * MINUTE}
    assert (step(found, "p3")["status"], step(found, "p3")["error"]["type"]) == ("timed_out", "timeout")
    # A short one holds its worker: `now` is then exactly what it was.
    assert step(found, "a")["outputs"] == step(found, "b")["outputs"]


def test_delays_of_lists_at_once_pass_side_by_side() -> None:
    def waiting(name: str, *minutes: int) -> dict[str, Any]:
        pauses = [{"id": f"{name}{n}", "delay": {"for": f"{each}m"}} for n, each in enumerate(minutes)]
        return {"name": name, "steps": [*pauses, {"id": name, **SEES}]}

    both = {"id": "both", "parallel": [waiting("long", 10, 20), waiting("short", 10)]}
    last = {"id": "last", "delay": {"for": "1m"}}
    found = tried(automation(both, {"id": "behind", **SEES}, last, {"id": "end", **SEES}))
    assert seen(found) == {"long": 30 * MINUTE, "short": 10 * MINUTE, "behind": 30 * MINUTE, "end": 31 * MINUTE}


def test_a_stubbed_delay_moves_now_and_so_does_one_in_a_list_beside_another_once_both_are_joined() -> None:
    pause = {"id": "pause", "delay": {"until": "{{ now | add_time(hours=1) }}"}}
    lists = [{"name": "one", "steps": [pause, {"id": "inside", **SEES}]},
             {"name": "two", "steps": [{"id": "beside", **SEES}]}]  # fmt: skip
    found = tried(automation({"id": "both", "parallel": lists}, {"id": "behind", **SEES}), stubs={"pause": {}})
    assert seen(found) == {"inside": 60 * MINUTE, "beside": 0 * MINUTE, "behind": 60 * MINUTE}


def test_a_delay_that_ends_beyond_the_clock_of_test_runs_fails_in_words() -> None:
    pauses = [{"id": f"p{n}", "delay": {"for": "30d"}} for n in range(3)]
    found = tried(automation(*pauses, LOG), {"time": "8999-11-15T00:00:00Z"})
    assert [each["status"] for each in found.record["steps"]] == ["success", "error", "error", "success"]
    assert step(found, "p1")["error"]["message"] == (
        "delay: it ends in the year 9000; a test run's clock goes up to 9000"
    )
    far = tried(automation({"id": "far", "delay": {"until": "9999-12-31"}}, pauses[0]))
    assert step(far, "far")["error"]["message"].startswith("delay.until: more than 366 days ahead")


def test_a_delay_may_be_until_a_year_ahead_or_a_time_that_is_long_past() -> None:
    year = {"id": "year", "delay": {"until": "{{ now | add_time(days=365) }}"}}
    past = {"id": "past", "delay": {"until": "0001-01-01T00:00:00+05:00"}}
    assert tried(automation(year, past, LOG)).record["status"] == "success"


WAITS = [
    {"id": "page", "wait_for_event": {"type": "paid", "key": "{{ run.id }}", "timeout": "1d"}},
    {"id": "page", "call": {"automation": "other", "wait": True}},
]


@pytest.mark.parametrize("waiting", WAITS, ids=["event", "call"])
def test_whoever_waits_for_others_needs_a_stub_even_if_effects_are_allowed(waiting: dict[str, Any]) -> None:
    found = tried(automation(waiting), allow_effects=True)
    assert step(found, "page")["error"]["message"] == "a test run waits for nobody; give it a stub (--stub page=JSON)"
    output = "status" if "call" in waiting else "data"
    sees = {"id": "after", "use": "log", "with": {"text": f"{{{{ steps.page.{output} }}}}"}}
    assert step(tried(automation(waiting, sees), stubs={"page": {output: 7}}), "after")["inputs"] == {"text": 7}


def test_a_stubbed_failure_has_the_outputs_that_are_given_beside_it() -> None:
    error = {"type": "http_status", "message": "it was 404"}
    found = tried(automation(CALL, LOG), stubs={"page": {"error": error, "status": 404}})
    assert step(found, "after")["inputs"] == {"text": 404}
    assert step(found, "page")["outputs"]["success"] is False


def test_rows_are_kept_once_per_id_and_events_are_only_listed() -> None:
    rows = [{"id": f"r{n}", "use": "row.create", "with": {"table": "t", "id": "1", "row": {"n": n}}} for n in range(2)]
    told = {"id": "tell", "use": "event.publish", "with": {"type": "done", "data": {"n": 1}}}
    call = {"id": "call", "call": {"automation": "other"}}
    found = tried(automation(*rows, told, call))
    assert [(row.table, row.id, row.row) for row in found.rows] == [("t", "1", {"_id": "1", "n": 0})]
    assert step(found, "r1")["error"]["type"] == "row_exists"
    types = [dict(each.headers)["ce_type"] for each in found.published]
    assert types == [b"done", b"headrace.called"]


ROW = {"type": "row.updated", "table": "orders", "when": "{{ row.total > 10 }}", "only_if_changed": ["total"]}
FIRED = [
    (ROW, {"row": {"total": 20}, "old_row": {"total": 1}}, {"row": {"total": 20}, "changed": ["total"]}),
    (ROW, {"op": "u", "before": {"total": 1}, "after": {"id": 7, "total": 20}}, {"id": "7", "old_row": {"total": 1}}),
    ({"type": "row.deleted", "table": "orders"}, {"row": {"a": 1}, "id": "9"}, {"row": {"a": 1}, "id": "9"}),
    (EVENT, {"data": {"a": 1}}, {"data": {"a": 1}}),
    ({"type": "event", "event": "order.*"}, {"type": "order.x", "id": "5"}, {"type": "event"}),
    ({"type": "webhook", "id": "w"}, {"body": [1], "headers": {"X-A": "b"}}, {"headers": {"x-a": "b"}, "body": [1]}),
    ({"type": "cron", "schedule": "0 6 * * *"}, None, {"scheduled": "2013-01-01T12:00:00.000000+00:00"}),
    ({"type": "automation.failed", "automation": "other"}, None, {"type": "automation.failed"}),
    ({"type": "automation.finished", "automation": "*"}, {"status": "stopped"}, {"type": "automation.finished"}),
]


@pytest.mark.parametrize(("trigger", "event", "seen"), FIRED, ids=[str(each[0]["type"]) for each in FIRED])
def test_an_event_in_the_form_of_the_trigger_goes_through_the_matcher(trigger: Any, event: Any, seen: Any) -> None:
    found = tried(automation(LOG, trigger=trigger), event)
    job = found.started.job
    assert {name: job.trigger[name] for name in seen} == seen
    assert found.record["run_id"] == job.run_id


def test_fields_of_a_manual_start_are_cleaned_and_the_ordering_key_is_the_authors() -> None:
    document = automation(LOG, trigger={"type": "manual"}, fields={"n": "number"}, ordering_key="{{ fields.n }}")
    job = tried(document, {"fields": {"n": "12"}}).started.job
    assert (job.trigger["fields"], job.key) == ({"n": 12}, "12")


def test_a_default_is_cleaned_as_what_is_given_is() -> None:
    fields: dict[str, Any] = {
        "n": {"type": "number", "default": "12"},
        "at": {"type": "time", "default": "2026-01-31"},
        "list": {"type": "array", "default": []},
        "none": {"type": "number", "required": False},
    }
    job = tried(automation(LOG, trigger={"type": "manual"}, fields=fields), {}).started.job
    assert job.trigger["fields"] == {"n": 12, "at": "2026-01-31T00:00:00+00:00", "list": [], "none": None}


NOT = [
    (ROW, {"row": {"total": 5}, "old_row": {"total": 1}}, "trigger.when is false"),
    (ROW, {"row": {"total": 20, "a": 2}, "old_row": {"total": 20}}, "none of total has changed (changed: a)"),
    (ROW, {"op": "c", "after": {}}, "a row.created of table orders; the trigger listens to row.updated of orders"),
    (EVENT, {"type": "order.paid"}, "type is order.paid; the trigger listens to order.placed"),
    ({"type": "automation.failed", "automation": "b"}, {"status": "success"}, "ended success"),
    ({"type": "automation.failed", "automation": "b"}, {"automation": "c"}, "one of c; the trigger listens to b"),
    ({"type": "automation.failed", "automation": "*"}, {"automation": "a"}, "not told of its own end"),
    ({**EVENT, "when": "{{ data.n / 0 }}"}, {"data": {"n": 1}}, "template_error"),
    ({"type": "manual"}, {"fields": {"x": 1}}, "field 'x' is not known"),
]


@pytest.mark.parametrize(("trigger", "event", "told"), NOT)
def test_where_there_is_no_run_the_reason_is_told(trigger: Any, event: Any, told: str) -> None:
    found = try_automation(automation(LOG, trigger=trigger), Trial(event), AT)
    assert isinstance(found, NotFired)
    assert told in found.reason


BAD = [
    (EVENT, {"daat": 1}, "has no 'daat'; did you mean `data`?"),
    (EVENT, {"type": "headrace.called"}, "Headrace's own"),
    ({"type": "event", "event": "a.*"}, {}, "needs a `type`"),
    (ROW, {"old_row": {}}, "has a `row`"),
    (ROW, {"row": 1}, "after"),
    (EVENT, [1], "the event is an object"),
    (EVENT, {"time": "soon"}, "no time"),
    *((EVENT, {"time": time}, "not between the years 1970 and 9000")
      for time in ("0001-01-01T00:00:00+05:00", "1969-12-31T23:59:59Z", "9000-01-01T00:00:00Z",
                   "9999-12-31T23:59:59-05:00")),
]  # fmt: skip


@pytest.mark.parametrize(("trigger", "event", "told"), BAD)
def test_an_event_of_another_form_is_refused_in_words(trigger: Any, event: Any, told: str) -> None:
    with pytest.raises(BadTrialEvent) as error:
        try_automation(automation(LOG, trigger=trigger), Trial(event), AT)
    assert told in str(error.value)


NESTED = {
    "id": "outer", "loop": {"over": [1, 2], "max": 8},
    "steps": [{"id": "inner", "loop": {"over": "{{ [item * 10, item * 10 + 1] }}"},
               "steps": [{"id": "leg", "use": "log", "with": {"text": "{{ item }}"}}]}],
}  # fmt: skip
WAY = {"id": "way", "branch": [{"name": "left", "when": "{{ trigger.data.left }}", "steps": [CALL]},
                               {"name": "right", "else": True, "steps": [LOG]}]}  # fmt: skip
OUT = {"id": "out", "collect": {"n": 1, "list": [1, 2]}}
EXPECTED = [
    {"fires": True},
    {"status": "success"},
    {"error": None},
    {"steps": {"after": {}, "way": {"error": None}, "leg[7.7]": None}},
    {"steps": {"way": {"branch": "right"}, "after": {"status": "success"}, "page": None}},
    {
        "steps": {
            "leg": {"status": "success"},
            "leg[1.0]": {"outputs": {"text": "20"}},
            "inner[1]": {"status": "success"},
        }
    },
    {"collected": {"n": 1, "list": [1, 2]}},
]
UNEXPECTED = [
    ({"status": "error"}, ["status: expected error, found success"]),
    ({"error": "http_status"}, ["error: expected http_status, found no error"]),
    *(({"steps": {f"{id}[{at}]": None}},
       [f"steps.{id}[{at}]: expected the number of an iteration for each loop, found {told}"])
      for id, at, told in (
          ("after", "0", "1 given, where 0 loops are around the step"),
          ("outer", "0", "1 given, where 0 loops are around the step"),
          ("leg", "0", "1 given, where 2 loops are around the step"),
          ("inner", "0.0", "2 given, where 1 loops are around the step"),
          ("leg", "0.200", "200, where the loop does at most 200 items, from 0 to 199"),
          ("leg", "8.0", "8, where the loop does at most 8 items, from 0 to 7"),
      )),
    ({"steps": {"wya": {}}},
     ["steps.wya: expected a step's id, such as leg or leg[2], found no step of this id; did you mean way?"]),
    ({"steps": {"leg[0.01]": None}},
     ["steps.leg[0.01]: expected a step's id, such as leg or leg[2], found no step of this id; did you mean leg?"]),
    ({"steps": {"after": None}}, ["steps.after: expected not to be done, found done: success"]),
    ({"steps": {"page": {"status": "success"}}},
     ['steps.page: expected {"status":"success"}, found not done']),
    ({"steps": {"way": {"branch": "left"}}}, ['steps.way.branch: expected "left", found "right"']),
    ({"steps": {"leg": {"outputs": {"text": "10"}}}},
     [f'steps.leg[{at}].outputs.text: expected "10", found "{n}"'
      for at, n in (("0.1", 11), ("1.0", 20), ("1.1", 21))]),
    ({"collected": {"n": True, "list": [1]}},
     ["collected.n: expected true, found 1", "collected.list (length): expected 1, found 2: [1,2]"]),
    ({"collected": {"n": 1}}, ["collected.list: expected nothing, found [1,2]"]),
    ({"collected": None}, ['collected: expected null, found {"n":1,"list":[1,2]}']),
    ({"fires": False}, ["the trigger: expected no run, found one that ended success"]),
]  # fmt: skip


def differences(expect: Any, event: Any = None, **more: Any) -> list[str]:
    case = {"name": "c", "event": {} if event is None else event, "expect": expect, **more}
    document = automation(WAY, NESTED, OUT, tests=[case])
    return [str(each) for each in try_case(document, document.tests[0]).differences]


@pytest.mark.parametrize("expect", EXPECTED)
def test_what_comes_as_expected_makes_no_difference(expect: Any) -> None:
    assert differences(expect) == []


@pytest.mark.parametrize(("expect", "told"), UNEXPECTED)
def test_each_thing_that_is_not_as_expected_is_told_with_both_sides(expect: Any, told: list[str]) -> None:
    assert differences(expect) == told


@pytest.mark.parametrize("keep", [{}, {"keep": 0}, {"keep": 2}])
def test_a_case_sees_every_iteration_whatever_the_record_would_keep(keep: dict[str, int]) -> None:
    loop = {"id": "each", "loop": {"over": "{{ range(30) }}", **keep}, "steps": [SEES | {"id": "leg"}]}
    inside = {"name": "all", "else": True, "steps": [{"id": "outer", "loop": {"over": [1, 2]}, "steps": [loop]}]}
    cases = [{"name": "c", "expect": {"steps": {name: {"outputs": {"text": "x"}}}}} for name in ("leg", "leg[0.0]")]
    document = automation({"id": "way", "branch": [inside]}, tests=cases)
    found = [try_case(document, case).differences for case in document.tests]
    assert [len(each) for each in found] == [60, 1]
    assert found[0][0].what == "steps.leg[0.0].outputs.text"


def test_a_case_compares_large_values_whole_and_a_record_of_any_size() -> None:
    large = "{{ 'ab' * 40_000 }}"
    line = {"id": "line", "use": "log", "with": {"text": large + "{{ item }}"}}
    loop = {"id": "each", "loop": {"over": "{{ range(20) }}"}, "steps": [line]}
    steps = {f"line[{at}]": {"inputs": {"text": f"{'ab' * 40_000}{number}"}} for at, number in ((19, 19), (3, 4))}
    case = {"name": "c", "expect": {"status": "success", "collected": "ab" * 40_000, "steps": steps}}
    document = automation(loop, {"id": "answer", "collect": large}, tests=[case])
    (difference,) = try_case(document, document.tests[0]).differences
    assert difference.what == "steps.line[3].inputs.text"


def test_a_case_may_expect_that_the_event_makes_no_run_but_not_that_a_template_fails() -> None:
    assert differences({"fires": False}, {"type": "other"}) == []
    assert "none: the event's type is other" in differences({"status": "success"}, {"type": "other"})[0]
    broken = automation(
        LOG, trigger={**EVENT, "when": "{{ 1 / 0 }}"}, tests=[{"name": "c", "expect": {"fires": False}}]
    )
    (difference,) = try_case(broken, broken.tests[0]).differences
    assert str(difference).startswith("the trigger: expected that it does not fire, found that nobody can say: ")


def test_a_case_that_expects_no_error_fails_with_the_run_s_first() -> None:
    case = {"name": "c", "event": {"data": {"left": True}}, "expect": {"error": None}}
    document = automation(WAY, tests=[case])
    assert [str(each) for each in try_case(document, document.tests[0]).differences] == [
        "error: expected no error, found not_allowed"
    ]


POINTLESS = [
    ({}, "tests.0: nothing is expected, so the case always passes"),
    ({"expect": {}}, "tests.0.expect: nothing is expected, so the case always passes"),
    ({"expect": {"steps": {}}}, "tests.0.expect: nothing is expected, so the case always passes"),
    ({"expect": {"status": None}}, "tests.0.expect.status: every run ends with a status"),
    ({"expect": {"fires": False, "status": "success", "error": None}},
     "tests.0.expect: without a run (`fires: false`) there is no status and no error"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "told"), POINTLESS)
def test_a_case_that_cannot_fail_or_cannot_pass_is_refused_when_the_file_is_read(case: Any, told: str) -> None:
    with pytest.raises(DocumentError) as error:
        automation(LOG, tests=[{"name": "c", **case}])
    assert str(error.value).startswith(told)


def test_what_was_saved_with_a_case_that_cannot_fail_stays_readable() -> None:
    saved = automation(LOG, tests=[{"name": "c", "expect": {"fires": True}}]).model_dump(mode="json", by_alias=True)
    saved["tests"][0]["expect"] = {}
    assert Automation.model_validate(saved).tests[0].expect.status is None


def test_a_case_that_cannot_be_tried_fails_in_words() -> None:
    assert "did you mean `page`?" in differences({"fires": True}, stubs={"pgae": {}})[0]
    assert "did you mean `data`?" in differences({"fires": True}, {"dta": 1})[0]


def headrace(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def written(directory: Path, *steps: dict[str, Any], name: str = "a", **more: Any) -> str:
    file = directory / f"{name}.yaml"
    file.write_text(
        yaml.safe_dump({"name": name, "app": "shop", "trigger": EVENT, "steps": list(steps), **more}, sort_keys=False)
    )
    return str(file)


def test_run_prints_a_timeline_and_ends_with_what_became_of_the_run(tmp_path: Path) -> None:
    file = written(tmp_path, WAY, NESTED, OUT)
    done = headrace("run", file, "--event", '{"data": {"left": true}}', "--stub", 'page={"status": 201}')
    assert done.exit_code == 0, done.output
    lines = [line.partition(" ms")[0].rpartition(", ")[0] or line for line in done.stdout.splitlines()]
    assert "  1 way (branch): success" in lines
    assert "    2 page (http.request): success" in lines
    assert "          6 leg (log): success" in lines
    assert sum(line.strip().startswith("item") for line in lines) == 6
    assert 'collected: {"n":1,"list":[1,2]}' in done.stdout
    refused = headrace("run", file, "--event", "-", stdin='{"data": {"left": true}}')
    assert refused.exit_code == 1
    assert "error not_allowed: not allowed in a test run" in refused.stdout


def test_run_as_json_is_the_run_record_and_the_rest(tmp_path: Path) -> None:
    file = written(tmp_path, LOG)
    event = tmp_path / "event.json"
    event.write_text('{"data": 1, "time": "2013-01-01T00:00:00Z"}')
    found = orjson.loads(headrace("run", file, "--event", str(event), "--json").stdout)
    assert (found["fired"], found["record"]["status"], found["published"], found["rows"]) == (True, "success", [], [])
    again = orjson.loads(headrace("run", file, "--event", str(event), "--json").stdout)
    assert again["record"]["run_id"] == found["record"]["run_id"]
    other = orjson.loads(headrace("run", file, "--event", '{"type": "x"}', "--json").stdout)
    assert (other["fired"], "order.placed" in other["reason"]) == (False, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "it is empty"),
        ("nowhere.json", "--event nowhere.json: no such file"),
        ("x" * 300, f"--event {'x' * 100}…: no file that can be read"),
        (".", "--event .: a directory"),
        ("latin1.json", "--event latin1.json: not UTF-8 (byte 10)"),
        ("[1", "--event: not JSON"),
        ('{"data": {"a": 1, "b": 2, "\\u0061": 3}}', "--event: the name 'a' is in one object twice"),
        (f'{{"data": {"[" * 1000}{"]" * 1000}}}', "--event: its arrays and objects are nested too deeply"),
        ('{"time": "0001-01-01T00:00:00+05:00"}', "not between the years 1970 and 9000"),
    ],
)
def test_what_is_no_event_is_wrong_usage_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1.json").write_bytes(b'{"data": "\xfc"}')
    done = headrace("run", written(tmp_path, LOG), "--event", given)
    assert isinstance(done.exception, UsageError), done.output
    assert told in str(done.exception)


def test_an_event_on_standard_input_that_is_not_utf_8_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ("run", written(tmp_path, LOG), "--event", "-"), input=b'{"data": "\xfc"}')
    assert "--event -: not UTF-8" in str(done.exception)


@pytest.mark.parametrize(
    ("stubs", "told"),
    [
        (("page",), "expected step=JSON"),
        (("page={",), "--stub page: not JSON"),
        (('page={"status": 200}', 'page={"status": 500}'), "--stub page is given twice"),
        (('page={"status": 200, "status": 500}',), "--stub page: the name 'status' is in one object twice"),
    ],
)
def test_stubs_of_which_one_would_be_lost_are_wrong_usage(tmp_path: Path, stubs: tuple[str, ...], told: str) -> None:
    options = [part for stub in stubs for part in ("--stub", stub)]
    done = headrace("run", written(tmp_path, CALL), "--event", "{}", *options)
    assert isinstance(done.exception, UsageError), done.output
    assert told in str(done.exception)


def test_a_bad_time_fails_its_case_and_the_others_are_tried(tmp_path: Path) -> None:
    cases = [
        {"name": str(number), "event": {"time": time}, "expect": {"status": "success"}}
        for number, time in enumerate(["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00", "2013-01-01"])
    ]
    done = headrace("test", written(tmp_path, LOG, tests=cases))
    assert done.exit_code == 1
    assert "not between the years 1970 and 9000" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 2 failed"


def test_values_that_a_terminal_would_obey_are_shown_harmless(tmp_path: Path) -> None:
    file = written(tmp_path, {"id": "x", "use": "log", "with": {"text": "{{ trigger.data }}"}})
    done = headrace("run", file, "--event", '{"data": "\\u001b[2Jgone\\nand"}')
    assert "\x1b" not in done.stdout
    written(tmp_path, LOG, tests=[{"name": "a\x1b[2Jb", "expect": {"collected": "\x1b[2J"}}])
    assert "\x1b" not in headrace("test", str(tmp_path)).stdout
    file = tmp_path / "a.yaml"
    file.write_text('name: a\n"\\e[2J": 1\n')
    assert "\x1b" not in headrace("test", str(tmp_path)).stderr


def test_test_runs_all_cases_says_what_differs_and_writes_junit(tmp_path: Path) -> None:
    good = {"name": "goes right", "expect": {"steps": {"way": {"branch": "right"}}}}
    bad = {"name": "goes \x01left", "expect": {"steps": {"way": {"branch": "left"}}}}
    written(tmp_path, WAY, tests=[good, bad])
    written(tmp_path, LOG, name="b")
    report = tmp_path / "junit.xml"
    done = headrace("test", str(tmp_path), "--junit", str(report))
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "ok   shop/a: goes right"
    assert [line.split() for line in done.stdout.splitlines()[2:5]] == [
        ["steps.way.branch"], ["expected", '"left"'], ["found", '"right"']
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 of 2 automations without tests"
    root = ElementTree.parse(report).getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    failures = [case.find("failure") is not None for case in root.iter("testcase")]
    assert failures == [False, True]
    assert headrace("test", str(tmp_path), "-k", "right").exit_code == 0


def test_a_report_that_cannot_be_written_is_told_before_the_first_case_runs(tmp_path: Path) -> None:
    file = written(tmp_path, LOG, tests=[{"name": "c", "expect": {"status": "success"}}])
    for junit in (tmp_path, tmp_path / "nowhere" / "junit.xml", tmp_path / ("x" * 300)):
        done = headrace("test", file, "--junit", str(junit))
        assert isinstance(done.exception, UsageError), done.output
        assert f"--junit {junit}: it cannot be written" in str(done.exception)
        assert done.stdout == ""


def test_a_document_that_is_wrong_is_wrong_usage_with_file_line_and_column(tmp_path: Path) -> None:
    file = written(tmp_path, {"id": "x", "use": "lgo"})
    for command in (("run", file, "--event", "{}"), ("test", file)):
        done = headrace(*command)
        assert done.exit_code == 2
        assert f"{file}:8:3: steps.0.use: unknown step 'lgo'; did you mean `log`?" in done.stderr


SECRET = 'hunter2/+"ü'
APPS = {
    "shop": {
        "env": {"REGION": "eu"},
        "secrets": {"KEY": SECRET},
        "settings": {"company": "Shop"},
        "connections": {"db": {"type": "sql", "url": "sqlite:///nowhere.db"}},
    }
}
KEY = "{{ secrets.KEY }}"
TELLING = [
    {"id": "line", "use": "log", "with": {"text": f"{{{{ env.REGION }}}} {{{{ settings.company }}}} {KEY}"}},
    {"id": "row", "use": "row.create", "with": {"table": "t", "id": KEY, "row": {"k": [KEY]}}},
    {"id": "event", "use": "event.publish", "with": {"type": "t", "subject": KEY, "key": KEY, "data": {"k": KEY}}},
    {"id": "child", "call": {"automation": "other", "fields": {"k": KEY}}},
    {"id": "bad", "use": "row.get", "with": {"table": KEY, "id": "1"}},
    {"id": "know", "set": {"length": "{{ secrets.KEY | length }}"}},
    {"id": "answer", "collect": {"key": KEY, "length": "{{ state.length }}"}},
]


@pytest.fixture
def apps_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "apps.yml"
    file.write_text(yaml.safe_dump({"apps": APPS}))
    monkeypatch.setenv("HEADRACE_APPS_FILE", str(file))
    return file


def automations(tmp_path: Path) -> Path:
    directory = tmp_path / "automations"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["timeline", "json"])
def test_run_knows_what_is_configured_for_the_app_and_prints_no_secret_of_it(
    tmp_path: Path, apps_file: Path, form: tuple[str, ...]
) -> None:
    file = written(automations(tmp_path), *TELLING)
    done = headrace("run", file, "--event", "{}", *form)
    assert "eu Shop ***" in done.stdout, done.output
    assert f'"length":{len(SECRET)}' in done.stdout
    assert "hunter2" not in done.output
    assert done.stdout.count("***") >= 8


def test_test_knows_what_is_configured_for_the_app_and_tells_no_secret_of_it(tmp_path: Path, apps_file: Path) -> None:
    cases = [
        {"name": "masked", "expect": {"steps": {"line": {"outputs": {"text": "eu Shop ***"}}}}},
        {"name": "wrong", "expect": {"collected": 1, "steps": {"line": {"outputs": {"text": "x"}}}}},
    ]
    directory, junit = automations(tmp_path), tmp_path / "junit.xml"
    written(directory, *TELLING, tests=cases)
    done = headrace("test", str(directory), "--junit", str(junit))
    assert done.stdout.splitlines()[0] == "ok   shop/a: masked", done.output
    assert 'found     "eu Shop ***"' in done.stdout
    assert done.exit_code == 1
    assert "hunter2" not in done.output
    assert "hunter2" not in junit.read_text()


def test_no_secret_that_a_stubbed_step_was_given_or_gives_is_told(tmp_path: Path, apps_file: Path) -> None:
    stubbed = [
        {"id": "page", "use": "http.request",
         "with": {"url": f"https://example.org/{KEY}", "method": "POST", "json": KEY}},
        {"id": "bad", "use": "http.request", "with": {"url": "https://example.org/"}},
        {"id": "wait", "wait_for_event": {"type": "paid", "key": KEY, "timeout": "1d"}},
        {"id": "call", "call": {"automation": "other", "fields": {"k": KEY}, "wait": True}},
    ]  # fmt: skip
    stubs = {"page": {"data": SECRET}, "bad": {"error": {"message": SECRET}}, "wait": {"data": SECRET}, "call": {}}
    loop = {"id": "each", "loop": {"over": KEY}, "steps": stubbed}
    parts = {"inputs": "x", "outputs": "x", "error": "x"}
    case = {"name": "c", "stubs": stubs, "expect": {"steps": dict.fromkeys(("each", *stubs), parts)}}
    directory, junit = automations(tmp_path), tmp_path / "junit.xml"
    written(directory, loop, tests=[case])
    done = headrace("test", str(directory), "--junit", str(junit))
    told = done.output + junit.read_text()
    assert told.count("***") >= 10, told
    assert [part for part in ("hunter2", SECRET) if part in told] == []


@pytest.mark.parametrize(
    ("use", "inputs"),
    [
        ("sql.query", {"query": "SELECT 1"}),
        ("mongo.query", {"operation": "find", "collection": "c"}),
        ("email.send", {"to": "a@b.c", "text": "x"}),
        ("llm.prompt", {"prompt": "x"}),
    ],
)
def test_a_connection_is_not_reached_without_leave_though_it_only_reads(
    tmp_path: Path, apps_file: Path, use: str, inputs: dict[str, Any]
) -> None:
    file = written(automations(tmp_path), {"id": "ask", "use": use, "with": {"connection": "db", **inputs}})
    done = headrace("run", file, "--event", "{}")
    assert "error not_allowed: not allowed in a test run; give --stub ask=JSON or --allow-effects" in done.stdout
    stubbed = headrace("run", file, "--event", "{}", "--stub", "ask={}")
    assert (stubbed.exit_code, not list(tmp_path.rglob("nowhere.db"))) == (0, True), stubbed.output


@pytest.mark.parametrize("command", [("run", "FILE", "--event", "{}"), ("test", "FILE")], ids=["run", "test"])
def test_an_apps_file_that_is_wrong_is_told_with_its_place_and_without_its_values(
    tmp_path: Path, apps_file: Path, command: tuple[str, ...]
) -> None:
    apps_file.write_text("apps: {shop: {secrets: {KEY: [hunter2]}}}")
    file = written(automations(tmp_path), LOG)
    done = headrace(*(file if each == "FILE" else each for each in command))
    assert isinstance(done.exception, SettingsError)
    assert f"HEADRACE_APPS_FILE: {apps_file}: apps.shop.secrets.KEY: expected text" in str(done.exception)
    assert "hunter2" not in str(done.exception)


def test_a_step_that_is_skipped_is_not_done() -> None:
    skipped = {**LOG, "when": "{{ false }}", "with": {"text": "x"}}
    cases = [
        {"name": "c", "expect": {"steps": {"after": each}}}
        for each in ({}, None, {"status": "skipped"}, {"outputs": {}})
    ]
    document = automation(skipped, tests=cases)
    found = [not try_case(document, case).differences for case in document.tests]
    assert found == [False, True, True, False]


def test_a_case_whose_script_finds_no_process_fails_and_the_others_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("headrace.engine.scripts.process.subprocess.Popen", none)
    document = automation(
        {"id": "r", "use": "script.js", "with": {"code": "return 1"}},
        tests=[{"name": "c", "expect": {"status": "success"}}],
    )
    (difference,) = try_case(document, document.tests[0]).differences
    assert "no process for scripts can be started" in difference.found
    assert "stub" in difference.found
