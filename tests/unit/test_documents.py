"""Automation files as authors write them, mistakes included: one sentence each, with its place."""

from pathlib import Path
from typing import Any

import pytest

from headrace import applying
from headrace.cli.automations import read_automations
from headrace.contracts.automation import DocumentError, parse_automation

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
    file = tmp_path / "a.yaml"
    file.write_text(text)
    return read_automations(file)


DEEP = [lists(depth) for depth in (110, 170, 400, 2_000)] + [branches(depth) for depth in (25, 60, 300)]


@pytest.mark.parametrize("text", [*DEEP, f"{HEAD}steps: [{{id: a, collect: &a [*a]}}]\n"], ids=len)
def test_a_document_that_is_nested_too_deeply_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(DocumentError, match=r"a\.yaml: .*nested"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", [lists(90), branches(20)], ids=len)
def test_what_mongodb_can_hold_is_accepted(tmp_path: Path, text: str) -> None:
    (automation,) = read(tmp_path, text)
    applying.check(automation)


def test_a_document_too_large_to_be_published_is_refused_before_anything_is_saved(tmp_path: Path) -> None:
    large = f"{HEAD}steps: [{{id: a, collect: '{'x' * (1 << 20)}'}}]\n"
    with pytest.raises(DocumentError, match=r"a\.yaml: shop/a: the document has \d+ bytes; 1048576 are accepted"):
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
    (f"{HEAD}name: b\nsteps: [{LEAF}]\n", r"line 4, column 1: 'name'"),
    (f"{HEAD}steps:\n  - id: a\n    use: log\n    with: {{text: x, text: y}}\n", r"line 7, column 21: 'text'"),
    (f"{HEAD}steps:\n  - id: a\n    collect: 1\n    collect: 2\n", r"line 7, column 5: 'collect'"),
]


@pytest.mark.parametrize(("text", "words"), TWICE)
def test_a_key_that_is_there_twice_is_named_with_its_line_and_column(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=rf"a\.yaml: {words} is there twice"):
        read(tmp_path, text)


def test_what_an_alias_brings_in_may_be_overridden(tmp_path: Path) -> None:
    bases = "{b: &b {<<: &a {x: 1, y: 1}, y: 2}}"
    text = f"{HEAD}steps:\n  - {{id: a, collect: {bases}}}\n  - {{id: b, collect: {{<<: *b, y: 3}}}}\n"
    (automation,) = read(tmp_path, text)
    assert automation.steps[1].collect == {"x": 1, "y": 3}
