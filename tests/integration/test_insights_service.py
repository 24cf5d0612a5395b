"""Insights on a real Kafka: every run counts once, though it is killed; crons that keep failing are stopped."""

import random
import sys
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from conftest import DEADLINE_S, Installation, until

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.runs import RunStatus
from headrace.contracts.topics import AUTOMATIONS, DEAD_LETTERS, STATS
from headrace.embedded import Supervisor
from headrace.installation import SERVICES, topic_specs
from headrace.settings import Settings
from headrace.streams import Outcome, Record
from headrace.streams.admin import make_topics
from services.orchestrator.stats import Summary, tally

pytestmark = pytest.mark.integration

APP = "airport"
Start = Callable[[Settings, Sequence[str]], Supervisor]


class Plan:
    """As much of a plan as is counted."""

    def __init__(self, name: str, trigger: dict[str, object] | None = None) -> None:
        steps = [{"id": "s", "use": "log", "with": {"text": "t"}}]
        document = {"app": APP, "name": name, "trigger": trigger or {"type": "event", "event": "e"}, "steps": steps}
        self.automation = parse_automation(document)
        self.version = 1


class Runs:
    """Runs that end, in transactions as the orchestrator makes them, and what counting them must come to."""

    def __init__(self, settings: Settings) -> None:
        self._summary = Summary(settings)
        self._producer = Producer(
            {**settings.kafka, "transactional.id": f"{settings.prefix}-runs", "partitioner": "murmur2_random"}
        )
        self._producer.init_transactions(DEADLINE_S)
        self._plans: dict[str, Any] = {}
        self.wanted: dict[str, dict[str, int]] = {}

    def end(self, runs: Sequence[tuple[str, RunStatus]], *, is_aborted: bool = False) -> None:
        """One transaction of runs, (automation, status)."""
        made = [self._outcome(name, status) for name, status in runs]
        self._producer.begin_transaction()
        for each in self._summary(made):
            self._producer.produce(each.topic, each.value, each.key)
        if is_aborted:
            assert self._producer.flush(DEADLINE_S) == 0
            self._producer.abort_transaction()
            return
        self._producer.commit_transaction()
        for name, status in runs:
            counts = self.wanted.setdefault(f"{APP}/{name}", {})
            counts[status] = counts.get(status, 0) + 1

    def _outcome(self, name: str, status: RunStatus) -> Outcome:
        plan = self._plans.setdefault(name, Plan(name))
        record: Any = {"status": status, "duration_ms": random.lognormvariate(0, 1)}
        return Outcome(Record("jobs", 0, 0, 0, None, None, ()), 1, (), tally(plan, record))


def _some(count: int) -> list[tuple[str, RunStatus]]:
    statuses: list[RunStatus] = ["success", "success", "error", "timed_out", "stopped"]
    return [(f"desk-{random.randrange(5)}", random.choice(statuses)) for _ in range(count)]


def _answers(installation: Installation, query: str = "span=24h") -> list[dict[str, Any]]:
    """What all living processes answer, together."""
    found: list[dict[str, Any]] = []
    for name in {each.name for each in installation.services.processes if each.name.startswith("insights")}:
        try:
            found += orjson.loads(installation.get(name, f"/insights?{query}"))
        except OSError:
            return []  # it has been killed, and another starts
    return found


def _totals(installation: Installation) -> dict[str, dict[str, int]]:
    return {each["automation"]: each["total"] for each in _answers(installation)}


def _kill(installation: Installation, slot: int = 0) -> None:
    process = installation.process(f"insights-{slot}").stats()
    process.kill()
    process.wait(DEADLINE_S)


def test_every_run_counts_once_though_insights_is_killed_and_transactions_abort(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, ["insights"]))
    runs = Runs(topics)
    for round in range(5):
        for number in range(60):
            runs.end(_some(10), is_aborted=number % 7 == 3)
            if number == 30:
                _kill(installation)
                installation.services.start_service("insights")
        if round % 2:
            # Killed while it has rows of this round, whether committed or not.
            until(lambda: bool(_totals(installation)), "insights to count")
            _kill(installation)
            installation.services.start_service("insights")
    until(lambda: _totals(installation) == runs.wanted, "every run to count")
    assert {each["automation"]: each["ended"] for each in _answers(installation)} == runs.wanted


