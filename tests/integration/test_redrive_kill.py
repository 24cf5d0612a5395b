"""Thousands of letters, and a command that does not live to its end: nothing is lost and nothing done twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from conftest import DEADLINE_S, Installation, until
from dlq_support import OtherSide, audit, dlq

from headrace.contracts.jobs import Job, derived_uuid, job_key, write_job
from headrace.embedded import Supervisor
from headrace.embedded.supervisor import settings_environment
from headrace.letter_actions import BATCH
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.storage import LetterFilter
from headrace.streams import Record

pytestmark = pytest.mark.integration

LETTERS = 3_000
RUNS = [derived_uuid(f"run {number}") for number in range(LETTERS)]


def job(run: str, number: int) -> Job:
    return Job.model_validate(
        {
            "format": 1, "run_id": run, "app": "shop", "automation": "orders", "version": 1, "generation": 0,
            "segment": 0, "attempt": 1, "key": f"{number}", "priority": "normal", "trigger": {"data": {"id": number}},
            "cause": {"id": run, "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": number,
                      "time": datetime(2013, 1, 1, tzinfo=UTC)},
        }
    )  # fmt: skip


def write_letters(settings: Settings, count: int) -> None:
    """What an orchestrator leaves whose every worker died of its job."""
    writer = DeadLetterWriter("orchestrator", settings)
    producer = Producer({**settings.kafka, "partitioner": "murmur2_random"})
    for number, run in enumerate(RUNS[:count]):
        key = job_key("shop", "orders", f"{number}").encode()
        record = Record(f"{settings.prefix}.jobs.normal", 0, number, 0, key, write_job(job(run, number)), [])
        letter = writer(record, "kills_worker", "its worker died 3 times while it ran alone")
        producer.produce(letter.topic, letter.value, letter.key)
    assert producer.flush(DEADLINE_S) == 0


def states(installation: Installation) -> Counter[str]:
    found = installation.ask(lambda storage: storage.dead_letters.find(LetterFilter(state=None), LETTERS + 1))
    return Counter(each.state for each in found)


def environment(settings: Settings) -> dict[str, str]:
    values = {name: value for name, value in settings_environment(settings).items() if value is not None}
    return {**os.environ, **values}


def test_a_redrive_killed_twice_has_run_each_run_once_and_left_no_letter_open(
    topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]
) -> None:
    with OtherSide() as side:
        installation = Installation(topics, start_services(topics, ("trigger_matcher", "recorder")))
        call = {"id": "call", "use": "http.request", "with": {"url": f"{side.url}/call", "method": "POST"}}
        row = {"id": "row", "use": "row.create", "with": {"table": "t", "row": {"n": "{{ trigger.data.id }}"}}}
        trigger = {"type": "event", "event": "*"}
        installation.apply({"name": "orders", "app": "shop", "trigger": trigger, "steps": [call, row]})
        write_letters(topics, LETTERS)
        until(lambda: states(installation).total() == LETTERS, "all letters in MongoDB")
        installation.services.start_service("orchestrator")
        redrive = ("dlq", "redrive", "--app", "shop")
        for number, when in (("2", "before"), ("3", "after")):
            argv = [sys.executable, str(Path(__file__).with_name("doomed_redrive.py")), number, when, *redrive]
            done = subprocess.run(argv, env=environment(topics), capture_output=True, timeout=DEADLINE_S)
            assert done.returncode == -signal.SIGKILL, done.stderr
        assert states(installation) == {"open": LETTERS - 4 * BATCH, "redriven": 4 * BATCH}
        assert dlq(installation, *redrive[1:])["redriven"] == LETTERS - 4 * BATCH
        installation.await_quiet()
        assert states(installation) == {"redriven": LETTERS}
        runs: list[Any] = [installation.ask(lambda storage, id=run: storage.runs.get(id)) for run in RUNS[::100]]
        assert {(run["status"], run["generation"]) for run in runs} == {("success", 1)}
        assert installation.ask(lambda storage: storage.runs.count_by_status("shop")) == {"success": LETTERS}
        assert Counter(side.keys("/call")) == Counter(f"{run}/0/call/0" for run in RUNS)
        assert installation.ask(lambda storage: storage.rows.count("shop", "t")) == LETTERS
        jobs = [orjson.loads(value)["run_id"] for value in installation.read(f"{topics.prefix}.jobs.normal")]
        assert len(jobs) == LETTERS + BATCH, "the batch that was produced and not marked is there twice"
        assert f'standing="stale"}} {BATCH}.0' in installation.get("orchestrator-0", "/metrics")
        ended = {(each["count"], each["ended"]) for each in audit(installation)}
        assert ended == {(BATCH, ""), (3 * BATCH, ""), (LETTERS - 4 * BATCH, "done")}


def test_ctrl_c_ends_a_redrive_after_its_batch_and_says_how_many_it_did(
    topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]
) -> None:
    count = 60
    installation = Installation(topics, start_services(topics, ("recorder",)))
    write_letters(topics, count)
    until(lambda: states(installation).total() == count, "all letters in MongoDB")
    argv = [str(Path(sys.executable).parent / "headrace"), "dlq", "redrive", "--app", "shop", "--rate", "5/s", "--json"]
    running = subprocess.Popen(argv, env=environment(topics), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: states(installation)["redriven"] > 0, "the first letters redriven")
    running.send_signal(signal.SIGINT)
    out, errors = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, errors) == (130, b"")
    told = orjson.loads(out)
    assert (told["interrupted"], told["refused"]) == (True, 0)
    assert 0 < told["redriven"] < count
    assert states(installation) == {"redriven": told["redriven"], "open": count - told["redriven"]}
    assert audit(installation)[0]["ended"] == "interrupted"
    assert dlq(installation, "redrive", "--app", "shop", "--rate", "1000/s")["redriven"] == count - told["redriven"]
    jobs = [orjson.loads(value)["run_id"] for value in installation.read(f"{topics.prefix}.jobs.normal")]
    assert sorted(jobs) == sorted(RUNS[:count])
