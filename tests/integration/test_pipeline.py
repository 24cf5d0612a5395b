"""The way of an event through the running services, seen from outside."""

from base64 import b64decode
from typing import Any

import pytest
from conftest import DEADLINE_S, Installation, until

from headrace.cli.automations import read_automations
from headrace.cli.demo import EXAMPLE
from headrace.cli.flights import APP, TABLE, expected, read_flights
from headrace.contracts import limits
from headrace.installation import READS

pytestmark = pytest.mark.integration

ORDERS: dict[str, object] = {
    "name": "orders",
    "app": "shop",
    "trigger": {"type": "event", "event": "order.created", "when": "{{ data.total > 10 }}"},
    "ordering_key": "{{ data.customer }}",
    "steps": [
        {"id": "large", "filter": "{{ trigger.data.total > 50 }}"},
        {"id": "note", "use": "row.create", "with": {"table": "notes", "row": {"order": "{{ trigger.data.id }}"}}},
        {"id": "total", "collect": "{{ trigger.data.total }}"},
    ],
}


def test_an_event_leads_to_a_run_record_with_all_that_explains_it(installation: Installation) -> None:
    installation.apply(ORDERS)
    with installation.publisher("shop") as publisher:
        published = publisher.event("order.created", {"id": 7, "customer": "ann", "total": 99.5}, id="e-1")
        publisher.event("order.created", {"id": 8, "customer": "ann", "total": 5}, id="e-2")
    (run,) = installation.runs("shop")
    assert (run["app"], run["automation"], run["version"], run["status"]) == ("shop", "orders", 1, "success")
    assert (run["generation"], run["sequence"], run["attempt"], run["key"]) == (0, 1, 1, "ann")
    assert run["event"]["id"] == "e-1"
    assert run["event"]["type"] == "order.created"
    assert (run["event"]["topic"], run["event"]["partition"], run["event"]["offset"]) == published[1:]
    assert run["job"]["topic"] == f"{installation.settings.prefix}.jobs.normal"
    assert run["event_time"] <= run["started_at"] <= run["finished_at"] <= run["recorded_at"]
    assert run["error"] is None
    assert [(step["id"], step["status"]) for step in run["steps"]] == [
        ("large", "success"),
        ("note", "success"),
        ("total", "success"),
    ]
    assert run["steps"][1]["inputs"]["row"] == {"order": 7}
    assert all(step["duration_ms"] >= 0 for step in run["steps"])


def test_an_event_sent_again_is_one_run_and_one_row(installation: Installation) -> None:
    installation.apply(ORDERS)
    with installation.publisher("shop") as publisher:
        for _ in range(5):
            publisher.event("order.created", {"id": 7, "customer": "ann", "total": 99}, id="same")
    assert len(installation.runs("shop")) == 1
    assert installation.ask(lambda storage: storage.rows.count("shop", "notes")) == 1
    assert 'headrace_run_claims_total{standing="duplicate"} 4.0' in installation.get("orchestrator-0", "/metrics")
    assert 'headrace_run_records_total{outcome="collapsed"} 0.0' in installation.get("recorder-0", "/metrics")


def test_a_duplicate_of_a_run_without_effects_is_computed_again_and_collapses(installation: Installation) -> None:
    installation.apply({**ORDERS, "steps": [ORDERS["steps"][0]]})  # pyright: ignore[reportIndexIssue]
    with installation.publisher("shop") as publisher:
        for _ in range(5):
            publisher.event("order.created", {"id": 7, "customer": "ann", "total": 99}, id="same")
    assert len(installation.runs("shop")) == 1
    assert 'headrace_run_records_total{outcome="collapsed"} 4.0' in installation.get("recorder-0", "/metrics")


