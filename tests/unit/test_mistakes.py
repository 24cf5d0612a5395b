"""Every kind of mistake an author can make, each with its place and in our words; and all of them at once."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from bson import encode
from bson.errors import InvalidDocument
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.automation import DocumentError, Mistake
from headrace.documents import checked, load
from headrace.engine.steps import OURS
from headrace.parsing import parse_yaml

pytestmark = pytest.mark.unit

HEAD = "name: a\napp: shop\ntrigger: {type: event, event: x}\n"
REST = "steps: [{id: a, collect: 1}]\n"
A_NAME = "expected text: 1 to 64 of a-z, 0-9, _ and -"
A_CONDITION = 'expected a condition: text such as "{{ row.total > 5 }}", true, false, or a filter object'
A_DURATION = "expected a duration such as 500ms, 30s, 10m, 2h or 1d"
AN_OBJECT = "expected an object: names with values"
KINDS = "use, branch, loop, parallel, filter, delay, wait_for_event, call, collect, stop, set"
TYPES = "row.created, row.updated, row.deleted, event, webhook, cron, manual, automation.finished, automation.failed"


def step(text: str) -> str:
    """A document whose line 5 holds one step, from column 5."""
    return f"{HEAD}steps:\n  - {text}\n"


def trigger(text: str) -> str:
    """A document whose line 3 holds the trigger, from column 10."""
    return f"name: a\napp: shop\ntrigger: {text}\n{REST}"


DOCUMENTS = [
    ("hello", "1:1: expected an automation: an object with name, app, trigger and steps"),
    ("[1]", "1:1: expected an automation: an object with name, app, trigger and steps"),
    (HEAD, "1:1: steps: must be given"),
    (f"{HEAD}steps: none", "4:1: steps: expected a list"),
    (f"{HEAD}steps: []", "4:1: steps: it must not be empty"),
    (f"{HEAD}steps: [hello]", f"4:9: steps.0: a step has exactly one kind: {KINDS}; this is no object"),
    (f"{HEAD}{REST}description: 5", "5:1: description: expected text; quote the number"),
    (f"{HEAD}{REST}description: true", "5:1: description: expected text; quote the word"),
    (f"{HEAD}{REST}priority: hihg",
     "5:1: priority: expected one of 'high', 'normal' or 'low'; did you mean `high`?"),
    (f"{HEAD}{REST}timeout: soon", f"5:1: timeout: {A_DURATION}, of at most 30d"),
    (f"{HEAD}{REST}timeout: 31d", f"5:1: timeout: {A_DURATION}, of at most 30d"),
    (f"{HEAD}{REST}ordering_key: [1]", "5:1: ordering_key: expected text"),
    (f"{HEAD}{REST}ordering_kye: x", "5:1: ordering_kye: unknown name; did you mean `ordering_key`?"),
    (f"{HEAD}{REST}concurrency: 5", f"5:1: concurrency: {AN_OBJECT}"),
    (f"{HEAD}{REST}concurrency: {{limit: 5}}", "5:1: concurrency.key: must be given"),
    (f"{HEAD}{REST}concurrency: {{key: x}}", "5:1: concurrency.limit: must be given"),
    (f"{HEAD}{REST}concurrency: {{key: x, limit: 0}}", "5:23: concurrency.limit: expected at least 1"),
    (f"{HEAD}{REST}concurrency: {{key: x, limit: 1001}}", "5:23: concurrency.limit: expected at most 1000"),
    (f"{HEAD}{REST}concurrency: {{key: x, limti: 1, limit: 1}}",
     "5:23: concurrency.limti: unknown name; did you mean `limit`?"),
    (f'{HEAD}{REST}concurrency: {{key: "{{{{ nope }}}}", limit: 1}}', "5:15: concurrency.key: "),
    (f'{HEAD}{REST}rate: {{key: "{{{{ nope }}}}", limit: 1, per: 1s}}', "5:8: rate.key: "),
    (f"{HEAD}{REST}rate: {{key: x, limit: 1}}", "5:1: rate.per: must be given"),
    (f"{HEAD}{REST}rate: {{key: '', limit: 1, per: 1s}}", "5:8: rate.key: it must not be empty"),
    (f"{HEAD}{REST}rate: {{key: x, limit: 5, per: 1 s}}", f"5:26: rate.per: {A_DURATION}, of at most 30d"),
    (f"{HEAD}{REST}ordering_key: x\nconcurrency: {{key: y, limit: 1}}",
     "6:15: concurrency.key: another key than ordering_key; jobs are ordered and limited by one key, so write"),
    (f"{HEAD}{REST}concurrency: {{key: x, limit: 1}}\nrate: {{key: y, limit: 1, per: 1s}}",
     "6:8: rate.key: another key than concurrency.key; jobs are ordered and limited by one key"),
    (f"{HEAD}{REST}fields: {{n: text}}",
     "5:1: fields: these are the inputs of a manual trigger; this automation has another"),
    (f"{HEAD}{REST}tests: [{{expect: {{status: error}}}}]", "5:9: tests.0.name: must be given"),
    (f"{HEAD}{REST}tests: [{{name: x, expect: {{}}}}]",
     "5:19: tests.0.expect: nothing is expected, so the case always passes; name `status`, `steps`, `collected` or "
     "`error`, or say `fires: false`"),
    (f"{HEAD}{REST}tests: [{{name: x, expect: {{fire: 1}}}}]",
     "5:28: tests.0.expect.fire: unknown name; did you mean `fires`?"),
    (f"name: A b\napp: x\ntrigger: {{type: manual}}\n{REST}", f"1:1: name: {A_NAME}"),
    (f"name: 12\napp: x\ntrigger: {{type: manual}}\n{REST}", f"1:1: name: {A_NAME}; quote the number"),
    (trigger("event"), f"3:1: trigger: {AN_OBJECT}"),
    (trigger("{}"), f"3:1: trigger: a trigger has a `type`: {TYPES}"),
    (trigger("{type: row.craeted}"), "3:1: trigger: unknown trigger type 'row.craeted'; did you mean `row.created`?"),
    (trigger("{type: zzz}"), f"3:1: trigger: unknown trigger type 'zzz'; there are {TYPES}"),
    (trigger("{type: row.created}"), "3:1: trigger.table: must be given"),
    (trigger("{type: row.created, table: T}"), f"3:30: trigger.table: {A_NAME}"),
    (trigger("{type: row.updated, table: t, only_if_changed: x}"),
     "3:40: trigger.only_if_changed: expected a list"),
    (trigger("{type: manual, when: 5}"), f"3:25: trigger.when: {A_CONDITION}"),
    (trigger("{type: manual, when: 0}"), f"3:25: trigger.when: {A_CONDITION}"),
    (trigger("{type: manual, when: '{{ nope }}'}"),
     "3:25: trigger.when: unknown root 'nope' (line 1, column 4 of the template)"),
    (trigger("{type: event, event: ''}"), "3:24: trigger.event: it must not be empty"),
    (trigger("{type: cron, schedule: 0 0 30 2 *}"),
     "3:23: trigger.schedule: it never fires: no year has such a day"),
    (trigger("{type: cron, schedule: 0 25 * * *}"), "3:23: trigger.schedule: '25' is no hour: expected 0-23, *, or"),
    (trigger("{type: cron, schedule: 5}"), "3:23: trigger.schedule: expected text; quote the number"),
    (trigger("{type: cron, schedule: '@daily', timezone: Europe/Berlln}"),
     "3:43: trigger.timezone: unknown time zone; expected a name such as Europe/Berlin or UTC"),
    (trigger("{type: cron, schedule: '@daily', missed: always}"),
     "3:43: trigger.missed: expected one of 'skip', 'run_once' or 'run_all'"),
    (trigger("{type: automation.failed, automation: A B}"),
     "3:36: trigger.automation: expected the name of an automation, or * for any"),
    (trigger("{type: manual}") + "fields: {n: txet}",
     "5:10: fields.n: expected one of 'text', 'number', 'boolean', 'time', 'array', 'object' or 'any'; "
     "did you mean `text`?"),
    (trigger("{type: manual}") + "fields: {n: {type: number, default: x}}",
     "5:28: fields.n.default: expected a number, as the field's type is number"),
    (trigger("{type: manual}") + "fields: {n: {type: text, default: 5}}",
     "5:26: fields.n.default: expected text, as the field's type is text"),
    (trigger("{type: manual}") + "fields: {n: 5}",
     "5:10: fields.n: expected a type such as text, or an object with `type`, `required`, `default`, `description`"),
]  # fmt: skip
STEPS = [
    ("{collect: 1}", "5:5: steps.0.id: must be given"),
    ("{id: 1a, collect: 1}",
     "5:6: steps.0.id: expected text: a letter or _, then at most 63 letters, digits, _ and -"),
    ("{id: a}", f"5:5: steps.0: a step has exactly one kind: {KINDS}"),
    ("{id: a, use: log, filter: true}",
     f"5:5: steps.0: a step has exactly one kind: {KINDS}; this one has use and filter"),
    ("{id: a, colect: 1}", f"5:5: steps.0: a step has exactly one kind: {KINDS}; did you mean `collect`?"),
    ("{id: a, collect: 1, tiemout: 5s}", "5:25: steps.0.tiemout: unknown name; did you mean `timeout`?"),
    ("{id: a, collect: 1, on_error: ignore}",
     "5:25: steps.0.on_error: expected one of 'contain', 'stop' or 'retry'"),
    ("{id: a, collect: 1, retry: {}}",
     "5:25: steps.0.retry: only a step of the table (`use`) is tried again in place"),
    ("{id: a, use: log, with: {text: x}, retry: {attempts: 0}}", "5:48: steps.0.retry.attempts: expected at least 1"),
    ("{id: a, use: log, with: {text: x}, retry: {attempts: many}}",
     "5:48: steps.0.retry.attempts: expected a whole number"),
    ("{id: a, use: log, with: {text: x}, retry: {jitter: 2}}", "5:48: steps.0.retry.jitter: expected at most 1"),
    ("{id: a, use: 5}", "5:13: steps.0.use: expected text; quote the number"),
    ("{id: a, use: lgo}", "5:13: steps.0.use: unknown step 'lgo'; did you mean `log`?"),
    ("{id: a, use: log, with: text}", f"5:23: steps.0.with: {AN_OBJECT}"),
    ("{id: a, use: log}", "5:5: steps.0.with.text: log needs it"),
    ("{id: a, use: log, with: {txt: x}}", "5:30: steps.0.with.txt: log has no such input; did you mean `text`?"),
    ("{id: a, filter: 5}", f"5:13: steps.0.filter: {A_CONDITION}"),
    ("{id: a, filter: row.x > 5}",
     "5:13: steps.0.filter: a condition is an expression in {{ }}, true, false, or a filter object"),
    ("{id: a, filter: {al: []}}", "5:13: steps.0.filter: a filter object has one of all, any, none"),
    ("{id: a, filter: {all: [{field: x.y, op: eq, value: 1}]}}",
     "5:28: steps.0.filter.all.0: unknown root 'x' in field"),
    ("{id: a, set: {}}", "5:13: steps.0.set: it must not be empty"),
    ("{id: a, stop: now}", f"5:13: steps.0.stop: {AN_OBJECT}"),
    ("{id: a, stop: {status: failed}}",
     "5:20: steps.0.stop.status: expected one of 'success', 'stopped' or 'error'"),
    ("{id: a, branch: {name: x}}", "5:13: steps.0.branch: expected a list"),
    ("{id: a, branch: [{name: x}]}", "5:22: steps.0.branch.0: a branch has either `when` or `else: true`"),
    ("{id: a, branch: [{name: x, else: false}]}", "5:32: steps.0.branch.0.else: expected true"),
    ("{id: a, branch: [{name: x, else: true}, {name: y, when: true}]}",
     "5:5: steps.0: `else: true` marks the last branch"),
    ("{id: a, branch: [{name: x, when: true}, {name: x, else: true}]}",
     "5:46: steps.0.branch.1.name: two branches have the name 'x'; the first is at steps.0.branch.0.name (line 5)"),
    ("{id: a, parallel: [{name: '', steps: [{id: b, collect: 1}]}]}",
     "5:25: steps.0.parallel.0.name: it must not be empty"),
    ("{id: a, loop: {over: [1]}}", "5:5: steps.0.steps: must be given"),
    ("{id: a, loop: {over: 5}, steps: [{id: b, collect: 1}]}",
     "5:20: steps.0.loop.over: expected a list, or a template that gives one"),
    ("{id: a, loop: {over: [1], max: 500000}, steps: [{id: b, collect: 1}]}",
     "5:31: steps.0.loop.max: expected at most 100000"),
    ("{id: a, filter: 1}", f"5:13: steps.0.filter: {A_CONDITION}"),
    ("{id: a, when: 1.0, collect: 1}", f"5:13: steps.0.when: {A_CONDITION}"),
    ("{id: a, loop: {over: [1], break_if: 1}, steps: [{id: b, collect: 1}]}",
     f"5:31: steps.0.loop.break_if: {A_CONDITION}"),
    ("{id: a, delay: 5s}", f"5:13: steps.0.delay: {AN_OBJECT}"),
    ("{id: a, delay: {}}", "5:13: steps.0.delay: a delay has either `for` or `until`"),
    ("{id: a, delay: {for: [1]}}", f"5:21: steps.0.delay.for: {A_DURATION}, or a template that gives one"),
    ("{id: a, delay: {for: soon}}", f"5:21: steps.0.delay.for: {A_DURATION}"),
    ("{id: a, delay: {for: -5}}", "5:21: steps.0.delay.for: expected a duration of at most 30d, such as 10m"),
    ("{id: a, delay: {for: 31d}}", "5:21: steps.0.delay.for: expected a duration of at most 30d, such as 10m"),
    ("{id: a, delay: {until: 2026-02-30T10:00:00Z}}",
     "5:21: steps.0.delay.until: expected a time such as 2013-01-31T10:00:00Z, or a template"),
    ("{id: a, wait_for_event: {type: x, key: y}}", "5:13: steps.0.wait_for_event.timeout: must be given"),
    ("{id: a, call: notify}", f"5:13: steps.0.call: {AN_OBJECT}"),
    ("{id: a, call: {automation: N}}", f"5:20: steps.0.call.automation: {A_NAME}"),
    ("{id: a, call: {automation: n, wait: maybe}}", "5:35: steps.0.call.wait: expected true or false"),
    ("{id: a, use: http.request, with: {url: 'http://x', auth: {type: basc}}}",
     "5:56: steps.0.with.auth: expected one of 'basic', 'bearer', 'api_key', 'oauth2'"),
    ("{id: a, use: http.request, with: {url: 'http://x', auth: {}}}", "5:56: steps.0.with.auth: it needs a 'type'"),
    ("{id: a, use: http.request, with: {url: 'http://x', json: 1, text: x}}",
     "5:32: steps.0.with: a request has one body: `json`, `form`, `multipart` or `text`"),
    ("{id: a, use: http.request, with: {url: 'http://x', multipart: {f: {filename: x}}}}",
     "5:68: steps.0.with.multipart.f: a file has one content: `text` or `base64`"),
    ("{id: a, use: http.request, with: {url: 'http://x', multipart: {f: {filename: x, text: y, content_type: z}}}}",
     "5:94: steps.0.with.multipart.f.content_type: expected a media type such as text/csv"),
    ("{id: a, use: http.request, with: {url: 'http://x', query: 5}}", f"5:56: steps.0.with.query: {AN_OBJECT}"),
    ("{id: a, use: row.query, with: {table: t, filter: {all: [{field: x, op: eqq}]}}}",
     "5:72: steps.0.with.filter.all.0.op: unknown op: a row can be filtered by"),
    ("{id: a, use: row.get, with: {table: t, id: ''}}",
     "5:44: steps.0.with.id: expected a row's id: 1 to 256 characters, none of them control characters"),
    ("{id: a, use: email.send, with: {connection: m, to: a@b.c, text: x, from: [a@b.c, d@e.f]}}",
     "5:72: steps.0.with.from: it has 2 items; 1 are accepted"),
    ("{id: a, use: mongo.query, with: {connection: m, operation: update, collection: c, update: 5}}",
     "5:87: steps.0.with.update: expected an object of operators such as $set, or a list of stages"),
    ("{id: a, use: sql.query, with: {connection: 'a b', query: SELECT 1}}",
     "5:36: steps.0.with.connection: expected a connection's name"),
    ("{id: a, use: event.publish, with: {type: ''}}", "5:40: steps.0.with.type: it must not be empty"),
    ("{id: a, use: llm.prompt, with: {connection: m, messages: [{role: user}]}}",
     "5:63: steps.0.with.messages.0.content: must be given"),
    ("{id: a, collect: 18446744073709551616}",
     "5:13: steps.0.collect: a whole number beyond 64 bits cannot be kept exactly; quote it to have it as text"),
    ("{id: a, collect: {x: [1e999]}}",
     "5:27: steps.0.collect.x.0: a number too large to be kept, or none; quote it to have it as text"),
    ("{id: a, collect: {\"a\\0\": 1}}",
     "5:13: steps.0.collect: the name 'a\\x00' holds the character U+0000, which no stored name can"),
    ("{id: a, collect: '{{ 1 + }}'}", "5:13: steps.0.collect: `}}` cannot stand here"),
    ("{id: a, collect: '{{ }}'}", "5:13: steps.0.collect: an expression is missing before `}}`"),
    ("{id: a, collect: '{{ 1 2 }}'}", "5:13: steps.0.collect: expected an operator or `}}`, found `integer`"),
    ("{id: a, collect: '{{ (1 }}'}", "5:13: steps.0.collect: expected `)`, found `}`"),
    ("{id: a, collect: '{{ 1'}", "5:13: steps.0.collect: the template ends too early; is a `}}` missing?"),
    ("{id: a, collect: '{{ 1 +'}", "5:13: steps.0.collect: the template ends too early; is a `}}` missing?"),
    ("{id: a, collect: '{# x'}", "5:13: steps.0.collect: `{#` is opened and not closed"),
    ("{id: a, collect: '{% for x in trigger %}'}", "5:13: steps.0.collect: `{% for %}` is opened and not closed"),
    ("{id: a, collect: '{% endif %}'}", "5:13: steps.0.collect: `{% endif %}` belongs to nothing that is open here"),
    ("{id: a, collect: '{% fro x %}'}", "5:13: steps.0.collect: unknown statement `fro`"),
    ("{id: a, collect: '{{ \"x }}'}",
     "5:13: steps.0.collect: `\"` has no meaning here; a quote may be opened and not closed"),
]  # fmt: skip
TABLE = [*DOCUMENTS, *((step(text), told) for text, told in STEPS)]

PYDANTIC = re.compile(
    r"Input should|Value error|should have|Field required|Extra inputs|valid (string|integer|dictionary|number)|"
    r"unable to|Unable to|Tuple|\[type=|\[key\]|function-|list\[|dict\[|<class"
)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(DocumentError) as told:
        load(file)
    return [line.removeprefix(f"{file}:") for line in str(told.value).splitlines()]


@pytest.mark.parametrize(("text", "told"), TABLE, ids=[told for _, told in TABLE])
def test_a_mistake_is_told_with_its_place_and_in_our_words(tmp_path: Path, text: str, told: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(told)


MANY = """\
name: Many
app: shop
trigger: {type: event, event: x, when: "{{ nope }}"}
ordering_key: "{{ nope }}"
timeout: soon
steps:
  - {id: a, collect: "{{ nope }}", tiemout: 5s}
  - id: b
    branch:
      - {name: x, when: "{{ nope }}", steps: [{id: a, use: lgo}]}
      - {when: "{{ nope }}", steps: [{id: c, use: log}, {id: d}]}
  - {id: e, loop: {over: "{{ nope }}", max: 999999, break_if: "{{ nope }}"}, steps: [{id: f, collect: "{{ nope }}"}]}
  - {id: g, parallel: [{name: x, steps: [{id: a, set: {error: 1}}]}, {steps: 5}], when: 5}
  - {id: h, wait_for_event: {type: "", key: "{{ nope }}"}}
  - {id: i, use: http.request, with: {url: "{{ nope }}", text: "{{ nope }}", timeout: soon}, retry: {on: x}}
  - {id: j, filter: {all: [{field: nope.x, op: eq, value: 1}, {field: nope.y, op: eq, value: 1}]}}
  - {id: k, collect: ["{{ nope }}", {x: "{{ nope }}"}, 18446744073709551616]}
  - {id: l, colect: 1, when: "{{ nope }}"}
  - {id: m, delay: 5s, when: {all: [{field: nope.x, op: eq, value: 1}]}, timeout: soon}
