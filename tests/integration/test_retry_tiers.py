"""A failure that may pass is tried again later, at the step that failed, and every attempt is told."""

from collections import Counter
from collections.abc import Generator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from conftest import Installation

from headrace.engine import RowQuery

pytestmark = pytest.mark.integration

APP = "retry"
FAILURES: dict[str, tuple[int, str | None]] = {
    "well": (0, None),
    "twice": (2, None),
    "always": (99, None),
    "asks-for-more": (1, "2"),
    "asks-for-too-much": (99, "60"),
}
"""Of each event: how many calls are answered 503, and with which Retry-After."""


class OtherSide:
    """Counts the calls for each event, with their keys."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: dict[str, set[str]] = {}

    def answer(self, path: str, key: str) -> tuple[int, str | None]:
        event = path.rpartition("/")[2]
        self.calls[event] += 1
        self.keys.setdefault(event, set()).add(key)
        times, retry_after = FAILURES[event]
        return (503, retry_after) if self.calls[event] <= times else (200, None)


@pytest.fixture
def other_side() -> Generator[tuple[OtherSide, str]]:
    side = OtherSide()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, retry_after = side.answer(self.path, self.headers["Idempotency-Key"])
            self.send_response(status)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield side, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_attempt_begins_at_the_failed_step_and_the_last_one_is_a_dead_letter(
    installation: Installation, other_side: tuple[OtherSide, str]
) -> None:
    side, url = other_side
    note = {"table": "notes", "row": {"of": "{{ trigger.event.id }}"}}
    call: dict[str, Any] = {"url": url + "/{{ trigger.event.id }}"}
    installation.apply(
        {
            "name": "tell",
            "app": APP,
            "trigger": {"type": "event", "event": "go"},
            "steps": [
                {"id": "note", "use": "row.create", "with": note},
                {"id": "call", "use": "http.request", "with": call, "retry": {"attempts": 1}},
                {"id": "out", "collect": "{{ steps.call.status }}"},
            ],
        }
    )
    with installation.publisher(APP) as publisher:
        for event in FAILURES:
            publisher.event("go", {}, key=event, id=event)
    runs = {run["event"]["id"]: run for run in installation.runs(APP)}
    assert {event: run["status"] for event, run in runs.items()} == {
        "well": "success",
        "twice": "success",
        "always": "dead_lettered",
        "asks-for-more": "success",
        "asks-for-too-much": "dead_lettered",
    }
    assert side.calls == {"well": 1, "twice": 3, "always": 3, "asks-for-more": 2, "asks-for-too-much": 1}
    assert all(len(keys) == 1 for keys in side.keys.values()), "every attempt at a call has its key"
    notes = installation.ask(lambda storage: storage.rows.query(RowQuery(APP, "notes", None, (), 100))).rows
    assert sorted(str(row["of"]) for row in notes) == sorted(FAILURES), "what was done before is not done again"
    assert {event: _waited(run) for event, run in runs.items()} == {
        "well": [],
        "twice": [1, 2],
        "always": [1, 2],
        "asks-for-more": [2],
        "asks-for-too-much": [],
    }
    assert runs["twice"]["attempt"] == 3
    assert runs["always"]["next"]["why"] == "attempt 3 of 3 failed at step call"
    assert "longer than the last retry tier" in runs["asks-for-too-much"]["next"]["why"]
    for run in runs.values():
        for retried in run.get("retries", ()):
            assert retried["due"] <= run["finished_at"], "never early"
    letters = installation.dead_letters()
    assert [letter["reason"]["type"] for letter in letters] == ["http_status"] * 2
    shown = installation.headrace("runs", "show", runs["twice"]["_id"]).stdout
    assert "went on at" in shown


def _waited(run: dict[str, Any]) -> list[int]:
    waits: Sequence[tuple[datetime, datetime]] = [(r["failed_at"], r["due"]) for r in run.get("retries", ())]
    return [round((due - failed).total_seconds()) for failed, due in waits]