HEADERS = {"ce_specversion": "1.0", "ce_source": "test", "ce_type": "order.created", "ce_app": "shop"}
POISON: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("not_json", "events", b"{", {**HEADERS, "ce_id": "1"}),
    ("not_json", "rows", b"\xff\xfe", {**HEADERS, "ce_id": "2"}),
    ("bad_shape", "rows", b'{"op": "?"}', {**HEADERS, "ce_id": "3"}),
    ("bad_shape", "rows", b"[1]", {**HEADERS, "ce_id": "4"}),
    ("no_app", "events", b"{}", {**{k: v for k, v in HEADERS.items() if k != "ce_app"}, "ce_id": "5"}),
    ("unknown_version", "events", b"{}", {**HEADERS, "ce_specversion": "9.9", "ce_id": "6"}),
    ("over_limit", "events", b'"' + b"x" * (1 << 20) + b'"', {**HEADERS, "ce_id": "7"}),
    ("not_representable", "events", b"1" * 30, {**HEADERS, "ce_id": "8"}),
    ("not_json", "jobs.normal", b"\x00", {}),
    ("bad_shape", "jobs.high", b'{"format": 1}', {}),
    ("unknown_version", "jobs.high", b"{}", {}),
    ("unknown_version", "jobs.low", b'{"format": 99}', {}),
    ("not_json", "runs", b"nothing", {}),
    ("bad_shape", "runs", b"null", {}),
]


def test_bad_input_of_every_kind_ends_as_a_dead_letter_and_stops_nobody(installation: Installation) -> None:
    installation.apply(ORDERS)
    for _, topic, value, headers in POISON:
        installation.produce(topic, value, headers)
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7, "customer": "ann", "total": 99})
    assert len(installation.runs("shop")) == 1
    letters = installation.dead_letters()
    prefix = installation.settings.prefix
    found = sorted((each["reason"]["type"], each["source"]["topic"]) for each in letters)
    assert found == sorted((reason, f"{prefix}.{topic}") for reason, topic, _, _ in POISON)
    assert all(each["reason"]["message"] and each["source"]["offset"] >= 0 for each in letters)
    kept = {each["value"] for each in letters}
    assert all((value or b"")[: 64 << 10] in kept for _, _, value, _ in POISON)


def test_a_giant_key_is_one_dead_letter_and_the_events_behind_it_fire(installation: Installation) -> None:
    installation.apply(ORDERS)
    giant = b"k" * (9_400_000 - 400)
    for topic in ("events", "jobs.normal"):
        installation.produce(topic, b"{}", {**HEADERS, "ce_id": "giant"}, key=giant)
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7, "customer": "ann", "total": 99})
    assert len(installation.runs("shop")) == 1
    letters = installation.dead_letters()
    assert sorted(each["reason"]["type"] for each in letters) == ["over_limit", "unknown_version"]
    assert all(b64decode(each["key"]) == giant[: limits.ATTRIBUTE] for each in letters)


def test_flights_make_exactly_what_plain_python_expects_though_each_service_is_killed(
    installation: Installation,
) -> None:
    installation.apply(
        *(each.model_dump(mode="json", by_alias=True, exclude_unset=True) for each in read_automations(EXAMPLE))
    )
    wanted = 1_500
    flights = [each for each, _ in zip(read_flights(EXAMPLE / "flights.csv.gz"), range(wanted), strict=False)]
    with installation.publisher(APP) as publisher:
        for number, (id, flight) in enumerate(flights):
            for _ in range(1 + (number % 10 == 0)):
                publisher.submit_row(TABLE, id, after=flight, id=id)
            if number % 500 == 100:
                _kill_and_replace(installation, list(READS)[number // 500])
    outcome = expected(EXAMPLE / "flights.csv.gz", wanted)
    installation.await_quiet()
    outcomes = installation.ask(lambda storage: storage.runs.outcomes())
    runs = [(name, key if name == "rebooking-desk" else event) for name, event, key, _ in outcomes]
    assert sorted(runs) == sorted(outcome.runs)
    rows = {table: installation.ask(lambda s, t=table: s.rows.count(APP, t)) for table in outcome.rows}
    assert rows == outcome.rows
    assert installation.dead_letters() == []


def _kill_and_replace(installation: Installation, service: str) -> None:
    process = installation.process(f"{service}-0").stats()
    process.kill()
    process.wait(DEADLINE_S)
    installation.services.start_service(service)


def test_a_service_says_how_it_is_and_drains_at_sigterm(installation: Installation) -> None:
    assert installation.get("orchestrator-0", "/healthz").startswith("200")
    assert installation.get("orchestrator-0", "/readyz").startswith("200")
    assert 'headrace_ready{service="orchestrator"} 1.0' in installation.get("orchestrator-0", "/metrics")
    for process in installation.services.processes:
        running: Any = process.stats()
        running.terminate()
        until(lambda r=running: not r.is_running() or r.status() == "zombie", f"{process.name} to end")
        assert '"event": "stopped"' in process.log.read_text()
