"""What waits in dead letters is taken up again: runs where they stopped or anew, records where they came from."""

import json
from base64 import b64encode
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from conftest import DEADLINE_S, Installation
from dlq_support import OtherSide, audit, dlq, install_fragile, letters, refused

from headrace.contracts.cloudevents import Location, read_event
from headrace.contracts.jobs import Job, run_id, write_job
from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

HEADERS = {"ce_specversion": "1.0", "ce_source": "test", "ce_type": "order.created", "ce_app": "shop"}


def automation(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    trigger = {"type": "event", "event": "order.created"}
    return {"name": "orders", "app": "shop", "trigger": trigger, "steps": [*steps], **more}


def post(id: str, url: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "use": "http.request",
        "retry": {"attempts": 1},
        "with": {"url": f"{url}/{id}", "method": "POST"},
        **more,
    }


def note(id: str = "note") -> dict[str, Any]:
    return {"id": id, "use": "row.create", "with": {"table": "notes", "row": {"order": "{{ trigger.data.id }}"}}}


COLLECT = automation({"id": "total", "collect": "{{ trigger.data.total }}"}, note())


@pytest.fixture
def side() -> Generator[OtherSide]:
    with OtherSide() as side:
        yield side


@pytest.fixture
def mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that mends the step `test.fragile`, which services and commands started from now on know."""
    directory = tmp_path / "steps"
    found = install_fragile(directory)
    monkeypatch.setenv("PYTHONPATH", str(directory))
    return found


@pytest.fixture
def fragile(
    mended: Path,
    side: OtherSide,
    topics: Settings,
    tmp_path: Path,
    start_services: Callable[[Settings, Sequence[str]], Supervisor],
) -> Installation:
    """An installation with an automation that calls, writes a row, crashes until it is mended, and calls again."""
    installation = Installation(topics, start_services(topics, tuple(READS)))
    document = automation(
        post("ask", side.url),
        note(),
        {"id": "told", "use": "event.publish", "with": {"type": "told", "data": "{{ steps.ask.data.answer }}"}},
        post("tell", side.url),
        {"id": "fragile", "use": "test.fragile"},
        {"id": "answer", "collect": "{{ steps.ask.data.answer }}"},
    )
    file = tmp_path / "orders.json"
    file.write_bytes(orjson.dumps(document))
    done = installation.headrace("apply", "-f", str(file))
    assert done.returncode == 0, done.stderr
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7}, key="ann", id="e-1")
    return installation


def told(installation: Installation) -> list[Any]:
    found = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.events")]
    return [each for each in found if not isinstance(each, dict)]


def test_a_run_that_crashed_goes_on_at_the_step_that_failed_once_that_is_mended(
    fragile: Installation, side: OtherSide, mended: Path
) -> None:
    (letter,) = letters(fragile)
    assert (letter["error"], letter["app"], letter["automation"]) == ("internal_error", "shop", "orders")
    assert (letter["key"], letter["generation"], letter["state"]) == ("ann", 0, "open")
    assert told(fragile) == []
    assert dlq(fragile, "redrive", "--error", "internal_error")["redriven"] == 1
    (again,) = letters(fragile)
    assert (again["generation"], again["run_id"]) == (1, letter["run_id"])
    mended.touch()
    assert dlq(fragile, "redrive", again["letter"])["redriven"] == 1
    (run,) = fragile.runs("shop")
    assert (run["_id"], run["status"], run["generation"], run["collected"]) == (letter["run_id"], "success", 2, 1)
    assert len(side.keys("/ask")) == len(side.keys("/tell")) == 1
    assert fragile.ask(lambda storage: storage.rows.count("shop", "notes")) == 1
    assert told(fragile) == [1]
    assert letters(fragile) == []
    assert {each["letter"] for each in dlq(fragile, "list", "--state", "redriven")} == {
        letter["letter"],
        again["letter"],
    }
    done = dlq(fragile, "redrive", letter["letter"], "--state", "redriven", code=1)
    assert "gone on to generation 2 (success)" in done["reasons"][0]["reason"]


def test_a_restart_does_it_all_again_under_keys_of_its_own(
    fragile: Installation, side: OtherSide, mended: Path
) -> None:
    (letter,) = letters(fragile)
    mended.touch()
    assert dlq(fragile, "redrive", letter["letter"], "--restart")["redriven"] == 1
    (run,) = fragile.runs("shop")
    assert (run["status"], run["generation"], run["collected"]) == ("success", 1, 2)
    for path in ("/ask", "/tell"):
        first, second = side.keys(path)
        assert first != second
    assert fragile.ask(lambda storage: storage.rows.count("shop", "notes")) == 2


def test_a_run_that_gave_up_is_resumed_and_its_record_tells_both_generations(
    installation: Installation, side: OtherSide
) -> None:
    side.away.add("/tell")
    installation.apply(automation(post("ask", side.url), note(), post("tell", side.url, on_error="retry")))
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7}, id="e-1")
    (run,) = installation.runs("shop")
    assert run["status"] == "dead_lettered"
    side.away.clear()
    (letter,) = letters(installation, "--automation", "orders")
    assert letter["run_id"] == run["_id"]
    assert dlq(installation, "redrive", "--app", "shop")["redriven"] == 1
    (run,) = installation.runs("shop")
    assert (run["status"], run["generation"]) == ("success", 1)
    (earlier,) = run["history"]
    assert (earlier["generation"], earlier["status"], earlier["error"]["type"]) == (
        0,
        "dead_lettered",
        letter["error"],
    )
    told = side.keys("/tell")
    # The first try, one from each of the two retry tiers, and the redriven one.
    assert (len(side.keys("/ask")), len(told), len(set(told))) == (1, 4, 1)
    assert "generation 0: dead_lettered" in installation.headrace("runs", "show", run["_id"]).stdout


def test_an_event_whose_condition_failed_fires_once_the_automation_is_mended(installation: Installation) -> None:
    trigger = {"type": "event", "event": "order.created", "when": "{{ 10 / data.parts > 1 }}"}
    installation.apply({**COLLECT, "trigger": trigger}, {**COLLECT, "name": "other"})
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7, "total": 5, "parts": 0}, id="e-1")
    (run,) = installation.runs("shop")
    assert run["automation"] == "other"
    (letter,) = letters(installation, "--automation", "orders", "--app", "shop")
    assert (letter["service"], letter["run_id"]) == ("trigger_matcher", "")
    mended = {**trigger, "when": "{{ data.parts == 0 or 10 / data.parts > 1 }}"}
    installation.apply({**COLLECT, "trigger": mended})
    assert dlq(installation, "redrive", "--automation", "orders")["redriven"] == 1
    runs = {run["automation"]: run for run in installation.runs("shop")}
    # The other automation has had the event: for it this is a duplicate.
    assert {name: (run["status"], run["generation"]) for name, run in runs.items()} == {
        "orders": ("success", 0),
        "other": ("success", 0),
    }
    assert runs["orders"]["event"]["id"] == "e-1"
    assert installation.ask(lambda storage: storage.rows.count("shop", "notes")) == 2


def test_raw_bytes_are_seen_edited_and_redriven_as_the_event_that_they_were(
    installation: Installation, tmp_path: Path
) -> None:
    installation.apply(COLLECT)
    raw = b'{"id": 7, "total": 99'
    installation.produce("events", raw, {"ce_app": "shop", "ce_type": "order.created"}, key=b"ann")
    (letter,) = letters(installation)
    assert letter["error"] == "not_json"
    shown = installation.headrace("dlq", "show", letter["letter"])
    assert raw.decode() in shown.stdout
    assert letter["source"] in shown.stdout
    assert installation.headrace("dlq", "show", letter["letter"], "--raw").stdout == raw.decode()
    edited = tmp_path / "edited.json"
    edited.write_bytes(raw + b"}")
    assert dlq(installation, "redrive", letter["letter"], "--value", str(edited))["redriven"] == 1
    (run,) = installation.runs("shop")
    topic, partition, offset = letter["source"].split("/")
    place = Location(topic, int(partition), int(offset))
    event = read_event([("ce_app", b"shop"), ("ce_type", b"order.created")], place, 0)
    assert (run["_id"], run["collected"], run["key"]) == (run_id("shop", "orders", event), 99, "ann")
    assert (run["event"]["id"], run["event"]["offset"]) == (f"{partition}/{offset}", place.offset + 1)
    (action,) = audit(installation)
    assert (action["how"]["edited"], action["count"]) == (True, 1)


def test_of_a_record_too_large_for_its_letter_all_is_fetched_as_long_as_it_is_there(
    installation: Installation, tmp_path: Path
) -> None:
    giant = b'{"id": "' + "ä".encode() * 600_000 + b'"}'
    for number in range(2):
        installation.produce("events", giant, {**HEADERS, "ce_id": f"{number}"}, key=b"ann")
    first, second = letters(installation)
    raw = tmp_path / "raw"
    raw.write_text(installation.headrace("dlq", "show", first["letter"], "--raw").stdout)
    assert raw.read_bytes() == giant
    assert dlq(installation, "redrive", first["letter"])["redriven"] == 1
    (third,) = [each for each in letters(installation) if each["letter"] != second["letter"]]
    assert installation.headrace("dlq", "show", third["letter"], "--raw").stdout.encode() == giant
    topic, partition, _ = second["source"].split("/")
    admin = AdminClient({**installation.settings.kafka})  # must live until the answer is there
    for emptied in admin.delete_records([TopicPartition(topic, int(partition), -1)]).values():
        emptied.result(DEADLINE_S)
    done = dlq(installation, "redrive", "--error", "over_limit", code=1)
    assert (done["redriven"], done["refused"]) == (0, 2)
    assert "is gone" in done["reasons"][0]["reason"]
    assert f"65536 of its {len(giant)} bytes" in done["reasons"][0]["reason"]
    cut = installation.headrace("dlq", "show", second["letter"], "--raw")
    refused(cut, 1, "is gone")
    assert cut.stdout.encode() == giant[: 64 << 10]
    assert {each["state"] for each in letters(installation)} == {"open"}
    edited = tmp_path / "edited"
    edited.write_bytes(b'{"id": 7, "total": 5}')
    installation.apply(COLLECT)
    assert dlq(installation, "redrive", second["letter"], "--value", str(edited))["redriven"] == 1
    (run,) = installation.runs("shop")
    assert (run["event"]["id"], run["collected"]) == ("1", 5)


JOB = Job.model_validate(
    {
        "format": 1, "run_id": "00000000-0000-5000-8000-000000000000", "app": "shop", "automation": "orders",
        "version": 99, "generation": 0, "segment": 0, "attempt": 1, "key": "ann", "priority": "high",
        "trigger": {"data": {"id": 7, "total": 5}},
        "cause": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0,
                  "time": "2013-01-01T00:00:00Z"},
    }
)  # fmt: skip


def test_a_run_goes_on_with_the_latest_version_where_that_is_asked_for(installation: Installation) -> None:
    installation.apply(COLLECT)
    installation.produce("jobs.high", write_job(JOB), {"traceparent": "00-1-1-01", "x": "y"}, key=b"shop/orders/ann")
    (letter,) = letters(installation)
    assert letter["error"] == "unknown_version"
    assert dlq(installation, "redrive", letter["letter"])["redriven"] == 1
    (again,) = letters(installation)
    assert (again["error"], again["generation"]) == ("unknown_version", 1)
    assert again["source"].startswith(f"{installation.settings.prefix}.jobs.high/")
    assert dlq(installation, "redrive", again["letter"], "--version", "latest")["redriven"] == 1
    (run,) = installation.runs("shop")
    assert (run["version"], run["generation"], run["status"], run["collected"]) == (1, 2, "success", 5)
    last = dlq(installation, "show", again["letter"])
    assert (last["headers"], last["action"]["how"]["version"]) == ({"traceparent": {"text": "00-1-1-01"}}, "latest")


def test_a_job_of_which_no_automation_is_left_is_refused_the_latest_version(installation: Installation) -> None:
    installation.produce("jobs.high", write_job(JOB), {}, key=b"shop/orders/ann")
    (letter,) = letters(installation)
    done = dlq(installation, "redrive", letter["letter"], "--version", "latest", code=1)
    assert "no automation shop/orders any more" in done["reasons"][0]["reason"]
    assert letters(installation) == [letter]


def test_in_place_of_a_runs_job_goes_no_other_runs(fragile: Installation, mended: Path, tmp_path: Path) -> None:
    (letter,) = letters(fragile)
    job = orjson.loads(fragile.headrace("dlq", "show", letter["letter"], "--raw").stdout)
    edited = tmp_path / "edited.json"
    for name, value in {
        "run_id": JOB.run_id, "automation": "others", "generation": 4, "cause": JOB.cause.model_dump()
    }.items():  # fmt: skip
        edited.write_bytes(orjson.dumps({**job, name: value}))
        done = dlq(fragile, "redrive", letter["letter"], "--value", str(edited), code=1)
        assert f"another run's job by its `{name}`" in done["reasons"][0]["reason"]
    assert letters(fragile) == [letter]
    mended.touch()
    edited.write_bytes(orjson.dumps({**job, "priority": "high"}))
    assert dlq(fragile, "redrive", letter["letter"], "--value", str(edited))["redriven"] == 1
    (run,) = fragile.runs("shop")
    assert (run["_id"], run["status"]) == (letter["run_id"], "success")


def test_a_job_that_nobody_could_read_is_edited_into_one(installation: Installation, tmp_path: Path) -> None:
    installation.apply(COLLECT)
    installation.produce("jobs.low", b"\xff\xfe", {}, key=b"shop/orders/ann")
    (letter,) = letters(installation)
    assert "fffe" in installation.headrace("dlq", "show", letter["letter"]).stdout.replace(" ", "")
    edited = tmp_path / "job.json"
    edited.write_bytes(b"{}")
    done = dlq(installation, "redrive", letter["letter"], "--value", str(edited), code=1)
    assert "no job" in done["reasons"][0]["reason"]
    edited.write_bytes(write_job(JOB.model_copy(update={"version": 1})))
    assert dlq(installation, "redrive", letter["letter"], "--value", str(edited))["redriven"] == 1
    (run,) = installation.runs("shop")
    assert (run["status"], run["job"]["topic"]) == ("success", f"{installation.settings.prefix}.jobs.high")


def test_a_letter_of_the_first_format_is_redriven_too(installation: Installation) -> None:
    installation.apply(COLLECT)
    installation.produce("jobs.high", write_job(JOB), {}, key=b"shop/orders/ann")
    (letter,) = letters(installation)
    assert dlq(installation, "discard", letter["letter"], "--reason", "to be told in the old way")["discarded"] == 1
    job = write_job(JOB.model_copy(update={"version": 1}))
    topic, partition, offset = letter["source"].split("/")
    old = {
        "format": 1, "service": "orchestrator", "reason": {"type": "timeout", "message": "m"},
        "source": {"topic": topic, "partition": int(partition), "offset": int(offset)}, "at": letter["at"],
        "key": "aw==", "headers": [], "value": b64encode(job).decode(), "size": len(job), "truncated": False,
    }  # fmt: skip
    installation.produce("jobs.dlq", orjson.dumps(old), {})
    (found,) = letters(installation)
    assert dlq(installation, "redrive", found["letter"])["redriven"] == 1
    (run,) = installation.runs("shop")
    assert (run["status"], run["generation"]) == ("success", 1)


def test_a_run_record_that_was_refused_is_edited_and_recorded(installation: Installation, tmp_path: Path) -> None:
    installation.apply(COLLECT)
    with installation.publisher("shop") as publisher:
        publisher.event("order.created", {"id": 7, "total": 5}, id="e-1")
    installation.runs("shop")
    (record,) = [orjson.loads(value) for value in installation.read(f"{installation.settings.prefix}.runs")]
    installation.produce("runs", b"nothing", {}, key=b"r-2")
    (letter,) = letters(installation)
    assert (letter["service"], letter["key"]) == ("recorder", "r-2")
    edited = tmp_path / "record.json"
    edited.write_bytes(orjson.dumps({**record, "run_id": "r-2"}))
    assert dlq(installation, "redrive", letter["letter"], "--value", str(edited))["redriven"] == 1
    assert {run["_id"] for run in installation.runs("shop")} == {"r-2", record["run_id"]}


RUN = {
    "run_id": "r", "app": "shop", "automation": "orders", "generation": 0, "segment": 0, "key": "k", "priority": "low",
}  # fmt: skip
HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("automations", {}, "no service of this installation reads"),
    ("jobs.low", {"run": RUN, "job": "{}"}, "no job"),
    ("jobs.low", {"run": RUN, "truncated": True}, "is gone from its topic"),
    ("events", {"source": {"topic": "", "partition": 99, "offset": 0}}, "Kafka refuses the record"),
    ("events", {"timestamp_ms": 10**30}, ""),
    ("jobs.low", {"headers": [["headrace_resumes", "eA=="]]}, ""),
    ("jobs.low", {"run": {**RUN, "generation": 10**30}}, ""),
]


def test_letters_that_others_have_made_do_no_more_than_ours_and_stop_nobody(installation: Installation) -> None:
    prefix = installation.settings.prefix
    for number, (topic, more, _) in enumerate(HOSTILE):
        letter: dict[str, Any] = {
            "format": 2, "service": "x", "reason": {"type": f"evil-{number}", "message": "m"}, "at": datetime.now(UTC),
            "source": {"topic": "", "partition": 0, "offset": 0}, "key": "aw==", "headers": [], "value": "e30=",
            "size": 2, "truncated": False, **more,
        }  # fmt: skip
        letter["source"] = {**letter["source"], "topic": f"{prefix}.{topic}"}
        if "job" in more:
            del letter["value"]
        installation.produce("jobs.dlq", json.dumps(letter, default=str).encode(), {})
    for value in (b"{", b"[]", None):
        installation.produce("jobs.dlq", value, {})
    found = letters(installation)
    errors = sorted(each["error"] for each in found)
    # The last one's number is more than MongoDB holds: it is a letter about a letter.
    assert errors == sorted(
        ["not_json", "bad_shape", "not_json", "internal_error", *(f"evil-{number}" for number in range(6))]
    )
    reasons = {error: words for number, (_, _, words) in enumerate(HOSTILE) if words for error in [f"evil-{number}"]}
    for each in found:
        words = reasons.get(each["error"])
        done = dlq(installation, "redrive", each["letter"], code=0 if words is None else 1)
        if words is not None:
            assert words in done["reasons"][0]["reason"]
    assert {each["error"] for each in letters(installation)} >= set(reasons)
