"""The embedded broker's data, and the version of Kafka that they belong to."""

from pathlib import Path

import pytest

from headrace.embedded.checks import KafkaFacts, kafka_checks
from headrace.embedded.errors import StackError
from headrace.embedded.jars import KAFKA_VERSION
from headrace.embedded.kafka_storage import NODE_ID, prepare
from headrace.embedded.processes import Children

pytestmark = pytest.mark.unit


def _formatted(directory: Path, version: str | None) -> Path:
    (directory / "data").mkdir()
    (directory / "data" / "meta.properties").write_text(f"version=1\nnode.id={NODE_ID}\ncluster.id=abc\n")
    if version is not None:
        (directory / "formatted-by").write_text(version)
    return directory


@pytest.mark.parametrize("version", ["4.10.0", "5.0.0", None])
def test_data_of_a_newer_kafka_are_refused_with_the_way_out(tmp_path: Path, version: str | None) -> None:
    with pytest.raises(StackError, match="remove that directory"):
        prepare(Children(), _formatted(tmp_path, version), "java", "", tmp_path / "server.properties")


def test_data_of_this_kafka_are_taken_as_they_are(tmp_path: Path) -> None:
    prepare(Children(), _formatted(tmp_path, KAFKA_VERSION), "java", "", tmp_path / "server.properties")


@pytest.mark.parametrize(("level", "ok"), [(29, True), (30, False), (33, False), (34, True)])
def test_clusters_that_forget_markers_are_named(level: int, ok: bool) -> None:
    facts = KafkaFacts(features={"group.version": 1, "metadata.version": level})
    found = {each.name: each for each in kafka_checks("localhost:9092", facts)}
    assert found["Kafka's transaction markers"].ok is ok
