"""Runs that are cancelled, wherever they are, end at once, and say what had become of the step at work."""

from collections.abc import Generator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Semaphore, Thread
from typing import Any

import orjson
import pytest
from conftest import DEADLINE_S, Installation, until

from headrace import cancelling
from headrace.installation import retry_topics
from headrace.settings import Settings
from headrace.storage import RunFilter
from headrace.streams.records import Outgoing

pytestmark = pytest.mark.integration

APP = "cancel"


class Holding:
    """A server that holds every call until it is let go."""

    def __init__(self) -> None:
        self.called = Semaphore(0)
        self.released = Event()
        self.url = ""


@pytest.fixture
def holding() -> Generator[Holding]:
    side = Holding()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            side.called.release()
            side.released.wait(DEADLINE_S)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    side.url = f"http://127.0.0.1:{server.server_port}/"
    yield side
    side.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def row(id: str) -> dict[str, Any]:
    return {"id": id, "use": "row.create", "with": {"table": id, "row": {"n": "{{ trigger.data.n }}"}}}


def automation(name: str, *steps: dict[str, Any]) -> dict[str, object]:
    return {"name": name, "app": APP, "trigger": {"type": "event", "event": "go"}, "steps": [row("before"), *steps]}


def rows(installation: Installation, table: str) -> int:
    return installation.ask(lambda storage: storage.rows.count(APP, table))


def cancelled(installation: Installation, *arguments: str) -> dict[str, Any]:
    done = installation.headrace("runs", "cancel", *arguments, "--reason", "too late", "--by", "ann", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def test_a_run_under_way_is_cut_off_in_its_call_and_does_nothing_more(
    installation: Installation, holding: Holding
) -> None:
    installation.apply(
        automation("slow", {"id": "call", "use": "http.request", "with": {"url": holding.url}}, row("after"))
    )
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
    assert holding.called.acquire(timeout=DEADLINE_S)
    cancelled(installation, "--app", APP, "--automation", "slow")
    (run,) = installation.runs(APP)  # quiet while the server still holds the call
    assert (run["status"], run["error"]["message"]) == ("cancelled", "cancelled by ann: too late")
    before, call = run["steps"]
    assert (before["status"], call["status"]) == ("success", "cancelled")
    assert "whether it had its effect is not known" in call["error"]["message"]
    assert (rows(installation, "before"), rows(installation, "after")) == (1, 0)
    again = installation.headrace("runs", "cancel", run["_id"], "--reason", "x")
    assert (again.returncode, "has ended: cancelled" in again.stderr) == (1, True)


def test_a_waiting_run_ends_at_once_and_its_timer_finds_nothing_to_resume(installation: Installation) -> None:
    installation.apply(automation("waits", {"id": "pause", "delay": {"for": "10m"}}, row("after")))
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
    (run,) = installation.runs(APP)
    assert (run["status"], run["next"]["what"]) == ("waiting", "timer")
    assert cancelled(installation, run["_id"][:12])["cancelled"] == 1
    (ended,) = installation.runs(APP)
    assert (ended["status"], ended["sequence"]) == ("cancelled", 3)
    assert [step["status"] for step in ended["steps"]] == ["success"]
    # Whoever takes it knows why, whatever it has read of the control topic.
    jobs = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.jobs.normal")]
    assert [(job["cancel"]["by"], job["cancel"]["reason"]) for job in jobs if "cancel" in job] == [("ann", "too late")]
    # What the timer will put on the jobs topic ten minutes from now.
    (timer,) = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.timers") if value]
    resumes = timer["resumes"]
    key = f"{APP}/waits/{resumes['key']}".encode()
    installation.produce("jobs.normal", orjson.dumps(resumes), {"headrace_resumes": resumes["run_id"]}, key)
    (still,) = installation.runs(APP)
    assert (still["status"], still["sequence"]) == ("cancelled", 3)
    assert rows(installation, "after") == 0
    assert 'standing="stale"' in installation.get("orchestrator-0", "/metrics")


def test_a_waiting_run_ends_at_once_also_where_the_control_topic_is_read_later(installation: Installation) -> None:
    installation.apply(automation("waits", {"id": "pause", "delay": {"for": "10m"}}, row("after")))
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
    installation.runs(APP)
    (timer,) = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.timers") if value]
    # What a cancel puts on the jobs topic, and nothing of it on the control topic yet.
    resumes, at = timer["resumes"], "2026-01-01T00:00:00Z"
    cancel = {"app": APP, "run_id": resumes["run_id"], "at": at, "by": "ann", "reason": "too late"}
    key = f"{APP}/waits/{resumes['key']}".encode()
    value = orjson.dumps({**resumes, "cancel": cancel})
    installation.produce("jobs.normal", value, {"headrace_resumes": resumes["run_id"]}, key)
    (ended,) = installation.runs(APP)
    assert (ended["status"], ended["error"]["message"]) == ("cancelled", "cancelled by ann: too late")
    assert rows(installation, "after") == 0


def test_a_waiting_run_goes_on_with_what_its_timer_resumes(installation: Installation) -> None:
    installation.apply(automation("waits", {"id": "pause", "delay": {"for": "6s"}}, row("after")))
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1})
    (run,) = installation.runs(APP)
    assert run["status"] == "waiting"
    until(lambda: rows(installation, "after") == 1, "the row behind the delay")
    (ended,) = installation.runs(APP)
    assert (ended["status"], rows(installation, "before")) == ("success", 1)
    assert ended["started_at"] == run["started_at"]