tests: [{expect: {fires: false}}]
"""
PLACES = [
    "1:1: name", "3:34: trigger.when", "4:1: ordering_key", "5:1: timeout",
    "7:13: steps.0.collect", "7:36: steps.0.tiemout",
    "10:19: steps.1.branch.0.when", "10:48: steps.1.branch.0.steps.0.id", "10:55: steps.1.branch.0.steps.0.use",
    "11:9: steps.1.branch.1.name", "11:10: steps.1.branch.1.when",
    "11:38: steps.1.branch.1.steps.0.with.text", "11:57: steps.1.branch.1.steps.1",
    "12:20: steps.2.loop.over", "12:40: steps.2.loop.max", "12:53: steps.2.loop.break_if",
    "12:94: steps.2.steps.0.collect",
    "13:43: steps.3.parallel.0.steps.0.id", "13:56: steps.3.parallel.0.steps.0.set.error",
    "13:70: steps.3.parallel.1.name", "13:71: steps.3.parallel.1.steps", "13:83: steps.3.when",
    "14:13: steps.4.wait_for_event.timeout", "14:30: steps.4.wait_for_event.type", "14:40: steps.4.wait_for_event.key",
    "15:39: steps.5.with.url", "15:58: steps.5.with.text", "15:78: steps.5.with.timeout", "15:102: steps.5.retry.on",
    "16:28: steps.6.filter.all.0", "16:63: steps.6.filter.all.1",
    "17:23: steps.7.collect.0", "17:38: steps.7.collect.1.x", "17:56: steps.7.collect.2",
    "18:5: steps.8", "18:24: steps.8.when", "19:13: steps.9.delay", "19:37: steps.9.when.all.0",
    "19:74: steps.9.timeout", "20:9: tests.0.name",
]  # fmt: skip


def test_mistakes_of_shape_hide_none_of_templates_conditions_and_inputs(tmp_path: Path) -> None:
    found = [": ".join(line.split(": ")[:2]) for line in mistakes(tmp_path, MANY)]
    assert found == PLACES


def test_a_second_id_is_told_with_the_line_of_the_first(tmp_path: Path) -> None:
    text = f"{HEAD}steps:\n  - {{id: a, collect: 1}}\n  - id: b\n    loop: {{over: [1]}}\n    steps:\n      - id: a\n"
    assert mistakes(tmp_path, f"{text}        collect: 2\n  - {{id: a, collect: 3}}\n") == [
        "9:9: steps.1.steps.0.id: two steps have the id 'a'; the first is at steps.0.id (line 5)",
        "11:6: steps.2.id: two steps have the id 'a'; the first is at steps.0.id (line 5)",
    ]


def test_what_is_compiled_besides_tells_nothing_that_the_mended_document_would_not(tmp_path: Path) -> None:
    # Left out for a mistake of their own, a kind, `with` or a place in a list would make others look mistaken.
    for text in (
        "{id: a, use: log, with: 5}",
        "{id: a, use: http.request, with: [1], timeout: x}",
        "{id: a, branch: 5}",
    ):
        paths = {line.split(": ")[1] for line in mistakes(tmp_path, step(text))}
        assert all(each in ("steps.0.with", "steps.0.timeout", "steps.0.branch") for each in paths), paths


(WHOLE,) = parse_yaml("""
name: a
app: shop
description: x
priority: low
ordering_key: "{{ row.x }}"
timeout: 5s
on_error: stop
fields: {n: text, m: {type: number, required: false, default: 1}}
trigger: {type: row.updated, table: t, when: {all: [{field: row.x, op: gt, value: 1}]}, only_if_changed: [x]}
steps:
  - id: a
    name: A
    when: "{{ true }}"
    use: http.request
    timeout: 3s
    retry: {attempts: 3, backoff: 1s, on: [timeout]}
    on_unknown: fail
    with: {url: "http://x/", method: POST, query: {a: [1]}, auth: {type: basic, username: u, password: p},
           multipart: {f: [{filename: n, text: t}, x]}, expect: {status: [200], json: {path: a.b, equals: 1}}}
  - {id: b, branch: [{name: x, when: "{{ true }}", steps: [{id: c, filter: true}]}, {name: y, else: true}]}
  - {id: d, loop: {over: [1], max: 5, option: array, failure: "{{ item }}", keep: 1}, steps: [{id: e, set: {x: 1}}]}
  - {id: f, parallel: [{name: x, steps: [{id: g, stop: {status: error, message: m}}]}]}
  - {id: h, delay: {for: 5s}}
  - {id: i, wait_for_event: {type: t, key: k, match: {any: []}, timeout: 5s}}
  - {id: j, call: {automation: n, fields: {a: 1}, wait: true}}
  - {id: k, use: email.send, with: {connection: m, to: [a@b.c], text: x, attachments: [{name: n, text: t}]}}
  - {id: l, use: row.query, with: {table: t, filter: {all: [{field: x, op: eq, value: 1}]}, sort: [{column: x}]}}
  - {id: m, use: mongo.query, with: {connection: m, operation: find, collection: c, filter: {a: 1}, sort: {a: 1}}}
