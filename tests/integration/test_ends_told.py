"""The event of a run's end on running services: told once, whatever becomes of the orchestrator; circles end."""

from collections import Counter
from typing import Any

import orjson
import pytest
from conftest import DEADLINE_S, Installation, until

pytestmark = pytest.mark.integration

APP = "shop"
EACH = 60
"""Runs of each kind: so many are under way together when their orchestrator is killed."""


def _automation(name: str, trigger: dict[str, Any], *steps: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "app": APP, "trigger": trigger, "steps": [*steps]}


def _row(id: str, table: str) -> dict[str, Any]:
    return {"id": id, "use": "row.create", "with": {"table": table, "row": {"of": "{{ trigger.data.run_id }}"}}}


LEAVES = [
    _automation("well", {"type": "event", "event": "go"}, {"id": "out", "collect": "{{ trigger.data.n }}"}),
    _automation("ill", {"type": "event", "event": "go"}, {"id": "out", "collect": "{{ 1 / 0 }}"}),
    _automation(
        "long",
        {"type": "event", "event": "go"},
        {"id": "before", "use": "row.create", "with": {"table": "long", "row": {}}},
        {"id": "pause", "delay": {"for": "1s"}},
        {"id": "after", "use": "row.create", "with": {"table": "long", "row": {}}},
    ),
    _automation(
        "given-up",
        {"type": "event", "event": "go"},
        {
            "id": "ask",
            "use": "http.request",
            # Nobody listens there.
            "with": {"url": "http://127.0.0.1:9/"},
            "retry": {"attempts": 1},
            "on_error": "retry",
        },
    ),
]
STATUSES = {"well": "success", "ill": "error", "long": "success", "given-up": "dead_lettered"}
FAILED = ("ill", "given-up")


def _ends(installation: Installation) -> list[dict[str, Any]]:
    """The bodies of all ends on the events topic."""
    bodies = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.events")]
    return [body for body in bodies if "run_id" in body]


def test_every_end_is_told_once_though_the_orchestrator_is_killed_among_its_runs(installation: Installation) -> None:
    installation.apply(
        *LEAVES,
        _automation("note", {"type": "automation.finished", "automation": "*"}, _row("note", "ends")),
        _automation("upset", {"type": "automation.failed", "automation": "*"}, {"id": "out", "collect": 1}),
    )
    with installation.publisher(APP) as publisher:
        for n in range(EACH):
            publisher.event("go", {"n": n}, key=str(n), id=f"e-{n}")
    # All have begun, and none can have ended: each still has a second to wait.
    until(lambda: installation.ask(lambda storage: storage.rows.count(APP, "long")) >= EACH, "the long runs' beginning")
    killed = installation.process("orchestrator-0").stats()
    killed.kill()
    killed.wait(DEADLINE_S)
    installation.services.start_service("orchestrator")
    told = EACH * (len(LEAVES) + len(FAILED))
    until(lambda: installation.ask(lambda storage: storage.rows.count(APP, "ends")) >= told, "the note of each end")
    runs = {run["_id"]: run for run in installation.runs(APP)}
    assert Counter(run["automation"] for run in runs.values()) == {
        **dict.fromkeys(STATUSES, EACH), "upset": EACH * len(FAILED), "note": told,
    }  # fmt: skip
    ends = _ends(installation)
    assert max(Counter(end["run_id"] for end in ends).values()) == 1
    heard = {id for id, run in runs.items() if run["automation"] != "note"}
    assert {end["run_id"] for end in ends} == heard
    for end in ends:
        run = runs[end["run_id"]]
        assert (end["automation"], end["status"]) == (run["automation"], run["status"])
        assert end["error"] == run["error"]
        assert end["collected"] == run.get("collected")
        assert end["status"] == STATUSES.get(end["automation"], "success")
    assert {letter["reason"]["type"] for letter in installation.dead_letters()} == {"connection"}
    assert 'standing="taken_over"' in installation.get("orchestrator-0", "/metrics")


def test_nothing_is_told_where_nobody_listens_and_all_is_from_the_moment_that_one_is_live(
    installation: Installation,
) -> None:
    installation.apply(LEAVES[0])
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
        assert len(installation.runs(APP)) == 1
        assert _ends(installation) == []
        installation.apply(
            _automation("after", {"type": "automation.finished", "automation": "well"}, {"id": "x", "collect": 1})
        )
        publisher.event("go", {"n": 2})
        until(lambda: len(installation.runs(APP)) == 3, "the run that hears of the end")
    assert [end["collected"] for end in _ends(installation)] == [2]


def test_a_circle_of_ends_comes_to_an_end_with_records_that_show_it(installation: Installation) -> None:
    installation.apply(
        LEAVES[0],
        _automation("ping", {"type": "automation.finished", "automation": "*"}, _row("note", "ends")),
        _automation("pong", {"type": "automation.finished", "automation": "*"}, {"id": "x", "collect": 1}),
    )
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
    most = installation.settings.max_chain

    def refused() -> list[Any]:
        return [run for run in installation.runs(APP) if run["status"] == "error"]

    until(lambda: len(refused()) >= 2, "the refusal of the circle")
    done = Counter(run["automation"] for run in installation.runs(APP) if run["status"] == "success")
    assert done == {"well": 1, "ping": most, "pong": most}
    assert {run["error"]["type"] for run in refused()} == {"chain_too_long"}
    assert all("start each other in a circle" in run["error"]["message"] for run in refused())
    assert installation.dead_letters() == []