def test_counts_are_the_same_after_a_restart_in_order(topics: Settings, start_services: Start) -> None:
    installation = Installation(topics, start_services(topics, ["insights"]))
    runs = Runs(topics)
    for _ in range(50):
        runs.end(_some(10))
    until(lambda: _totals(installation) == runs.wanted, "every run to count")
    before = sorted(_answers(installation), key=lambda each: each["automation"])
    running = installation.process("insights-0").stats()
    running.terminate()
    running.wait(DEADLINE_S)
    installation.services.start_service("insights")
    until(lambda: _totals(installation) == runs.wanted, "the rows to be there again")
    assert sorted(_answers(installation), key=lambda each: each["automation"]) == before
    counted = 'headrace_insights_deltas_total{outcome="counted"}'
    assert f"{counted} 0.0" in installation.get("insights-0", "/metrics")


def test_two_processes_share_the_automations_and_when_one_dies_the_other_has_them_all(
    topics: Settings, start_services: Start
) -> None:
    services = start_services(topics, ["insights"])
    installation = Installation(topics, services)
    runs = Runs(topics)
    runs.end(_some(100))
    until(lambda: _totals(installation) == runs.wanted, "every run to count")
    services.start_service("insights", 1)
    services.wait_ready()
    until(lambda: _shares(installation) == [1, 1], "each to have a partition")
    for _ in range(20):
        runs.end(_some(10))
    until(lambda: _totals(installation) == runs.wanted, "both to count")
    assert len(_answers(installation)) == len(runs.wanted)
    _kill(installation, 1)
    for _ in range(20):
        runs.end(_some(10))
    until(lambda: _alone(installation) == runs.wanted, "the other to count all")


def _shares(installation: Installation) -> list[int]:
    lag = "headrace_assigned_partitions "
    texts = [installation.get(f"insights-{slot}", "/metrics") for slot in (0, 1)]
    return [int(float(line.rpartition(" ")[2])) for text in texts for line in text.splitlines() if line.startswith(lag)]


def _alone(installation: Installation) -> dict[str, dict[str, int]]:
    found = orjson.loads(installation.get("insights-0", "/insights?span=24h"))
    return {each["automation"]: each["total"] for each in found}


def test_what_cannot_be_counted_is_a_dead_letter_and_what_follows_counts(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, ["insights"]))
    runs = Runs(topics)
    for value in (b"not json", b'{"format": 2}'):
        installation.produce("stats", value, {}, key=f"{APP}/desk-1".encode())
    runs.end([("desk-1", "success")])
    until(lambda: _totals(installation) == runs.wanted, "the run behind them to count")
    letters = [orjson.loads(each) for each in installation.read(DEAD_LETTERS.full_name(topics.prefix))]
    assert sorted(each["reason"]["type"] for each in letters) == ["bad_shape", "not_json"]
    assert {each["service"] for each in letters} == {"insights"}
    assert {each["source"]["topic"] for each in letters} == {STATS.full_name(topics.prefix)}


def test_a_topic_that_was_made_anew_is_not_taken_for_the_one_that_was_counted(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, ["insights"]))
    runs = Runs(topics)
    for _ in range(20):
        runs.end(_some(10))
    until(lambda: _totals(installation) == runs.wanted, "every run to count")
    running = installation.process("insights-0").stats()
    running.terminate()
    running.wait(DEADLINE_S)
    stats = STATS.full_name(topics.prefix)
    admin = AdminClient({**topics.kafka})
    admin.delete_topics([stats])[stats].result()
    until(lambda: stats not in admin.list_topics(timeout=DEADLINE_S).topics, "the topic to be gone")
    make_topics(topics.kafka, topic_specs(topics))
    again = installation.services.start_service("insights")
    until(lambda: "has been made anew" in again.log.read_text(), "insights to say so")
    assert "headrace topics --make" in again.log.read_text()


def test_a_wrong_question_is_told_what_is_known(topics: Settings, start_services: Start) -> None:
    services = start_services(topics, ["insights"])
    port = services.processes[0].ops_port
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/insights?span=7m")
    answer = connection.getresponse()
    assert answer.status == 400
    assert "5m, 15m, 1h, 24h" in orjson.loads(answer.read())["error"]


@pytest.mark.parametrize("part", ["agent", "fetcher", "consumer", "loop"])
def test_a_worker_that_stops_without_a_word_is_not_healthy(topics: Settings, tmp_path: Path, part: str) -> None:
    script = str(Path(__file__).with_name("silent_insights.py"))
    with Supervisor(topics, tmp_path) as services:
        process = services.start("insights-0", [sys.executable, script, part])
        services.wait_ready()
        until(lambda: _is_healthy(process.ops_port), "the worker to be healthy")
        runs = Runs(topics)

        def is_noticed() -> bool:
            runs.end([(f"desk-{number}", "success") for number in range(5)])
            return not _is_healthy(process.ops_port)

        until(is_noticed, "the silence to be noticed")


