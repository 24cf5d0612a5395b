"""What lint finds in automations that are valid, and what it leaves alone: every rule with both."""

from pathlib import Path
from typing import ClassVar

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.contracts.automation import Automation, parse_automation
from headrace.engine.run import Run
from headrace.engine.steps import OURS
from headrace.engine.steps.base import AwaitingStep, Effect, Inputs, Outputs, Perform
from headrace.linting import RULES, Finding, lint

pytestmark = pytest.mark.unit

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


DATA = '"{{ trigger.data.x }}"'
ALONE = [
    # unknown-step
    (log("a", "steps.nope.x"), ["unknown-step steps.0.with.text"]),
    (log("a", "stepsById[\"nope\"].x ~ stepsByName.nope.x"), ["unknown-step steps.0.with.text"] * 2),
    (log("a", "trigger.x | default(steps.nope.x)"), ["unknown-step steps.0.with.text"]),
    ("{id: a, filter: {all: [{field: steps.nope.x, op: exists}]}}", ["unknown-step steps.0.filter.all.0.field"]),
    ("{id: a, filter: {any: [{field: trigger.x, op: eq, value: '{{ steps.nope }}'}]}}",
     ["unknown-step steps.0.filter.any.0.value"]),
    ("{id: a, loop: {over: '{{ steps.nope.x }}'}, steps: [{id: b, collect: 1}]}", ["unknown-step steps.0.loop.over"]),
    (f"{GET}\n{log('b', 'steps.get.status ~ steps.1.data.x ~ steps[trigger.data].x ~ steps.0.row')}", []),
    ("{id: a, name: First, collect: 1}\n" + log("b", 'steps.First.value ~ stepsByName["First"].value'), []),
    ("{id: b, use: log, with: {text: '{% set steps = trigger.data %}{{ steps.nope }}'}}", []),
    # unknown-output
    (f"{GET}\n{log('b', 'steps.get.stauts')}", ["unknown-output steps.1.with.text"]),
    ("{id: s, set: {n: 1}}\n" + log("b", "steps.s.m"), ["unknown-output steps.1.with.text"]),
    ("{id: c, call: {automation: x}}\n" + log("b", "steps.c.data"), ["unknown-output steps.1.with.text"]),
    (f"{GET}\n{log('b', 'steps.get.success ~ steps.get.error.type ~ steps.get.headers.upper()')}", []),
    ("{id: c, call: {automation: x, wait: true}}\n" + log("b", "steps.c.data"), []),
    ("{id: s, set: {n: 1}}\n" + log("b", "steps.s.n"), []),
    # not-before
    (log("a", "steps.b.text") + "\n" + log("b", "trigger.x"), ["not-before steps.0.with.text"]),
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
    ("{id: a, use: http.request, with: {url: 'https://a.b', headers: {Idempotency-Key: '{{ trigger.id }}'}}}", []),
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
    ([flow("a", MANUAL, "{id: x, when: '{{ trigger.x }}', call: {automation: a}}\n" + CALL % "a")],
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
    cases = [*(rule for _, rules in (*ALONE, *CALLS) for rule in rules), *(["cycle "] if CYCLES else [])]
    assert {case.partition(" ")[0] for case in cases} == set(RULES)
    page = (Path(__file__).parents[2] / "docs/automations.md").read_text()
    assert [id for id, rule in RULES.items() if f"| `{id}` | {rule.severity} | {rule.about} |" not in page] == []


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


def test_a_finding_says_what_and_the_way_out() -> None:
    for _, finding in ((steps, each) for steps, _ in ALONE for each in lint([parsed(steps)])):
        assert isinstance(finding, Finding)
        assert finding.message
        assert finding.remedy
