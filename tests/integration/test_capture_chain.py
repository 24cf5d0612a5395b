"""Automations that lead to each other through rows: the chain travels with the row's change."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from capture_support import await_records, event_of, foreign, records
from conftest import Installation, until

from headrace.embedded import Supervisor
from headrace.installation import READS, group_name
from headrace.settings import Settings
from headrace.storage import RunFilter
from headrace.streams.admin import group_lag

pytestmark = pytest.mark.integration

APP = "desk"


@pytest.fixture
def installation(topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]) -> Installation:
    """All services, the capture among them."""
    return Installation(topics, start_services(topics, (*READS, "change_capture")))


def _automation(name: str, trigger: dict[str, Any], *steps: dict[str, Any]) -> dict[str, object]:
    return {"name": name, "app": APP, "trigger": trigger, "steps": [*steps]}


def _refused(installation: Installation) -> list[Any]:
    found = installation.ask(lambda storage: storage.runs.find(RunFilter(APP, limit=1000)))
    runs = [installation.ask(lambda storage, id=run["_id"]: storage.runs.get(id)) for run in found]
    return [run for run in runs if run is not None and (run.get("error") or {}).get("type") == "chain_too_long"]


def _quiet(installation: Installation) -> None:
    settings = installation.settings
    topics = [f"{settings.prefix}.rows"]
    until(lambda: group_lag(settings.kafka, group_name(settings, "trigger_matcher"), topics) == 0, "lag 0")
    installation.await_quiet()


def test_a_cycle_of_created_and_deleted_rows_ends_with_a_run_that_shows_the_chain(installation: Installation) -> None:
    """Creations and deletions alternate, so that a chain lost by either would make it endless."""
    installation.apply(
        _automation(
            "ping",
            {"type": "row.created", "table": "balls"},
            {"id": "gone", "use": "row.delete", "with": {"table": "balls", "id": "{{ trigger.id }}"}},
        ),
        _automation(
            "pong",
            {"type": "row.deleted", "table": "balls"},
            {"id": "back", "use": "row.create", "with": {"table": "balls", "row": {"n": 1}}},
        ),
    )
    with foreign(installation.settings) as database:
        database[f"{APP}.balls"].insert_one({"_id": "first"})
    until(lambda: len(_refused(installation)) == 1, "a refused run")
    _quiet(installation)
    (refused,) = _refused(installation)
    assert refused["automation"] == "ping"
    assert "desk/ping → desk/pong → desk/ping" in refused["error"]["message"]
    found = [event_of(record) for record in records(installation.settings)]
    chains = sorted((event.chain for event, _ in found), key=len)
    assert [len(chain) for chain in chains] == [*range(installation.settings.max_chain + 2)]
    assert chains[-1] == ("desk/ping", "desk/pong") * 3


def test_a_later_edit_by_somebody_else_is_not_the_automations(installation: Installation) -> None:
    settings = installation.settings
    installation.apply(
        _automation(
            "mark",
            {"type": "row.created", "table": "tickets"},
            {
                "id": "seen",
                "use": "row.update",
                "with": {"table": "tickets", "id": "{{ trigger.id }}", "row": {"seen": True}},
            },
            {
                "id": "same",
                "use": "row.update",
                "with": {"table": "tickets", "id": "{{ trigger.id }}", "row": {"seen": True}},
            },
        )
    )
    with foreign(settings) as database:
        tickets = database[f"{APP}.tickets"]
        tickets.insert_one({"_id": "1", "n": 1})
        await_records(settings, 2)
        stored = tickets.find_one({"_id": "1"}) or {}
        assert stored == {"_id": "1", "n": 1, "seen": True}
        tickets.replace_one({"_id": "1"}, {**stored, "n": 2})
        tickets.delete_one({"_id": "1"})
    found = [event_of(record) for record in await_records(settings, 4)]
    # The update that changed nothing is no event.
    assert [(change.op, event.chain) for event, change in found] == [
        ("c", ()),
        ("u", ("desk/mark",)),
        ("u", ()),
        ("d", ()),
    ]
