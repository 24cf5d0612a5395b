"""docs/failure.md: every arrow between a run's states is walked on a real stack, and no other is."""

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Installation, until
from dlq_support import OtherSide, dlq, held, letters

from headrace.cancelling import cancel_automation, cancel_runs
from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings
from headrace.storage import RunFilter, Storage
from headrace.switching import Asked, Switch, switch

pytestmark = pytest.mark.integration

APP = "states"
MORE = {"cut": 1, "held": 1, "often": 2, "often-held": 1}
"""Runs of a way beside its first."""

PAGE = (Path(__file__).parents[2] / "docs/failure.md").read_text()
FINAL = {"success", "stopped", "error", "timed_out", "cancelled"}

SHORTER = """
from headrace.streams import concurrent

concurrent.HAND_OVER_AFTER_S = 2.0
"""
"""Python imports this at a service's start: who holds a partition back is asked to leave after 2 s, not after 60."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With tiers that are long enough to do something to a run that waits there."""
    return settings.model_copy(update={"retry_tiers": "6s,15s"})


@pytest.fixture
def side() -> Generator[OtherSide]:
    with OtherSide() as side:
        side.away |= {"/dies", "/retry-held", "/retry-cancelled"}
        yield side


@pytest.fixture
def installation(
    topics: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start_services: Callable[[Settings, Sequence[str]], Supervisor],
) -> Installation:
    (tmp_path / "sitecustomize.py").write_text(SHORTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Installation(topics, start_services(topics, tuple(READS)))


Steps = Sequence[dict[str, Any]]


def automations(url: str) -> list[dict[str, Any]]:
    """One for each way; each is started by the event of its name."""
    row = {"id": "row", "use": "row.create", "with": {"table": "rows", "row": {"a": 1}}}

    def post(name: str) -> dict[str, Any]:
        called = {"url": f"{url}/{name}", "method": "POST"}
        return {"id": "call", "use": "http.request", "retry": {"attempts": 1}, "on_error": "retry", "with": called}

    def delay(time: str) -> dict[str, Any]:
        return {"id": "delay", "delay": {"for": time}}

    wait = {"id": "wait", "wait_for_event": {"type": "come", "key": "{{ trigger.data.for }}", "timeout": "1h"}}
    fails = {"id": "fails", "collect": "{{ 1 / 0 }}"}
    holds_back = [row, *({"id": f"d{n}", "delay": {"for": "2s"}} for n in range(4))]
    ways: Mapping[str, Steps] = {
        "well": [row],
        "stops": [row, {"id": "stop", "stop": {"status": "stopped"}}, row | {"id": "more"}],
        "fails": [fails],
        "late": [row, delay("3s")],
        "cut": [row, delay("4s"), row | {"id": "more"}],
        "sleeps": [row, delay("6s"), row | {"id": "more"}],
        "sleeps-held": [row, delay("15s"), row | {"id": "more"}],
        "sleeps-cancelled": [row, delay("10m")],
        "listens": [wait, row],
        "listens-cancelled": [wait, row],
        "held": [row],
        "dies": [row, post("dies")],
        "retry-held": [row, post("retry-held")],
        "retry-cancelled": [row, post("retry-cancelled")],
        "often": [row],
        "often-held": [row],
        "holds-back": [*holds_back, row | {"id": "more"}],
        "holds-back-held": holds_back,
        "holds-back-cancelled": holds_back,
    }
    found = [
        {"name": name, "app": APP, "trigger": {"type": "event", "event": name}, "steps": [*steps]}
        for name, steps in ways.items()
    ]
    # All but the first wait in the tier of 15 s.
    rate = {"rate": {"key": "all", "limit": 1, "per": "17s"}}
    more: Mapping[str, dict[str, Any]] = {"late": {"timeout": "1s"}, "often": rate, "often-held": rate}
    return [{**each, **more.get(str(each["name"]), {})} for each in found]


def arrows_of_the_page() -> set[tuple[str, str]]:
    table = PAGE.split("| from | to | when |\n|---|---|---|\n")[1].split("\n\n")[0]
    found = [tuple(part.strip() for part in line.split("|")[1:3]) for line in table.splitlines()]
    assert len(found) == len(set(found)) > 20
    return {(start, end) for start, end in found}


def state(record: Mapping[str, Any]) -> str:
    at_rest = record["status"] in ("waiting", "retrying")
    return f"{record['status']} ({record['next']['what']})" if at_rest else str(record["status"])


def walked(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The arrows between a run's records: who comes to rest anew or to an end was under way before, unless it has only
    been held or cancelled."""
    found: list[tuple[str, str]] = []
    at, generation = "queued", 0
    for record in records:
        if record["generation"] > generation:
            found.append((at, "queued"))
            at, generation = "queued", record["generation"]
        now = state(record)
        had_begun = at == "queued" and record["steps"]
        if now in ("waiting (pause)", "waiting (rate)") or (now == "cancelled" and not had_begun):
            found.append((at, now))
        else:
            found += [(at, "under way"), ("under way", now)]
        at = now
    return found


def records_of(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """All records of each run, as they stand on the topic, by run id."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for value in installation.read(f"{installation.settings.prefix}.runs"):
        record = orjson.loads(value)
        found[record["run_id"]].append(record)
    return {id: sorted(each, key=lambda one: (one["generation"], one["sequence"])) for id, each in found.items()}


class Ways:
    """What is done to the runs on their way."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def switched(self, name: str, which: Switch) -> None:
        asked = Asked(which, "ann", "a test")
        settings = self.installation.settings
        self.installation.ask(lambda storage: switch(settings, storage, f"{APP}/{name}", asked))

    def runs(self, name: str) -> list[Any]:
        return self.installation.ask(lambda storage: storage.runs.find(RunFilter(APP, name)))

    def at_rest(self, name: str, what: str) -> list[Any]:
        """The automation's runs of which this is next."""
        found = [self.installation.ask(lambda storage, id=run["_id"]: storage.runs.get(id)) for run in self.runs(name)]
        return [run for run in found if run and run.get("next", {}).get("what") == what]

    def await_state(self, name: str, wanted: str, attempt: int = 1) -> list[Any]:
        """The automation's runs once all of them are in the state."""

        def are_there() -> bool:
            found = [
                self.installation.ask(lambda storage, id=run["_id"]: storage.runs.get(id)) for run in self.runs(name)
            ]
            return bool(found) and all(run and state(run) == wanted and run["attempt"] >= attempt for run in found)

        until(are_there, f"{name} to be {wanted}")
        return self.runs(name)

    def cancelled(self, runs: Sequence[Any]) -> None:
        async def ask(storage: Storage) -> int:
            found = [await storage.runs.get(run["_id"]) or {} for run in runs]
            return await cancel_runs(self.installation.settings, found, "ann", "a test")

        assert self.installation.ask(ask) == len(runs)

    def all_cancelled(self, name: str) -> None:
        settings = self.installation.settings
        self.installation.ask(lambda storage: cancel_automation(settings, storage, APP, name, "ann", "a test"))


def test_every_arrow_of_the_page_is_walked_and_no_other(installation: Installation, side: OtherSide) -> None:
    ways = Ways(installation)
    documents = automations(side.url)
    installation.apply(*documents)
    ways.switched("held", "pause")
    with installation.publisher(APP) as publisher:
        for document in documents:
            name = document["name"]
            if name != "holds-back-held":  # of a partition one at a time holds it back
                publisher.event(name, {"for": name}, key=name)
            for _ in range(MORE.get(name, 0)):
                publisher.event(name, {"for": name}, key=name)

    until(lambda: installation.ask(lambda storage: storage.rows.count(APP, "rows")) >= 12, "the first rows")
    ways.all_cancelled("cut")
    until(lambda: bool(ways.at_rest("holds-back-cancelled", "hand_over")), "the first hand-over")
    ways.cancelled(ways.runs("holds-back-cancelled"))
    with installation.publisher(APP) as publisher:
        publisher.event("holds-back-held", {"for": "nothing"}, key="holds-back-held")
    until(lambda: bool(ways.at_rest("holds-back-held", "hand_over")), "another one")
    ways.switched("holds-back-held", "pause")
    ways.await_state("sleeps-held", "waiting (timer)")
    ways.switched("sleeps-held", "pause")
    until(lambda: len(ways.at_rest("often", "rate")) == 2, "those over their rate")
    ways.cancelled(sorted(ways.at_rest("often", "rate"), key=lambda run: run["next"]["due"])[1:])
    until(lambda: len(ways.at_rest("often-held", "rate")) == 1, "the one over its rate")
    ways.switched("often-held", "pause")
    for name, wanted in (("sleeps-cancelled", "waiting (timer)"), ("listens-cancelled", "waiting (event)")):
        ways.cancelled(ways.await_state(name, wanted))
    with installation.publisher(APP) as publisher:
        publisher.event("come", {"a": 1}, key="listens")
    ways.cancelled(ways.await_state("held", "waiting (pause)")[:1])
    ways.switched("held", "resume")
    ways.await_state("retry-held", "retrying (retry)", attempt=2)
    ways.switched("retry-held", "pause")
    ways.cancelled(ways.await_state("retry-cancelled", "retrying (retry)", attempt=2))
    until(lambda: held(installation) == 3, "what comes to its time while its automation is paused")
    ways.switched("sleeps-held", "resume")
    ways.switched("often-held", "resume")
    ways.await_state("holds-back-held", "waiting (pause)")
    ways.switched("holds-back-held", "resume")
    ways.await_state("retry-held", "waiting (pause)", attempt=3)
    side.away.clear()
    ways.switched("retry-held", "resume")
    ways.await_state("dies", "dead_lettered", attempt=3)
    (letter,) = letters(installation)
    assert dlq(installation, "redrive", letter["letter"])["redriven"] == 1

    def have_ended() -> bool:
        return all(each[-1]["status"] in FINAL for each in records_of(installation).values())

    until(have_ended, "the end of all runs")
    found = records_of(installation)
    assert len(found) == len(documents) + sum(MORE.values())
    assert len(installation.dead_letters()) == 1, "who was cancelled before it had a journal leaves no letter"
    arrows = {arrow for records in found.values() for arrow in walked(records)}
    assert arrows == arrows_of_the_page()
