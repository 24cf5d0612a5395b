"""The topics an installation declares."""

import pytest

from headrace.installation import topic_specs, topics
from headrace.settings import load_settings

pytestmark = pytest.mark.unit


def test_every_topic_is_named_by_the_prefix_and_keeps_log_append_time() -> None:
    specs = topic_specs(load_settings(prefix="mine", partitions=3))
    assert [spec.name for spec in specs] == [topic.full_name("mine") for topic in topics(load_settings())]
    assert all(spec.name.startswith("mine.") for spec in specs)
    counts = {spec.name: spec.partitions for spec in specs}
    assert counts.pop("mine.shards") == 1  # all of an installation's rows are in one database
    assert set(counts.values()) == {3}
    assert {spec.config["message.timestamp.type"] for spec in specs} == {"LogAppendTime"}


def test_a_compacted_topic_has_no_retention_and_the_others_the_setting() -> None:
    for topic, spec in zip(topics(load_settings()), topic_specs(load_settings(retention_days=2)), strict=True):
        if topic.cleanup == "compact":
            assert "retention.ms" not in spec.config
        else:
            assert int(spec.config["retention.ms"]) == (topic.retention_ms or 2 * 86_400_000)
