"""Limits of runs on a real Kafka and MongoDB: they hold over two workers, and over the death of one."""

import select
import socket
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import pytest
from conftest import DEADLINE_S, Installation, until

pytestmark = pytest.mark.integration

APP = "limits"
LIMIT = 2
KEYS, EVENTS = "abcdef", 12
"""Keys, and the events of each."""

HOLD_S = 0.1
"""How long a call takes: long enough that runs of a key would be many at a time if nothing held them back."""


class OtherSide:
    """Counts the calls of each key that are open; one whose caller has died is not."""

    def __init__(self) -> None:
        self.url = ""
        self._lock = Lock()
        self._open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.calls = 0

    def hold(self, key: str, connection: socket.socket) -> None:
        with self._lock:
            self.calls += 1
            self._open[key] += 1
            self.most[key] = max(self.most[key], self._open[key])
        # Readable before it is answered: the caller is gone.
        select.select([connection], [], [], HOLD_S)
        with self._lock:
            self._open[key] -= 1


@pytest.fixture
def other_side() -> Generator[OtherSide]:
    side = OtherSide()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            side.hold(self.path.strip("/"), self.connection)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, client_address: None  # callers are killed here
    thread = Thread(target=server.serve_forever)
    thread.start()
    side.url = f"http://127.0.0.1:{server.server_port}/"
    yield side
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_more_runs_of_a_key_than_its_limit_though_a_worker_dies(
    installation: Installation, other_side: OtherSide
) -> None:
    installation.services.start_service("orchestrator", 1)
    installation.services.wait_ready()
    installation.apply(
        {
            "name": "careful",
            "app": APP,
            "trigger": {"type": "event", "event": "go"},
            "concurrency": {"key": "{{ data.key }}", "limit": LIMIT},
            "steps": [
                {"id": "call", "use": "http.request", "with": {"url": other_side.url + "{{ trigger.data.key }}"}}
            ],
        }
    )
    with installation.publisher(APP) as publisher:
        for number in range(EVENTS):
            for key in KEYS:
                # Each event has a key of its own: only the limit's brings the runs together.
                publisher.event("go", {"key": key}, key=f"{key}{number}", id=f"{key}{number}")
    until(lambda: other_side.calls > len(KEYS) * 4, "some runs to have started")
    doomed = installation.process("orchestrator-1").stats()
    doomed.kill()
    doomed.wait(DEADLINE_S)
    runs = installation.runs(APP)
    assert Counter(run["status"] for run in runs) == {"success": len(KEYS) * EVENTS}
    assert installation.dead_letters() == []
    assert other_side.most == dict.fromkeys(KEYS, LIMIT), "as many as allowed, and never more"


def test_runs_over_their_rate_start_later_and_hold_nobody_up(installation: Installation) -> None:
    installation.apply(
        {
            "name": "slow",
            "app": APP,
            "trigger": {"type": "event", "event": "go"},
            "rate": {"key": "{{ data.key }}", "limit": 2, "per": "2s"},
            "steps": [{"id": "out", "collect": "{{ trigger.data.key }}"}],
        },
        {
            "name": "other",
            "app": APP,
            "trigger": {"type": "event", "event": "go"},
            "steps": [{"id": "out", "collect": "{{ trigger.data.key }}"}],
        },
    )
    began = datetime.now(UTC)
    with installation.publisher(APP) as publisher:
        for number in range(10):
            for key in "ab":
                publisher.event("go", {"key": key}, key=f"{key}{number}", id=f"{key}{number}")
    runs = installation.runs(APP)
    assert Counter((run["automation"], run["status"]) for run in runs) == {
        ("slow", "success"): 20,
        ("other", "success"): 20,
    }
    slow = [run for run in runs if run["automation"] == "slow"]
    for key in "ab":
        starts = sorted(run["started_at"] for run in slow if run["collected"] == key)
        # Never early: each two have their place two seconds after the two before them.
        assert all(start >= began + timedelta(seconds=2 * (n // 2)) for n, start in enumerate(starts))
    done = max(run["finished_at"] for run in runs if run["automation"] == "other")
    assert done < max(run["started_at"] for run in slow), "what has no rate does not wait for what has one"
