"""A group that was away for longer than Kafka keeps its offsets: it never chooses by itself where to go on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from conftest import DEADLINE_S, Installation, until

from headrace.embedded import StackError, Supervisor
from headrace.installation import group_name
from headrace.settings import Settings

pytestmark = pytest.mark.integration

APP = "shop"
ORDERS = {
    "name": "orders",
    "app": APP,
    "trigger": {"type": "event", "event": "order"},
    "steps": [{"id": "n", "collect": "{{ trigger.data.n }}"}],
}


def publish(installation: Installation, number: int) -> None:
    with installation.publisher(APP) as publisher:
        # Under one key: a partition that never had a record has no offset to lose, and is read from its beginning.
        publisher.event("order", {"n": number}, key="k", id=f"e-{number}")


def has_ended(services: Supervisor) -> bool:
    try:
        services.check()
    except StackError:
        return True
    return False


@pytest.mark.parametrize(("to", "seen"), [("--to-earliest", {0, 1, 2}), ("--to-latest", {0, 2})])
def test_a_service_whose_offsets_are_gone_stops_and_names_two_commands_of_which_each_does_what_it_says(
    to: str,
    seen: set[int],
    topics: Settings,
    start_services: Callable[[Settings, Sequence[str]], Supervisor],
    tmp_path: Path,
) -> None:
    installation = Installation(topics, start_services(topics, ("orchestrator", "recorder")))
    matcher = start_services(topics, ("trigger_matcher",))
    installation.apply(ORDERS)
    publish(installation, 0)
    assert len(installation.runs(APP)) == 1
    matcher.stop()
    group = group_name(topics, "trigger_matcher")
    # Of a group whose offsets have expired nothing is left.
    admin = AdminClient({**topics.kafka})
    admin.delete_consumer_groups([group])[group].result(DEADLINE_S)
    publish(installation, 1)
    with Supervisor(topics, tmp_path / "lost") as services:
        log = services.start_service("trigger_matcher").log
        until(lambda: has_ended(services), "the matcher to stop")
    told = log.read_text()
    assert f"headrace groups reset {group} --to-earliest" in told
    assert f"headrace groups reset {group} --to-latest" in told
    assert "Traceback" not in told
    assert len(installation.ask(lambda storage: storage.runs.outcomes())) == 1
    done = installation.headrace("groups", "reset", group, to)
    assert done.returncode == 0, done.stderr
    start_services(topics, ("trigger_matcher",))
    publish(installation, 2)
    assert {run["collected"] for run in installation.runs(APP)} == seen


def test_the_offsets_of_a_group_whose_services_run_are_not_set(
    topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]
) -> None:
    installation = Installation(topics, start_services(topics, ("trigger_matcher", "orchestrator", "recorder")))
    installation.apply(ORDERS)
    publish(installation, 0)
    assert len(installation.runs(APP)) == 1
    group = group_name(topics, "recorder")
    refused = installation.headrace("groups", "reset", group, "--to-earliest")
    assert refused.returncode == 1, refused.stdout
    assert "are its services stopped?" in refused.stderr
    assert "Traceback" not in refused.stderr
