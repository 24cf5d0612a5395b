"""Automation files as authors write them, mistakes included: one sentence each, with its place."""

from pathlib import Path
from typing import Any, cast

import pytest

from headrace import applying, documents
from headrace.cli.automations import read_automations
from headrace.contracts.automation import DocumentError, parse_automation
from headrace.documents import load

pytestmark = pytest.mark.unit

HEAD = "name: a\napp: shop\ntrigger: {type: event, event: hello}\n"
LEAF = "{id: leaf, collect: 1}"


def branches(depth: int) -> str:
    steps = f"[{LEAF}]"
    for number in range(depth):
        steps = f"[{{id: b{number}, branch: [{{name: x, else: true, steps: {steps}}}]}}]"
    return f"{HEAD}steps: {steps}\n"


def lists(depth: int) -> str:
    return f"{HEAD}steps: [{{id: a, collect: {'[' * depth}{']' * depth}}}]\n"


def read(tmp_path: Path, text: str) -> Any:
    return read_automations(written(tmp_path, text))


def written(tmp_path: Path, text: str, name: str = "a.yaml") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


DEEP = [lists(depth) for depth in (110, 170, 400, 2_000)] + [branches(depth) for depth in (25, 60, 300)]


@pytest.mark.parametrize("text", [*DEEP, f"{HEAD}steps: [{{id: a, collect: &a [*a]}}]\n"], ids=len)
def test_a_document_that_is_nested_too_deeply_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError, match=r"a\.yaml:\d+:\d+: (steps\.0\.\S+: )?nested"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", [lists(90), branches(20)], ids=len)
def test_what_mongodb_can_hold_is_accepted(tmp_path: Path, text: str) -> None:
    (automation,) = read(tmp_path, text)
    documents.check(automation)


def test_a_document_too_large_to_be_published_is_refused_before_anything_is_saved(tmp_path: Path) -> None:
    large = f"{HEAD}steps: [{{id: a, collect: '{'x' * (1 << 20)}'}}]\n"
    with pytest.raises(DocumentError, match=r"a\.yaml:1:1: shop/a: the document has \d+ bytes; 1048576 are accepted"):
        read(tmp_path, large)


async def test_one_document_that_is_too_large_keeps_all_of_its_call_from_being_saved() -> None:
    trigger = {"type": "event", "event": "hello"}
    documents = [
        parse_automation({"name": n, "app": "shop", "trigger": trigger, "steps": [{"id": "x", "collect": "x" * size}]})
        for n, size in (("small", 1), ("large", 1 << 20))
    ]
    nothing: Any = None  # neither settings nor storage is reached
    with pytest.raises(DocumentError, match="shop/large"):
        await applying.apply(nothing, nothing, documents, "test")


TWICE = [
    (f"{HEAD}name: b\nsteps: [{LEAF}]\n", r"4:1: 'name'"),
    (f"{HEAD}steps:\n  - id: a\n    use: log\n    with: {{text: x, text: y}}\n", r"7:21: 'text'"),
    (f"{HEAD}steps:\n  - id: a\n    collect: 1\n    collect: 2\n", r"7:5: 'collect'"),
]


@pytest.mark.parametrize(("text", "words"), TWICE)
def test_a_key_that_is_there_twice_is_named_with_its_line_and_column(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=rf"a\.yaml:{words} is there twice"):
        read(tmp_path, text)


def test_what_an_alias_brings_in_may_be_overridden(tmp_path: Path) -> None:
    bases = "{b: &b {<<: &a {x: 1, y: 1}, y: 2}}"
    text = f"{HEAD}steps:\n  - {{id: a, collect: {bases}}}\n  - {{id: b, collect: {{<<: *b, y: 3}}}}\n"
    (automation,) = read(tmp_path, text)
    assert automation.steps[1].collect == {"x": 1, "y": 3}


BOMB = "a0: &a0 [[], [], [], [], [], [], [], [], [], []]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
LONG = f"text: &t '{'x' * 100_000}'\nmany: [{', '.join(['*t'] * 100)}]\n"
MERGED = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))