tests: [{name: x, event: {row: {}}, stubs: {a: {status: 1}}, expect: {status: success, steps: {a: {status: x}}}}]
""")
INSIDE = {
    use: re.findall(r'"(\w+)":\{', orjson.dumps(each.inputs.model_json_schema()).decode()) for use, each in OURS.items()
}
"""Names that are known somewhere in a step's inputs, and others."""
VALUES = st.sampled_from(
    [None, True, False, 0, -1, 5, 1 << 64, 1.5, float("inf"), "", "x", "{{ nope }}", "{{ 1 +", "\ud800", "\0", [], [1],
     [None], ["x"], {}, {"x": 1}, {"type": "x"}, {"type": "basic"}, {"id": "a"}, {"all": [{}]}, "5s", b"x", "{}",
     "http://x/", "a@b.c"]
).map(copy.deepcopy)  # fmt: skip
NAMES = st.sampled_from(["id", "use", "with", "steps", "when", "type", "nope", "", "\0", "branch", "loop", "trigger"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for name, each in items for found in places(each, (*path, name)))]


@given(st.data())
def test_however_a_document_is_broken_its_mistakes_have_paths_and_are_in_our_words(data: st.DataObject) -> None:
    document: Any = copy.deepcopy(WHOLE.value)
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from(places(document)[1:]))
        holder = document
        for part in above:
            holder = holder[part]
        what = data.draw(st.sampled_from(["replace", "remove", "add", "rename"]))
        if what == "replace":
            holder[last] = data.draw(VALUES)
        elif what == "remove":
            del holder[last]
        elif isinstance(holder, dict):
            holder[data.draw(NAMES)] = data.draw(VALUES) if what == "add" else holder.pop(last)
        if not places(document)[1:]:
            break
    before = copy.deepcopy(document)
    assert [str(each) for each in refused(document) if PYDANTIC.search(str(each))] == []
    assert document == before


