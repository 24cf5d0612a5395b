"""Runs that are taken up again by their id, over HTTP."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest
from conftest import Installation, until
from dlq_support import OtherSide, audit
from gateway_support import APP, Client, client_of, key_of

from headrace.embedded import Supervisor
from headrace.installation import READS, topic_specs
from headrace.settings import Settings
from headrace.streams.admin import make_topics

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]
ROOT = f"/api/v1/apps/{APP}"
NOTE = {"id": "note", "use": "row.create", "with": {"table": "notes", "row": {"order": "{{ trigger.data.id }}"}}}


def automation(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "app": APP, "trigger": {"type": "event", "event": name}, "steps": [*steps]}


@pytest.fixture
def side() -> Generator[OtherSide]:
    with OtherSide() as side:
        yield side


@pytest.fixture
def gateway(settings: Settings, start_services: Start) -> Installation:
    # What fails in a way that may pass is a dead letter after one tier.
    settings = settings.model_copy(update={"allow_private_hosts": True, "retry_tiers": "1s"})
    make_topics(settings.kafka, topic_specs(settings))
    return Installation(settings, start_services(settings, (*READS, "gateway")))


def retry(client: Client, run: Any, **how: str) -> Any:
    return client.post(f"{ROOT}/runs/{run['_id']}/retry", how)


def ended(installation: Installation, generation: int) -> Any:
    """The one run, at the end of this generation."""
    until(lambda: [each["generation"] for each in installation.runs(APP)] == [generation], f"generation {generation}")
    (run,) = installation.runs(APP)
    return run


def test_a_run_that_ended_is_begun_anew_by_its_id(gateway: Installation) -> None:
    operator = client_of(gateway, key_of(gateway, "operator"))
    viewer = client_of(gateway, key_of(gateway, "viewer"))
    gateway.apply(automation("order", NOTE, {"id": "out", "collect": "{{ 1 // trigger.data.n }}"}))
    with gateway.publisher(APP) as publisher:
        publisher.event("order", {"id": 7, "n": 0})
    (run,) = gateway.runs(APP)
    assert (run["status"], run["generation"]) == ("error", 0)
    assert retry(viewer, run).problem == "forbidden"
    assert operator.post("/api/v1/apps/bank/runs/x/retry", {}).problem == "forbidden"
    answer = retry(operator, run)
    assert (answer.status, answer.problem) == (409, "not_retried")
    assert "restart" in answer.json["detail"]
    # With the version that it had it fails again, with the live one it does not.
    answer = retry(operator, run, mode="restart")
    assert (answer.status, answer.json["generation"]) == (202, 1)
    assert answer.json["url"] == answer.headers["location"] == f"{ROOT}/runs/{run['_id']}"
    assert ended(gateway, 1)["status"] == "error"
    gateway.apply(automation("order", NOTE, {"id": "out", "collect": "mended"}))
    assert retry(operator, run, mode="restart", version="latest").json["generation"] == 2
    again = ended(gateway, 2)
    assert (again["status"], again["collected"], again["version"]) == ("success", "mended", 2)
    assert [each["status"] for each in again["history"]] == ["error", "error"]
    # Begun anew: the row is another each time.
    notes = client_of(gateway, key_of(gateway, "viewer")).get(f"{ROOT}/tables/notes/rows").json["rows"]
    assert len(notes) == 3
    assert retry(operator, {"_id": "none"}, mode="restart").status == 404
    assert [each["action"] for each in audit(gateway)].count("retry") == 2


def test_a_dead_letters_run_goes_on_where_it_failed_by_its_id(gateway: Installation, side: OtherSide) -> None:
    operator = client_of(gateway, key_of(gateway, "operator"))
    call = {"id": "ask", "use": "http.request", "with": {"url": f"{side.url}/ask", "method": "POST"}}
    step = {**call, "retry": {"attempts": 1}, "on_error": "retry"}
    gateway.apply(automation("order", NOTE, step, {"id": "out", "collect": "done"}))
    side.away = {"/ask"}
    with gateway.publisher(APP) as publisher:
        publisher.event("order", {"id": 7})
    until(lambda: [each["status"] for each in gateway.runs(APP)] == ["dead_lettered"], "the dead letter")
    (run,) = gateway.runs(APP)
    side.away = set()
    answer = retry(operator, run)
    assert (answer.status, answer.json["generation"]) == (202, 1)
    again = ended(gateway, 1)
    assert (again["status"], again["collected"]) == ("success", "done")
    assert len(client_of(gateway, key_of(gateway, "viewer")).get(f"{ROOT}/tables/notes/rows").json["rows"]) == 1
    # The letter is redriven, as by its own name; the run has ended well, and can only be begun anew.
    viewer = client_of(gateway, key_of(gateway, "viewer"))
    assert viewer.get(f"{ROOT}/dead-letters").json["letters"] == []
    assert retry(operator, run).problem == "not_retried"