@pytest.mark.parametrize("text", [BOMB, LONG, MERGED], ids=["values", "characters", "merges"])
def test_aliases_that_stand_for_more_than_a_document_may_hold_are_refused_before_they_are_written_out(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(DocumentError, match=r"a\.yaml: \d+ values with \d+ characters, .* are accepted"):
        read(tmp_path, text)


PLACES = [
    (f"{HEAD}steps:\n  - id: a\n    use: lgo\n", "6:5: steps.0.use: unknown step 'lgo'; did you mean `log`?"),
    (f"{HEAD}steps:\n  - id: a\n    use: log\n    with: {{txt: x}}\n", "7:12: steps.0.with.txt: log has no such input"),
    (f"{HEAD}steps:\n  - id: a\n    colect: 1\n", "5:5: steps.0: a step has .*; did you mean `collect`?"),
    (f"{HEAD}steps:\n  - {{id: a, use: log, set: {{x: 1}}}}\n", "5:5: steps.0: .*; this one has use and set"),
    (f"{HEAD}steps:\n  - id: a\n    collect: '{{{{ trigr.x }}}}'\n",
     "6:5: steps.0.collect: unknown root 'trigr' .*'trigger'"),
    (f"{HEAD}steps:\n  - id: a\n    collect: '{{{{ 1 | slugfy }}}}'\n",
     "6:5: steps.0.collect: unknown filter 'slugfy' .*'slugify'"),
    (f"{HEAD}steps: [{LEAF}]\nordering_kye: x\n", "5:1: ordering_kye: unknown name; did you mean `ordering_key`?"),
    ("name: a\napp: s\nsteps: [{id: a, collect: 1}]\ntrigger:\n  type: row.craeted\n  table: x\n",
     "4:1: trigger: unknown trigger type 'row.craeted'; did you mean `row.created`?"),
    ("name: a\napp: s\nsteps: [{id: a, collect: 1}]\n", "1:1: trigger: must be given"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), PLACES, ids=[told[:24] for _, told in PLACES])
def test_a_mistake_is_told_with_file_line_and_column_and_a_misspelt_name_with_a_suggestion(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(DocumentError, match=f"^{tmp_path}/a.yaml:{told.replace('?', '[?]').replace('[?]:', '?:')}"):
        read(tmp_path, text)


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, f"{HEAD}steps: [{{id: a, use: lgo}}, {{id: b, use: lgo}}]\n")
    (tmp_path / "inside").mkdir()
    written(tmp_path / "inside", "- [", "b.yml")
    written(tmp_path, f"{HEAD}steps: [{LEAF}]\n", "good.yaml")
    with pytest.raises(DocumentError) as told:
        read_automations(tmp_path)
    lines = [line.removeprefix(f"{tmp_path}/") for line in str(told.value).splitlines()]
    assert [line.partition(": ")[0] for line in lines] == ["a.yaml:4:17", "a.yaml:4:36", "inside/b.yml:1:4"]


def test_a_json_file_means_what_json_means_and_its_mistakes_have_places(tmp_path: Path) -> None:
    trigger = '"trigger": {"type": "event", "event": "x"}'
    text = f'{{\n\t"name": "a", "app": "s", {trigger},\n' + '\t"steps": [{"id": "a", "collect": %s}]\n}'
    (automation,) = read_automations(written(tmp_path, text % '[1e5, "\\ud83d\\ude00"]', "a.json"))
    assert automation.steps[0].model_dump()["collect"] == [1e5, "\N{GRINNING FACE}"]
    with pytest.raises(DocumentError, match=r"b\.json:3:24: steps\.0\.collect: unknown root"):
        read_automations(written(tmp_path, text % '"{{ nope }}"', "b.json"))


def test_one_automation_in_two_files_is_told_with_both(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        written(tmp_path, f"{HEAD}steps: [{LEAF}]\n", name)
    with pytest.raises(DocumentError, match=r"b\.yaml:1:1: name: shop/a is there twice, also at .*a\.yaml:1"):
        read_automations(tmp_path)


def test_words_and_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    text = "name: a\napp: b\ntrigger: {type: event, event: on}\nsteps:\n" + (
        "  - {id: s, collect: [on, 012, 1:30, yes, 1.5, -3, true]}\n"
        "  - {id: t, use: http.request, with: {url: 'http://x/'}, retry: {on: [timeout]}}\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    (found,) = load(tmp_path)
    document = cast(Any, found.source.value)
    assert document["steps"][0]["collect"] == ["on", "012", "1:30", "yes", 1.5, -3, True]
    assert document["steps"][1]["retry"] == {"on": ["timeout"]}