def refused(document: object) -> Sequence[Mistake]:
    try:
        checked(document)
    except DocumentError as error:
        return error.mistakes
    return ()


INPUTS = [(use, field.alias or name) for use, each in OURS.items() for name, field in each.inputs.model_fields.items()]


@given(st.sampled_from(INPUTS), st.data())
def test_no_value_of_an_input_stops_the_command_or_is_refused_in_words_of_pydantic(
    one: tuple[str, str], data: st.DataObject
) -> None:
    use, name = one
    inside = st.dictionaries(st.sampled_from([*INSIDE[use], "x"]), VALUES, max_size=3)
    values = {name: data.draw(VALUES | inside | st.lists(VALUES | inside, max_size=2))}
    for other in (other for of, other in INPUTS if of == use and other != name):
        if data.draw(st.booleans()):
            values[other] = data.draw(VALUES)
    document = {**cast(dict[str, Any], WHOLE.value), "steps": [{"id": "a", "use": use, "with": values}], "fields": {}}
    assert [str(each) for each in refused(document) if PYDANTIC.search(str(each))] == []


TEXTS = st.text(st.characters(exclude_categories=[], exclude_characters="{"), max_size=5)
"""Halves of surrogate pairs and U+0000 among them, no templates."""
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 66), 1 << 66)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(ANYTHING)
def test_all_that_mongodb_can_hold_is_accepted_and_what_it_cannot_is_told_by_path(value: Any) -> None:
    document = {"name": "a", "app": "b", "trigger": {"type": "manual"}, "steps": [{"id": "a", "collect": value}]}
    try:
        encode({"value": value})
        is_storable = True
    except (OverflowError, InvalidDocument, UnicodeEncodeError):
        is_storable = False
    found = refused(document)
    assert bool(found) is not is_storable
    assert all(each.path.startswith("steps.0.collect") for each in found)
