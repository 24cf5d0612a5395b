"""A ten-step run that reads, decides by what it read, and writes; its worker is killed at every one of its calls."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import orjson
import pytest
from conftest import Installation, until
from pymongo import MongoClient

from headrace.embedded import Supervisor
from headrace.engine import RowQuery
from headrace.settings import Settings

pytestmark = pytest.mark.integration

APP = "resume"
CALLS = 13
"""Of a run that nobody cuts off: its claim, three requests, the entry of each answer, the intent of the call that may
be made once, and five rows, each with its entry."""
POINTS = [f"{number}.{when}" for number in range(1, CALLS + 1) for when in ("before", "after")]
LIVES = 3
"""Of workers: the first two are killed."""


def automation(url: str) -> dict[str, object]:
    """Eleven steps; the rows say what the run had read when it made them."""

    def row(id: str, table: str) -> dict[str, Any]:
        columns = {"event": "{{ trigger.event.id }}", "read": "{{ steps.ask.data.answer }}"}
        return {"id": id, "use": "row.create", "with": {"table": table, "row": columns}}

    def post(id: str, **more: Any) -> dict[str, Any]:
        where = url + f"/{id}/{{{{ trigger.event.id }}}}"
        with_ = {"url": where, "method": "POST", "json": "{{ steps.ask.data.answer }}"}
        return {"id": id, "use": "http.request", "with": with_, **more}

    return {
        "name": "ten-steps",
        "app": APP,
        "trigger": {"type": "event", "event": "go"},
        "steps": [
            {"id": "ask", "use": "http.request", "with": {"url": url + "/ask/{{ trigger.event.id }}"}},
            {
                "id": "way",
                "branch": [
                    {"name": "high", "when": "{{ steps.ask.data.answer > 5 }}", "steps": [row("above", "high")]},
                    {"name": "low", "else": True, "steps": [row("below", "low")]},
                ],
            },
            {"id": "each", "loop": {"over": "{{ [1, 2, 3] }}"}, "steps": [row("leg", "legs")]},
            {
                "id": "both",
                "parallel": [
                    {"name": "tell", "steps": [post("tell")]},
                    {"name": "write", "steps": [row("side", "sides")]},
                ],
            },
            post("once", on_unknown="fail"),
            {"id": "out", "use": "event.publish", "with": {"type": "done", "data": "{{ steps.ask.data.answer }}"}},
            {"id": "answer", "collect": "{{ steps.ask.data.answer }}"},
        ],
    }


@dataclass
class OtherSide:
    """Says 9 when it is asked first, and 1 from then on: who decides anew goes the other way."""

    requests: list[tuple[str, str, str, bytes]] = field(default_factory=list[tuple[str, str, str, bytes]])
    """Path, event, key and body."""
    lock: Lock = field(default_factory=Lock)

    def answer(self, path: str, key: str, body: bytes) -> bytes:
        _, name, event = path.split("/")
        with self.lock:
            self.requests.append((name, event, key, body))
            asked = len(self.of(name, event))
        return orjson.dumps({"answer": 9 if asked == 1 else 1})

    def of(self, name: str, event: str) -> list[tuple[str, bytes]]:
        """Keys and bodies of its requests to one path."""
        return [(key, body) for path, of, key, body in self.requests if (path, of) == (name, event)]


@pytest.fixture
def other_side() -> Any:
    side = OtherSide()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = side.answer(self.path, self.headers["Idempotency-Key"], body)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield side, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_worker_killed_at_every_call_repeats_no_effect_and_goes_the_way_it_first_went(
    topics: Settings,
    start_services: Callable[[Settings, Sequence[str]], Supervisor],
    other_side: tuple[OtherSide, str],
    tmp_path: Path,
) -> None:
    side, url = other_side
    services = start_services(topics, ("trigger_matcher", "recorder"))
    installation = Installation(topics, services)
    installation.apply(automation(url))
    # Each run has its call in the first life, and another one in the second.
    events = [f"n-{first}-{second}" for first, second in zip(POINTS, POINTS[9:] + POINTS[:9], strict=True)]
    with installation.publisher(APP) as publisher:
        for event in events:
            publisher.event("go", {}, key=event, id=event)
    lives = tmp_path / "lives"
    lives.mkdir()
    argv = [sys.executable, str(Path(__file__).with_name("doomed_orchestrator.py")), str(lives), str(len(events))]
    for life in range(1, LIVES + 1):
        worker = services.start(f"orchestrator-{life}", argv, {"HEADRACE_SLOT": "0"}).stats()
        if life < LIVES:
            until(lambda w=worker: not w.is_running() or w.status() == "zombie", f"the end of life {life}")
            # Marked as suspects, each would have to run alone in the next life.
            with MongoClient[dict[str, Any]](topics.mongodb) as client:
                client[topics.prefix]["suspects"].drop()
    cuts = _cuts(lives)
    assert set(cuts) == set(events)
    runs = {run["event"]["id"]: run for run in installation.runs(APP)}
    assert set(runs) == set(events)
    assert installation.dead_letters() == []
    rows = {table: _rows(installation, table) for table in ("high", "low", "legs", "sides")}
    done = [orjson.loads(value) for value in installation.read(f"{topics.prefix}.events") if value != b"{}"]
    assert len(done) == len(events)
    for event in events:
        _judge(event, runs[event], cuts[event], side, rows)
    assert sorted(done) == sorted(run["collected"] for run in runs.values())


def _cuts(lives: Path) -> dict[str, list[str]]:
    """What each event's run stood still at when its workers were killed."""
    cuts: dict[str, list[str]] = {}
    for line in [line for life in lives.iterdir() for line in life.read_text().splitlines()]:
        event, _, cut = line.partition(" ")
        cuts.setdefault(event, []).append(cut)
    return cuts


def _rows(installation: Installation, table: str) -> list[Any]:
    query = RowQuery(APP, table, None, (), 1000)
    return [*installation.ask(lambda storage: storage.rows.query(query)).rows]


def _judge(event: str, run: Any, cuts: Sequence[str], side: OtherSide, rows: dict[str, list[Any]]) -> None:
    mine = {table: [row["read"] for row in found if row["event"] == event] for table, found in rows.items()}
    read = run["collected"]
    # Read again only where no one had written down what it first read, and then nothing had been decided by it.
    lost = [cut for cut in cuts if cut in ("send:ask after", "entry:ask before")]
    assert len(side.of("ask", event)) == 1 + len(lost), cuts
    assert read == (1 if lost else 9), cuts
    assert (mine["high"], mine["low"]) == (([], [1]) if lost else ([9], [])), cuts
    assert mine["legs"] == [read] * 3, cuts
    assert mine["sides"] == [read], cuts
    told, once = side.of("tell", event), side.of("once", event)
    assert 1 <= len(told) <= LIVES, cuts
    assert len(set(told)) == 1, cuts
    steps = {step["id"]: step for step in run["steps"]}
    assert list(steps) == ["ask", "way", "each", "both", "once", "out", "answer"]
    assert steps["way"]["outputs"]["branch"] == ("low" if lost else "high")
    # Cut off between the intent to call and the answer's entry, and nowhere else.
    if {"intent:once after", "send:once before", "send:once after", "entry:once before"} & {*cuts}:
        assert steps["once"].get("error", {}).get("type") == "unknown_outcome", cuts
        assert (run["status"], len(once) <= 1) == ("error", True), cuts
    else:
        assert (run["status"], steps["once"]["status"], len(once)) == ("success", "success", 1), cuts
