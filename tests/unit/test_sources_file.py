"""The sources file: read whole, or refused with the place and without the value; the commands that try it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.app import app
from headrace.cli.output import Failed
from headrace.settings import SettingsError, load_settings
from headrace.sources import load_sources

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "docs/sources.md"


def write(directory: Path, text: str) -> Path:
    file = directory / "sources.yaml"
    file.write_text(text)
    return file


def example(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    monkeypatch.setenv("REGISTRY_PASSWORD", "hunter2")
    # The page's authorities are of no registry: any that this Python trusts will do.
    import certifi

    (directory / "registry-ca.pem").write_text(Path(certifi.where()).read_text())
    return write(directory, text)


def test_without_a_file_there_are_no_sources() -> None:
    assert load_sources(load_settings()) is None


def test_the_example_of_the_page_is_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = example(tmp_path, monkeypatch)
    found = load_sources(load_settings(sources_file=file))
    assert found is not None
    assert found.topics[0] == r"^pg\.public\..+"
    assert [topic for topic in found.topics if found.begins_at_end(topic)] == ["legacy.clicks"]
    listed = CliRunner().invoke(app, ["sources", "check", str(file)])
    assert listed.exit_code == 0
    assert "crm.customers: avro, rows of crm" in listed.output
    assert "hunter2" not in listed.output


def test_try_prints_what_a_record_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = example(tmp_path, monkeypatch)
    tried = ["sources", "try", str(file), "--topic", "legacy.clicks"]
    told = CliRunner().invoke(app, tried, input='{"meta": {"kind": "click", "at": 0}, "session": {"id": 5}}')
    assert told.exit_code == 0
    assert '"type":"click"' in told.output.replace(" ", "")
    wrong = CliRunner().invoke(app, tried, input="{")
    assert isinstance(wrong.exception, Failed)
    assert "it would be a dead letter (not_json)" in str(wrong.exception)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no YAML"),
        ("sources: [{topic: a, app: x, format: xml}]", "sources.0: expected one of"),
        ("sources: [{topic: a, app: X!, format: debezium}]", "sources.0.app"),
        ("sources: [{topic: 'a b', app: x, format: debezium}]", "sources.0.topic: expected a topic's name"),
        ("sources: [{topic: '^(', app: x, format: debezium}]", "sources.0.topic: no regular expression"),
        ("sources: [{topic: a, app: x, format: debezium, tables: t}]", "sources.0.tables: unknown name"),
        ("sources: [{topic: a, app: x, format: json}]", "give one of `event_type` and `table`"),
        ("sources: [{topic: a, app: x, format: json, event_type: t, table: t}]", "give one of"),
        ("sources: [{topic: a, app: x, format: json, event_type: headrace.started}]", "Headrace's own"),
        ("sources: [{topic: a, app: x, format: json, event_type: t, key: 'a..b'}]", "expected a path such as order.id"),
        ("sources: [{topic: a, app: x, format: avro, table: t}]", "avro needs `registry`"),
        (
            "sources: [{topic: a, app: x, format: debezium}, {topic: a, app: y, format: cloudevents}]",
            "sources.1.topic: a is there twice",
        ),
        ("sources: [{topic: headrace.rows, app: x, format: debezium}]", "a topic of Headrace's own"),
        ("sources: [{topic: '^head.*', app: x, format: debezium}]", "a topic of Headrace's own"),
        ("{registry: {url: 'https://a:hunter2@b'}, sources: []}", "registry.url: expected a URL without credentials"),
        ("{registry: {url: 'https://b', username: ann}, sources: []}", "`username` and `password` go together"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_without_its_value(tmp_path: Path, text: str, why: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_sources(load_settings(sources_file=file))
    assert str(caught.value).startswith(f"HEADRACE_SOURCES_FILE: {file}: ")
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)