def _is_healthy(port: int) -> bool:
    """As a probe sees it: a process that has ended is not."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_what_is_counted_are_the_runs_that_are_recorded_though_the_orchestrator_is_killed(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, SERVICES))
    installation.apply(
        {
            "name": "desk",
            "app": APP,
            "trigger": {"type": "event", "event": "flight.*"},
            "steps": [{"id": "even", "filter": "{{ trigger.data.n % 2 == 0 }}"}, {"id": "out", "collect": "done"}],
        }
    )
    wanted = 900
    with installation.publisher(APP) as publisher:
        for number in range(wanted):
            publisher.submit_event("flight.landed", {"n": number}, id=str(number))
            if number % 300 == 150:
                publisher.flush()
                running = installation.process("orchestrator-0").stats()
                running.kill()
                running.wait(DEADLINE_S)
                installation.services.start_service("orchestrator")
    installation.await_quiet()
    until(lambda: sum(_totals(installation).get(f"{APP}/desk", {}).values()) >= wanted, "every run to count")
    recorded = installation.ask(lambda storage: storage.runs.outcomes())
    statuses = [status for *_, status in recorded]
    assert _totals(installation) == {f"{APP}/desk": {each: statuses.count(each) for each in set(statuses)}}
    assert len(statuses) == wanted


# Crons that keep failing.

CRON: dict[str, object] = {
    "name": "nightly",
    "app": APP,
    "trigger": {"type": "cron", "schedule": "0 3 * * *"},
    "steps": [
        {"id": "no", "when": "{{ trigger.scheduled | date('%Y') == '2013' }}", "stop": {"status": "error"}},
        {"id": "out", "collect": "done"},
    ],
}
FAILS, SUCCEEDS = "2013", "2014"


class Clock:
    """Ticks as the scheduler makes them, each a run that fails or succeeds as its year says."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._ticks = 0

    def tick(self, *years: str) -> None:
        """One after the other; returns when each run has ended and counts."""
        for year in years:
            self._ticks += 1
            headers = {"ce_specversion": "1.0", "ce_source": "clock", "ce_type": "tick", "ce_app": APP}
            tick = {"automation": "nightly", "scheduled": f"{year}-01-01T03:00:00Z"}
            headers["ce_id"] = f"tick-{self._ticks}"
            self._installation.produce("ticks", orjson.dumps(tick), headers, f"{APP}/nightly".encode())
            until(lambda: sum(_nightly(self._installation)["total"].values()) == self._ticks, "the run to count")


def _nightly(installation: Installation) -> dict[str, Any]:
    return next(iter(_answers(installation, f"automation={APP}/nightly")), {"total": {}, "failures_in_a_row": None})


def _live(installation: Installation) -> LiveAutomation:
    found = installation.ask(lambda storage: storage.automations.live(f"{APP}/nightly"))
    assert found is not None
    return found


def test_a_cron_that_fails_five_times_in_a_row_is_stopped_and_starts_anew_once_it_is_enabled(
    topics: Settings, start_services: Start
) -> None:
    installation = Installation(topics, start_services(topics, SERVICES))
    installation.apply(CRON)
    clock = Clock(installation)
    clock.tick(*[FAILS] * 4, SUCCEEDS)
    assert _nightly(installation)["failures_in_a_row"] == 0
    clock.tick(*[FAILS] * 4)
    assert _live(installation).state == "enabled"
    clock.tick(FAILS)
    stopped = _live(installation)
    assert (stopped.state, stopped.version, stopped.by) == ("stopped_error", 1, "insights")
    assert "version 1 failed 5 times in a row" in stopped.reason
    shown = installation.headrace("automations", "show", f"{APP}/nightly").stdout
    assert "stopped_error" in shown
    assert "version 1 failed 5 times in a row" in shown
    assert "stopped_error" in installation.headrace("automations", "list").stdout
    assert "headrace_automations_stopped_total 1.0" in installation.get("insights-0", "/metrics")
    published = [orjson.loads(each) for each in installation.read(AUTOMATIONS.full_name(topics.prefix))]
    assert (published[-1]["state"], published[-1]["revision"]) == ("stopped_error", stopped.revision)
    installation.apply(CRON)
    clock.tick(*[FAILS] * 4)
    assert _live(installation).state == "enabled"
    assert _nightly(installation)["failures_in_a_row"] == 4
    clock.tick(FAILS)
    assert _live(installation).state == "stopped_error"