@pytest.mark.parametrize(
    "step",
    [
        {"id": "pause", "delay": {"for": "6s"}},
        {
            "id": "call",
            "use": "http.request",
            "with": {"url": "http://127.0.0.1:9/"},
            "retry": {"attempts": 1},
            "on_error": "retry",
        },
    ],
    ids=["waits", "is tried again"],
)
def test_what_is_not_yet_recorded_as_at_rest_is_cancelled_with_its_automation_and_what_comes_later_is_not(
    step: dict[str, Any], installation: Installation
) -> None:
    installation.apply(automation("rests", step, row("after")))
    _end(installation, "recorder")
    settings = installation.settings
    topic = "timers" if "delay" in step else retry_topics(settings)[min(retry_topics(settings))].name
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 1}, key="1", id="meant")
        until(lambda: bool(installation.read(f"{settings.prefix}.{topic}")), "the run to be at rest")
        # What it goes on with is read after the cancel.
        _end(installation, "orchestrator")
        assert cancelled(installation, "--app", APP, "--automation", "rests")["cancelled"] == 0
        publisher.event("go", {"n": 2}, key="2", id="later")
    installation.services.start_service("orchestrator")
    installation.services.start_service("recorder")

    def ended() -> dict[str, str]:
        return {run["event"]["id"]: run["status"] for run in installation.runs(APP) if "finished_at" in run}

    end = "success" if "delay" in step else "dead_lettered"
    until(
        lambda: ended() == {"meant": "cancelled", "later": end}, "the run that was meant, and no other, to be cut off"
    )
    assert (rows(installation, "before"), rows(installation, "after")) == (2, int("delay" in step))


def _end(installation: Installation, service: str) -> None:
    running = installation.process(f"{service}-0").stats()
    running.kill()
    running.wait(DEADLINE_S)


def test_a_run_that_came_after_its_automation_s_cancel_goes_on_though_it_waits_before_those_meant_are_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.apply(automation("waits", {"id": "pause", "delay": {"for": "6s"}}, row("after")))
    produce = cancelling._produce  # pyright: ignore[reportPrivateUsage]

    def slowly(settings: Settings, records: Sequence[Outgoing]) -> None:
        """Kafka takes its time to confirm the cancel: meanwhile another event comes, and its run parks."""
        monkeypatch.setattr(cancelling, "_produce", produce)
        produce(settings, records)
        with installation.publisher(APP) as publisher:
            publisher.event("go", {"n": 1})
        until(lambda: [run["status"] for run in installation.runs(APP)] == ["waiting"], "the run to wait")

    monkeypatch.setattr(cancelling, "_produce", slowly)
    asked = installation.ask(
        lambda storage: cancelling.cancel_automation(installation.settings, storage, APP, "waits", "ann", "too late")
    )
    assert asked == 0
    until(lambda: rows(installation, "after") == 1, "the row behind the delay")
    assert [run["status"] for run in installation.runs(APP)] == ["success"]


def test_what_is_queued_is_cancelled_and_what_comes_later_is_not(installation: Installation) -> None:
    installation.apply(
        automation("queued", {"id": "out", "collect": 1}), automation("other", {"id": "x", "collect": 1})
    )
    stopped = installation.process("orchestrator-0").stats()
    stopped.terminate()
    stopped.wait(DEADLINE_S)
    with installation.publisher(APP) as publisher:
        for n in range(20):
            publisher.event("go", {"n": n}, key=str(n))
        jobs = f"{installation.settings.prefix}.jobs.normal"
        until(lambda: len(installation.read(jobs)) == 40, "the jobs")
        cancelled(installation, "--app", APP, "--automation", "queued")
        publisher.event("go", {"n": 99}, key="99")
    installation.services.start_service("orchestrator")
    until(lambda: len(installation.ask(lambda storage: storage.runs.find(RunFilter(APP)))) == 42, "all runs")
    found = {(run["automation"], run["status"]): 0 for run in installation.runs(APP)}
    for run in installation.runs(APP):
        found[run["automation"], run["status"]] += 1
    assert found == {("queued", "cancelled"): 20, ("queued", "success"): 1, ("other", "success"): 21}
    assert rows(installation, "before") == 22
