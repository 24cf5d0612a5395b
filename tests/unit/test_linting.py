"""What lint finds in automations that are valid, and what it leaves alone: every rule with both."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.contracts.automation import Automation, parse_automation
from headrace.contracts.automation.triggers import TRIGGER_TYPES
from headrace.engine.run import Run
from headrace.engine.steps import OURS
from headrace.engine.steps.base import AwaitingStep, Effect, Inputs, Outputs, Perform
from headrace.linting import RULES, Finding, lint
from headrace.matching.members import CONTENT
from headrace.matching.members import MEMBERS as MEMBERS_BY_TYPE
from headrace.trials.events import Fired, fire

pytestmark = pytest.mark.unit

LANGUAGE_PAGE = (Path(__file__).parents[2] / "docs/language.md").read_text()
HEAD = "name: a\napp: shop\ntrigger: {type: event, event: hello}\nsteps:\n"
GET = "{id: get, use: http.request, with: {url: 'https://example.org'}}"


def parsed(steps: str, head: str = HEAD) -> Automation:
    return parse_automation(yaml.safe_load(head + "".join(f"  - {line}\n" for line in steps.strip().splitlines())))


def found(steps: str) -> list[str]:
    return [f"{each.rule} {each.path}" for each in lint([parsed(steps)])]


def log(id: str, text: str) -> str:
    return f"{{id: {id}, use: log, with: {{text: '{{{{ {text} }}}}'}}}}"


def ways(*ways: str, id: str = "way") -> str:
    return f"{{id: {id}, branch: [{', '.join(ways)}]}}"


def way(name: str, when: str, *steps: str) -> str:
    said = "else: true" if when == "else" else f"when: {when}"
    return f"{{name: {name}, {said}, steps: [{', '.join(steps)}]}}"


def each(text: str, more: str = "max: 5") -> str:
    return f"{{id: l, loop: {{over: [1], {more}}}, steps: [{log('b', text)}]}}"


DATA = '"{{ trigger.data.x }}"'
ALONE = [
    # same-name
    ("{id: a, name: N, collect: 1}\n{id: b, name: N, collect: 1}", ["same-name steps.1.name"]),
    ("{id: p, parallel: [{name: x, steps: [{id: a, name: N, collect: 1}]}, "
     "{name: y, steps: [{id: b, name: N, collect: 1}]}]}",
     ["same-name steps.0.parallel.1.steps.0.name"]),
    (ways(way("x", DATA, "{id: a, name: N, collect: 1}"), way("y", "else", "{id: b, name: N, collect: 1}")), []),
    ("{id: a, name: N, collect: 1}\n{id: b, collect: 1}\n{id: c, collect: 1}\n{id: d, name: b, collect: 1}", []),
    # unknown-step
    (log("a", "steps.nope.x"), ["unknown-step steps.0.with.text"]),
    (log("a", "stepsById[\"nope\"].x ~ stepsByName.nope.x"), ["unknown-step steps.0.with.text"] * 2),
    (log("a", "trigger.data.x | default(steps.nope.x)"), ["unknown-step steps.0.with.text"]),
    ("{id: a, filter: {all: [{field: steps.nope.x, op: exists}]}}", ["unknown-step steps.0.filter.all.0.field"]),
    ("{id: a, filter: {any: [{field: trigger.data.x, op: eq, value: '{{ steps.nope }}'}]}}",
     ["unknown-step steps.0.filter.any.0.value"]),
    ("{id: a, loop: {over: '{{ steps.nope.x }}'}, steps: [{id: b, collect: 1}]}", ["unknown-step steps.0.loop.over"]),
    (f"{GET}\n{log('b', 'steps.get.status ~ steps.1.data.x ~ steps[trigger.data].x ~ steps.0.data')}", []),
    ("{id: a, name: First, collect: 1}\n" + log("b", 'steps.First.value ~ stepsByName["First"].value'), []),
    ("{id: b, use: log, with: {text: '{% set steps = trigger.data %}{{ steps.nope }}'}}", []),
    # unknown-output
    (f"{GET}\n{log('b', 'steps.get.stauts')}", ["unknown-output steps.1.with.text"]),
    ("{id: s, set: {n: 1}}\n" + log("b", "steps.s.m"), ["unknown-output steps.1.with.text"]),
    ("{id: c, call: {automation: x}}\n" + log("b", "steps.c.data"), ["unknown-output steps.1.with.text"]),
    (f"{GET}\n{log('b', 'steps.get.success ~ steps.get.error.type ~ steps.get.headers.upper()')}", []),
    ("{id: c, call: {automation: x, wait: true}}\n" + log("b", "steps.c.data"), ["unknown-output steps.1.with.text"]),
    ("{id: c, call: {automation: x, wait: true}}\n" + log("b", "steps.c.collected.n ~ steps.c.status"), []),
    ("{id: w, wait_for_event: {type: x, key: '1', timeout: 1m}}\n" + log("b", "steps.w.data.n ~ steps.w.event.id"), []),
    ("{id: w, wait_for_event: {type: x, key: '1', match: '{{ data.n ~ event.id }}', timeout: 1m}}", []),
    ("{id: s, set: {n: 1}}\n" + log("b", "steps.s.n"), []),
    # not-before
    (log("a", "steps.b.text") + "\n" + log("b", "trigger.data.x"), ["not-before steps.0.with.text"]),
    (log("a", "steps.a.text"), ["not-before steps.0.with.text"]),
    (f"{{id: l, loop: {{over: [1]}}, steps: [{log('b', 'steps.l.items')}]}}", ["not-before steps.0.steps.0.with.text"]),
    (f"{{id: l, loop: {{over: [1], concurrency: 2}}, steps: [{log('a', 'steps.b.text')}, {log('b', '1')}]}}",
     ["not-before steps.0.steps.0.with.text"]),
    (f"{{id: l, loop: {{over: [1]}}, steps: [{log('a', 'steps.b.text')}, {log('b', '1')}]}}", []),
    (f"{{id: l, loop: {{over: [1], break_if: '{{{{ steps.b.text }}}}'}}, steps: [{log('b', '1')}]}}", []),
    (ways(way("x", DATA, log("b", "steps.way.branch"))), []),
    (ways(way("x", DATA, log("b", "1"))) + "\n" + log("c", "steps.b.text"), []),
    # other-branch
    (ways(way("x", DATA, log("a", "1")), way("y", "else", log("b", "steps.a.text"))),
     ["other-branch steps.0.branch.1.steps.0.with.text"]),
    (f"{{id: p, parallel: [{{name: x, steps: [{log('a', '1')}]}}, {{name: y, steps: [{log('b', 'steps.a.text')}]}}]}}",
     ["other-branch steps.0.parallel.1.steps.0.with.text"]),
    (f"{{id: p, parallel: [{{name: x, steps: [{log('a', '1')}]}}]}}\n" + log("b", "steps.a.text"), []),
    # outside-loop
    (log("a", "loop.currentItem"), ["outside-loop steps.0.with.text"]),
    (log("a", "item ~ item_index"), ["outside-loop steps.0.with.text"] * 2),
    ("{id: a, filter: {all: [{field: item.x, op: exists}]}}", ["outside-loop steps.0.filter.all.0.field"]),
    (f"{{id: l, when: '{{{{ item }}}}', loop: {{over: '{{{{ loop.x }}}}'}}, steps: [{log('b', '1')}]}}",
     ["outside-loop steps.0.when", "outside-loop steps.0.loop.over"]),
    (f"{{id: l, loop: {{over: [1]}}, steps: [{log('b', '1')}]}}\n" + log("c", "item"),
     ["outside-loop steps.1.with.text"]),
    (log("a", "trigger.data }}{% for x in loop.items %}{{ loop.index }}{% else %}{{ loop.count }}{% endfor %}{{ 1"),
     ["outside-loop steps.0.with.text"] * 2),
    (log("a", "trigger.data }}{% for x in [1] if loop.index %}{{ x }}{% endfor %}{{ 1"),
     ["outside-loop steps.0.with.text"]),
    (f"{{id: l, loop: {{over: [1]}}, steps: [{log('b', 'item ~ item_index ~ loop.index')}]}}", []),
    (f"{{id: l, loop: {{over: [1], break_if: '{{{{ item }}}}', continue_if: '{{{{ loop.index }}}}', "
     f"failure: {{all: [{{field: item, op: exists}}]}}}}, steps: [{log('b', '1')}]}}", []),
    ("{id: l, loop: {over: [[1]]}, steps: [{id: m, loop: {over: '{{ item }}'}, steps: [" + log("b", "loop.parent.index")
     + "]}]}", []),
    ("{id: l, loop: {over: [1]}, steps: [" + ways(way("x", '"{{ item }}"', log("b", "item"))) + "]}", []),
    (log("a", "trigger.data }}{% for x in [1] %}{{ loop.index }}{% endfor %}{{ 1"), []),
    (log("a", "trigger.data.loop ~ trigger.data.item"), []),
    # unknown-member
    (each("loop.nope ~ loop.parent.parent.x"), ["unknown-member steps.0.steps.0.with.text"] * 2),
    (each("loop.currentItem.x ~ loop.index ~ loop.count ~ loop.parent.index"), []),
    (each("1 }}{% for x in [1] %}{{ loop.last }}{% endfor %}{{ 1"), []),
    (each("1", "break_if: '{{ loop.idx }}'"), ["unknown-member steps.0.loop.break_if"]),
    (log("a", "trigger.row.x"), ["unknown-member steps.0.with.text"]),
    (log("a", "steps.0.row ~ steps[\"0\"].id"), ["unknown-member steps.0.with.text"] * 2),
    (log("a", "trigger.event.typ"), ["unknown-member steps.0.with.text"]),
    ("{id: a, filter: {all: [{field: trigger.fields.x, op: exists}]}}", ["unknown-member steps.0.filter.all.0.field"]),
    (log("a", "trigger.data.x ~ trigger.event.id ~ trigger.timestamp ~ trigger.type ~ trigger[\"data\"].x"), []),
    (log("a", "trigger ~ trigger[trigger.data.x] ~ steps.0 ~ trigger.timestamp.upper()"), []),
    # unreachable-branch
    (ways(way("x", '"{{ 1 == 1 }}"'), way("y", DATA), way("z", "else")),
     ["unreachable-branch steps.0.branch.1", "unreachable-branch steps.0.branch.2"]),
    (ways(way("x", "false"), way("y", "else")), ["unreachable-branch steps.0.branch.0"]),
    (ways(way("x", "{any: []}"), way("y", "else")), ["unreachable-branch steps.0.branch.0"]),
    (ways(way("x", DATA), way("y", '"{{ random() > 0.5 }}"'), way("z", "else")), []),
    # unreachable-step
    ("{id: s, stop: {}}\n" + log("a", "1"), ["unreachable-step steps.1"]),
    ("{id: s, filter: false}\n" + log("a", "1"), ["unreachable-step steps.1"]),
    ("{id: s, when: '{{ 1 > 2 }}', collect: 1}", ["unreachable-step steps.0.when"]),
    (ways(way("x", DATA, "{id: s, stop: {}}"), way("y", "else", "{id: t, stop: {}}")) + "\n" + log("a", "1"),
     ["unreachable-step steps.1"]),
    (f"{{id: s, when: {DATA}, stop: {{}}}}\n" + log("a", "1"), []),
    (ways(way("x", DATA, "{id: s, stop: {}}")) + "\n" + log("a", "1"), []),
    # unbounded-loop
    (f"{{id: l, loop: {{over: {DATA}}}, steps: [{GET}]}}", ["unbounded-loop steps.0.loop"]),
    (f"{{id: l, loop: {{over: {DATA}, max: 200}}, steps: [{{id: m, loop: {{over: {DATA}, max: 9}}, steps: [{GET}]}}]}}",
     []),
    (f"{{id: l, loop: {{over: {DATA}, max: 200}}, steps: [{{id: m, loop: {{over: {DATA}, max: 200}}, "
     f"steps: [{GET}]}}]}}",
     ["unbounded-loop steps.0.loop"]),
    (f"{{id: l, loop: {{over: {DATA}, max: 20}}, steps: [{GET}]}}", []),
    (f"{{id: l, loop: {{over: {DATA}, break_if: '{{{{ steps.get.data.done }}}}'}}, steps: [{GET}]}}", []),
    (f"{{id: l, loop: {{over: [1, 2]}}, steps: [{GET}]}}", []),
    (f"{{id: l, loop: {{over: {DATA}}}, steps: [{log('b', '1')}]}}", []),
    # plain-secret
    ("{id: a, use: http.request, with: {url: 'https://a.b', auth: {type: bearer, token: abc}}}",
     ["plain-secret steps.0.with.auth.token"]),
    ("{id: a, use: http.request, with: {url: 'https://a.b', headers: {X-Api-Key: abc}}}",
     ["plain-secret steps.0.with.headers.X-Api-Key"]),
    ("{id: a, use: http.request, with: {url: 'https://a.b', json: {list: [{client_secret: abc}]}}}",
     ["plain-secret steps.0.with.json.list.0.client_secret"]),
    ("{id: a, use: http.request, with: {url: 'https://ann:pw@a.b'}}", ["plain-secret steps.0.with.url"]),
    ("{id: a, use: http.request, with: {url: 'https://a.b/?x=1&api_key=0123456789'}}",
     ["plain-secret steps.0.with.url"]),
    (f"{{id: a, collect: 'ghp_{'a' * 36}'}}", ["plain-secret steps.0.collect"]),
    (f"{{id: a, collect: 'AKIA{'A' * 16}'}}", ["plain-secret steps.0.collect"]),
    ("{id: a, collect: '-----BEGIN RSA PRIVATE KEY-----'}", ["plain-secret steps.0.collect"]),
    ("{id: a, use: http.request, with: {url: 'https://a.b', auth: {type: bearer, token: '{{ secrets.T }}'}}}", []),
    ("{id: a, use: http.request, with: {url: 'https://a.b/?token={{ secrets.T }}', json: {max_tokens: 5}}}", []),
    ("{id: a, use: http.request, with: {url: 'https://a.b', auth: {type: basic, username: ann, password: ''}}}", []),
    # constant-key
    ("{id: a, use: http.request, with: {url: 'https://a.b', headers: {idempotency-key: one}}}",
     ["constant-key steps.0.with.headers.idempotency-key"]),
    ("{id: a, use: http.request, with: {url: 'https://a.b', headers: {Idempotency-Key: '{{ trigger.data.id }}'}}}", []),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "rules"), ALONE)
def test_a_rule_finds_what_it_is_about_and_nothing_else(steps: str, rules: list[str]) -> None:
    assert found(steps) == rules


def test_a_misspelt_name_gets_a_suggestion_and_no_finding_quotes_a_secret() -> None:
    (step,) = lint([parsed(f"{GET}\n{log('b', 'steps.gte.status')}")])
    assert (step.message, step.remedy) == (
        "{{ steps.gte.status }}: no step is called 'gte'",
        "did you mean `steps.get`?",
    )
    (output,) = lint([parsed(f"{GET}\n{log('b', 'steps.get.stauts')}")])
    assert output.remedy == "did you mean `status`?"
    (secret,) = lint([parsed("{id: a, use: http.request, with: {url: 'https://a.b', headers: {X-Token: hidden9}}}")])
    assert "hidden9" not in str(secret)


def flow(name: str, trigger: str, steps: str, app: str = "shop") -> Automation:
    return parsed(steps, f"name: {name}\napp: {app}\ntrigger: {trigger}\nsteps:\n")


PUBLISH = "{id: tell, use: event.publish, with: {type: %s}}"
WRITE = "{id: write, use: row.create, with: {table: %s, row: {x: 1}}}"
CALL = "{id: call, call: {automation: %s}}"
MANUAL = "{type: manual}"
CYCLES: list[tuple[list[Automation], list[tuple[str, str]]]] = [
    ([flow("a", "{type: event, event: 'x.*'}", PUBLISH % "x.y")], [("error", "steps.0")]),
    ([flow("a", "{type: event, event: x}", f"{{id: f, filter: {DATA}}}\n" + PUBLISH % "x")], [("warning", "steps.1")]),
    ([flow("a", "{type: event, event: x}", ways(way("w", DATA, PUBLISH % "x")))],
     [("warning", "steps.0.branch.0.steps.0")]),
    ([flow("a", f"{{type: event, event: x, when: {DATA.replace('trigger.', '')}}}", PUBLISH % "x")],
     [("warning", "steps.0")]),
    ([flow("a", "{type: row.created, table: t}", WRITE % "t")], [("error", "steps.0")]),
    ([flow("a", MANUAL, CALL % "b"), flow("b", MANUAL, CALL % "c"), flow("c", MANUAL, CALL % "a")],
     [("error", "steps.0")]),
    ([flow("a", MANUAL, "{id: x, when: '{{ trigger.timestamp }}', call: {automation: a}}\n" + CALL % "a")],
     [("error", "steps.1")]),
    ([flow("a", "{type: automation.finished, automation: '*'}", log("l", "1")),
      flow("b", "{type: automation.finished, automation: a}", log("l", "1"))], [("error", "trigger")]),
    ([flow("a", "{type: event, event: x}", WRITE % "t"), flow("b", "{type: row.created, table: t}", PUBLISH % "x")],
     [("error", "steps.0")]),
    # None of these goes around.
    ([flow("a", "{type: event, event: x}", PUBLISH % "y")], []),
    ([flow("a", "{type: event, event: x}", PUBLISH % "x, topic: elsewhere")], []),
    ([flow("a", "{type: event, event: x}", PUBLISH % "'{{ trigger.data }}'")], []),
    ([flow("a", "{type: row.updated, table: t}", WRITE % "t")], []),
    ([flow("a", "{type: row.created, table: t}", WRITE % "u")], []),
    ([flow("a", MANUAL, CALL % "b"), flow("b", MANUAL, log("l", "1"))], []),
    ([flow("a", "{type: automation.finished, automation: '*'}", log("l", "1"))], []),
    ([flow("a", "{type: event, event: x}", WRITE % "t"),
      flow("b", "{type: row.created, table: t}", PUBLISH % "x", app="other")], []),
]  # fmt: skip


@pytest.mark.parametrize(("automations", "wanted"), CYCLES)
def test_automations_that_start_each_other_without_end_are_found(
    automations: list[Automation], wanted: list[tuple[str, str]]
) -> None:
    assert [(each.severity, each.path) for each in lint(automations) if each.rule == "cycle"] == wanted


MEMBERS: list[tuple[str, str, list[str]]] = [
    ("{type: row.created, table: t}", "trigger.flight", ["steps.0.with.text"]),
    ("{type: row.updated, table: t}", "trigger.data", ["steps.0.with.text"]),
    ("{type: row.deleted, table: t}", "trigger.new_row", ["steps.0.with.text"]),
    ("{type: row.updated, table: t, when: '{{ data }}'}", "1", ["trigger.when"]),
    ("{type: row.updated, table: t, when: {any: [{field: trigger.x, op: exists}]}}", "1", ["trigger.when.any.0.field"]),
    ("{type: webhook, id: w, when: '{{ row.x }}'}", "trigger.data", ["trigger.when", "steps.0.with.text"]),
    ("{type: cron, schedule: '@hourly'}", "trigger.data", ["steps.0.with.text"]),
    ("{type: manual}\nordering_key: '{{ body.x }}'\nfields: {n: number}", "trigger.fields.m",
     ["ordering_key", "steps.0.with.text"]),
    ("{type: manual}", "trigger.fields.m", ["steps.0.with.text"]),
    ("{type: automation.finished, automation: '*'}", "trigger.data.staus ~ trigger.status", ["steps.0.with.text"] * 2),
    ("{type: row.created, table: t, when: '{{ row.x and id and changed and timestamp and trigger.table and now }}'}",
     "trigger.row.x ~ trigger.old_row ~ trigger.changed[0] ~ trigger.id ~ trigger.table", []),
    ("{type: webhook, id: w, when: '{{ body.x and headers.y and query.z }}'}", "trigger.method ~ trigger.body.x", []),
    ("{type: cron, schedule: '@hourly'}", "trigger.scheduled", []),
    ("{type: manual}\nordering_key: '{{ fields.n }}'\nfields: {n: number}", "trigger.fields.n ~ trigger.fields", []),
    ("{type: automation.failed, automation: '*'}", "trigger.data.error.message ~ trigger.data.run_id", []),
]  # fmt: skip


@pytest.mark.parametrize(("trigger", "text", "paths"), MEMBERS)
def test_what_the_trigger_never_holds_is_found(trigger: str, text: str, paths: list[str]) -> None:
    found = lint([flow("a", trigger, log("l", text))])
    assert [(each.rule, each.path) for each in found] == [("unknown-member", path) for path in paths]


@pytest.mark.parametrize(
    ("trigger", "text", "remedy"),
    [
        ("{type: row.created, table: t}", "trigger.old_rwo.x", "did you mean `trigger.old_row`?"),
        ("{type: row.created, table: t}", "trigger.flight",
         "what it carries is below `row`: did you mean `trigger.row.flight`?"),
        ("{type: event, event: x}", "steps.0.flight",
         "what it carries is below `data`: did you mean `steps.0.data.flight`?"),
        ("{type: event, event: x}", "trigger.event.typ", "did you mean `trigger.event.type`?"),
        ("{type: webhook, id: w, when: '{{ fields.x }}'}", "1",
         "what it carries is below `body`: did you mean `body.fields`?"),
        ("{type: cron, schedule: '@hourly'}", "trigger.x", "it has event, scheduled, timestamp, type"),
        ("{type: manual}\nfields: {number: number}", "trigger.fields.nubmer", "did you mean `trigger.fields.number`?"),
        ("{type: manual}", "trigger.fields.x", "declare it in `fields`"),
    ],
)  # fmt: skip
def test_an_unknown_member_gets_the_way_to_what_is_meant(trigger: str, text: str, remedy: str) -> None:
    (finding,) = lint([flow("a", trigger, log("l", text))])
    assert finding.remedy == remedy


EVENTS: dict[str, tuple[str, dict[str, object]]] = {
    "row.created": ("{type: row.created, table: t}", {"row": {"id": 1}}),
    "row.updated": ("{type: row.updated, table: t}", {"row": {"id": 1}, "old_row": {"id": 1}}),
    "row.deleted": ("{type: row.deleted, table: t}", {"row": {"id": 1}}),
    "event": ("{type: event, event: x}", {}),
    "webhook": ("{type: webhook, id: w}", {}),
    "cron": ("{type: cron, schedule: '@hourly'}", {}),
    "manual": ("{type: manual}", {}),
    "automation.finished": ("{type: automation.finished, automation: b}", {}),
    "automation.failed": ("{type: automation.failed, automation: b}", {}),
}


@pytest.mark.parametrize("type", TRIGGER_TYPES)
def test_the_members_that_lint_knows_are_those_that_the_matcher_makes_and_the_docs_name(type: str) -> None:
    trigger, event = EVENTS[type]
    fired = fire(flow("a", trigger, log("l", "1")), event, datetime(2013, 1, 1, tzinfo=UTC))
    assert isinstance(fired, Fired)
    made = fired.started.job.trigger
    assert set(made) == set(MEMBERS_BY_TYPE[type])
    for name, parts in MEMBERS_BY_TYPE[type].items():
        inner = made[name]
        assert parts is None or (isinstance(inner, dict) and set(inner) == parts), name
    assert CONTENT.get(type) in {*made, None}
    (row,) = re.findall(rf"^\| .*`{type}`.*\|(.*)\|$", LANGUAGE_PAGE.split("## Steps")[0], re.M)
    parts = set(MEMBERS_BY_TYPE[type].get("data") or ())
    assert set(re.findall(r"`(\w+)", row)) - parts == set(made) - {"type", "timestamp", "event"}


CALLEES: list[tuple[list[Automation], list[str], list[str]]] = [
    ([flow("a", MANUAL, CALL % "b")], ["unknown-automation steps.0.call.automation"], []),
    ([flow("a", MANUAL, CALL % "b"), flow("b", MANUAL, log("l", "1"), app="other")],
     ["unknown-automation steps.0.call.automation"], []),
    ([flow("a", MANUAL, CALL % "b"), flow("b", "{type: event, event: x}", log("l", "1"))],
     ["not-callable steps.0.call.automation"], ["not-callable steps.0.call.automation"]),
    ([flow("a", MANUAL, CALL % "b"), flow("b", MANUAL, log("l", "1"))], [], []),
    ([flow("a", "{type: event, event: x}", "{id: c, call: {automation: b, fields: {x: 1}}}"),
      flow("b", MANUAL, log("l", "1"))],
     ["wrong-fields steps.0.call.fields.x"], ["wrong-fields steps.0.call.fields.x"]),
]  # fmt: skip


@pytest.mark.parametrize(("automations", "together", "alone"), CALLEES)
def test_calls_that_start_nothing_are_found_those_of_others_only_where_these_are_all(
    automations: list[Automation], together: list[str], alone: list[str]
) -> None:
    assert [f"{each.rule} {each.path}" for each in lint(automations, are_all=True)] == together
    assert [f"{each.rule} {each.path}" for each in lint(automations)] == alone


FIELDS_OF_B = parse_automation(
    yaml.safe_load(
        "{name: b, app: shop, trigger: {type: manual}, steps: [{id: l, collect: 1}], fields: "
        "{id: text, n: {type: number}, list: {type: array, default: []}, note: {required: false}}}"
    )
).fields
GIVEN = [
    ("{id: a, n: 5}", []),
    ("{id: '{{ trigger.fields.x }}', n: '{{ trigger.fields.y }}', list: '[1]', note: {a: 1}}", []),
    ("{id: a, n: '5', list: ['{{ now }}'], note: null}", []),
    ("{id: a}", [("call", "needs the field 'n'")]),
    ("{id: null, n: 1}", [("call", "needs the field 'id'")]),
    ("{id: a, n: 1, noet: x}", [("call.fields.noet", "did you mean 'note'?")]),
    ("{id: a, n: 1, zzz: x}", [("call.fields.zzz", "it takes id, n, list, note")]),
    ("{id: 5, n: five, list: {a: 1}}",
     [("call.fields.id", "expected text"), ("call.fields.n", "expected a number"),
      ("call.fields.list", "expected an array")]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "wrong"), GIVEN)
def test_a_call_whose_fields_are_not_those_of_the_called_automation_is_found(
    given: str, wrong: list[tuple[str, str]]
) -> None:
    caller = flow("a", "{type: event, event: x}", f"{{id: c, call: {{automation: b, fields: {given}}}}}")
    callee = flow("b", MANUAL, log("l", "1")).model_copy(update={"fields": FIELDS_OF_B})
    told = [each for each in lint([caller, callee]) if each.rule == "wrong-fields"]
    assert [each.path.removeprefix("steps.0.") for each in told] == [path for path, _ in wrong]
    assert all(words in f"{each.message}: {each.remedy}" for each, (_, words) in zip(told, wrong, strict=True))


def test_lint_tells_of_unknown_automations_in_directories_and_of_several_files_only(tmp_path: Path) -> None:
    head = HEAD.replace("name: a", "name: %s").replace("event, event: hello", "manual")
    for name, callee in (("a", "notfy"), ("notify", "a")):
        (tmp_path / f"{name}.yaml").write_text(
            f"{head % name}  - {{id: c, when: '{{{{ now }}}}', call: {{automation: {callee}}}}}\n"
        )

    def rules(*paths: Path) -> list[str]:
        done = CliRunner().invoke(app, ["lint", *map(str, paths), "--json"])
        return [each["remedy"] for each in orjson.loads(done.stdout) if each["rule"] == "unknown-automation"]

    assert rules(tmp_path) == ["did you mean 'notify'?"]
    assert rules(tmp_path / "a.yaml", tmp_path / "notify.yaml") == ["did you mean 'notify'?"]
    assert rules(tmp_path / "a.yaml") == []
    (tmp_path / "more").mkdir()
    (tmp_path / "a.yaml").rename(tmp_path / "more" / "a.yaml")
    assert rules(tmp_path / "more") == ["deploy it as well, or its calls start nothing"]
    (tmp_path / "wrong.yaml").write_text("name: notfy\n")  # it may well be the one that is called
    assert rules(tmp_path) == []


class Nothing(Inputs):
    """No inputs."""


class Theirs(AwaitingStep):
    """A step of another package."""

    inputs = Nothing
    outputs: ClassVar[dict[str, str]] = {}

    def __init__(self, use: str, effect: Effect) -> None:
        self.use = use  # type: ignore[misc]
        self.effect = effect  # type: ignore[misc]

    def bind(self, rendered: Outputs) -> Perform:
        async def perform(run: Run) -> Outputs:
            return {"success": True}

        return perform


EFFECTS: dict[str, Effect] = {"acme.read": "none", "acme.put": "at_least_once", "acme.send": "at_most_once"}
THEIRS = {use: Theirs(use, effect) for use, effect in EFFECTS.items()}
CALLS = [
    ("{id: a, use: acme.put}", ["unkeyed-call steps.0"]),
    ("{id: a, use: acme.put, on_unknown: fail}", []),
    ("{id: a, use: acme.send}", []),
    ("{id: a, use: acme.send, on_unknown: resend}", ["unkeyed-call steps.0"]),
    ("{id: a, use: acme.read}", ["no-journal steps.0"]),
    ("{id: a, use: acme.read}\n" + PUBLISH % "y", []),
    (GET, []),
]


@pytest.mark.parametrize(("steps", "rules"), CALLS)
def test_calls_that_a_crash_may_repeat_unknown_to_their_receiver_are_found(
    monkeypatch: pytest.MonkeyPatch, steps: str, rules: list[str]
) -> None:
    table = {**OURS, **THEIRS}
    monkeypatch.setattr("headrace.engine.uses.STEPS", table)
    assert [f"{each.rule} {each.path}" for each in lint([parsed(steps)], table)] == rules


def test_every_rule_has_a_case_that_it_finds_and_is_in_the_docs() -> None:
    found_together = [rule for _, rules, _ in CALLEES for rule in rules]
    cases = [
        *(rule for _, rules in (*ALONE, *CALLS) for rule in rules),
        *found_together,
        *(["cycle "] if CYCLES else []),
    ]
    assert {case.partition(" ")[0] for case in cases} == set(RULES)
    rows = [f"| `{id}` | {rule.severity} | {rule.about} |" for id, rule in RULES.items()]
    assert [row for row in rows if row not in LANGUAGE_PAGE] == []


def test_lint_prints_file_line_and_column_of_what_rules_find_and_of_what_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{HEAD}  - id: a\n    use: log\n    with: {{text: '{{{{ steps.nope.x }}}}'}}\n")
    (tmp_path / "b.yaml").write_text(f"{HEAD.replace('name: a', 'name: b')}  - {{id: a, use: lgo}}\n")
    (tmp_path / "c.yaml").write_text(f"{HEAD.replace('name: a', 'name: c')}  - {{id: a, when: false, collect: 1}}\n")
    done = CliRunner().invoke(app, ["lint", str(tmp_path)])
    assert done.exit_code == 1
    lines = [line.removeprefix(f"{tmp_path}/") for line in done.stdout.splitlines()]
    assert [line.split(": ")[:2] for line in lines[:3]] == [
        ["a.yaml:7:12", "error"], ["b.yaml:5:13", "error"], ["c.yaml:5:13", "warning"]
    ]  # fmt: skip
    assert [line.rpartition("[")[2] for line in lines[:3]] == ["unknown-step]", "invalid]", "unreachable-step]"]
    assert lines[3] == "2 automations: 2 errors, 1 warnings"
    as_json = orjson.loads(CliRunner().invoke(app, ["lint", str(tmp_path), "--json"]).stdout)
    assert [(each["line"], each["rule"]) for each in as_json] == [
        (7, "unknown-step"),
        (5, "invalid"),
        (5, "unreachable-step"),
    ]
    assert CliRunner().invoke(app, ["lint", str(tmp_path / "c.yaml")]).exit_code == 0
    assert CliRunner().invoke(app, ["lint", str(tmp_path / "none")]).exit_code != 0


def test_what_an_installation_allows_is_told_without_a_figure() -> None:
    (finding,) = lint([parsed(f"{{id: l, loop: {{over: {DATA}}}, steps: [{GET}]}}")])
    assert not re.search(r"\d", finding.message + finding.remedy)


def test_a_finding_says_what_and_the_way_out() -> None:
    for _, finding in ((steps, each) for steps, _ in ALONE for each in lint([parsed(steps)])):
        assert isinstance(finding, Finding)
        assert finding.message
        assert finding.remedy
