"""`bench redrive`: a redrive of very many dead letters whose process is killed again and again."""

import getpass
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import orjson
import typer
from confluent_kafka import Consumer, TopicPartition

from headrace import applying
from headrace.cli.answering import Answering
from headrace.cli.output import Json, console, print_json, print_table, with_storage
from headrace.cli.run_watch import RunWatch
from headrace.cli.stack import Running, running
from headrace.contracts.automation import parse_automation
from headrace.contracts.runs import RunRecord
from headrace.contracts.topics import JOBS
from headrace.embedded.processes import Children
from headrace.embedded.supervisor import settings_environment
from headrace.installation import group_name, source_topics
from headrace.publisher import Publisher
from headrace.settings import Settings, load_settings
from headrace.storage import LETTER_STATES, Action, LetterFilter, Storage
from headrace.streams.admin import group_lag

APP, NAME, TABLE = "bench", "redriven", "redriven"

KILLED_WITHIN_S = 3.0
"""From its first batch on: some thousands of letters."""

TIMEOUT_S = 1_800.0
"""For a hundred thousand runs with two calls and a row each on a slow machine."""

LOOK_S = 0.05
"""How often is looked at the memory of the command: the kernel keeps its peak, as long as it lives."""


def redrive(
    letters: Annotated[int, typer.Option(help="Dead letters to redrive", min=10)] = 100_000,
    kills: Annotated[int, typer.Option(help="How often the redriving process is killed", min=0)] = 6,
    as_json: Json = False,
) -> None:
    """Measure a bulk redrive under SIGKILL, and that each run then succeeds exactly once, on a fresh embedded stack."""
    settings = load_settings()
    update = {"state_dir": settings.state_dir / "bench", "allow_private_hosts": True}
    with (
        running(settings.model_copy(update=update), fresh=True, quiet=as_json) as found,
        Answering(is_broken=True) as answering,
    ):
        _apply(found.settings, answering.url)
        _publish(found.settings, letters)
        _await_letters(found.settings, letters)
        if not as_json:
            console.print(f"{letters:,} dead letters are there", highlight=False)
        answering.is_broken = False
        ends: Counter[str] = Counter()

        def take(record: RunRecord) -> None:
            if record["status"] == "success":
                ends[record["run_id"]] += 1

        with RunWatch(found.settings) as watch:
            done = _redrive(found, kills)
            _await_quiet(found.settings)
            watch.read_all(take, TIMEOUT_S)
        stored = with_storage(found.settings, _stored)
        jobs = Counter(_redriven_jobs(found.settings))
    result: dict[str, object] = {
        "letters": letters,
        "kills": done.kills,
        "seconds": round(done.seconds, 1),
        "letters_per_s": round(letters / done.seconds),
        "peak_mib": round(done.peak_mib, 1),
        "states": stored.states,
        "runs": stored.runs,
        "succeeded_once": sum(count == 1 for count in ends.values()),
        "rows": stored.rows,
        "calls": {"steps": len(answering.done), "again": sum(answering.done.values()) - len(answering.done)},
        "jobs": {"runs": len(jobs), "copies": sum(jobs.values()) - len(jobs)},
        "audit": [{"count": each.count, "ended": each.ended} for each in stored.actions],
    }
    if as_json:
        print_json(result)
        return
    print_table(
        ("", f"{letters:,} letters, {done.kills} kills"),
        [
            ("redriven", f"{result['letters_per_s']:,} letters/s, in {done.seconds:.1f} s with all starts"),
            ("memory of the redriving process", f"at most {done.peak_mib:.0f} MiB"),
            ("letters", stored.states),
            ("runs", f"{stored.runs}, succeeded once {result['succeeded_once']:,}, rows {stored.rows:,}"),
            ("calls", "{steps:,}, made again {again}".format(**result["calls"])),  # pyright: ignore
            ("jobs that the kills made twice", sum(jobs.values()) - len(jobs)),
        ],
    )


async def _stored(storage: Storage) -> "_Stored":
    states = {state: await storage.dead_letters.count(LetterFilter(app=APP, state=state)) for state in LETTER_STATES}
    runs, rows = await storage.runs.count_by_status(APP), await storage.rows.count(APP, TABLE)
    return _Stored(states, runs, rows, await _redrives(storage))


async def _redrives(storage: Storage) -> list[Action]:
    return [each for each in await storage.audit.find(1_000) if each.action == "redrive"]


class _Redriven(NamedTuple):
    kills: int
    seconds: float
    peak_mib: float


class _Stored(NamedTuple):
    states: dict[str, int]
    runs: dict[str, int]
    rows: int
    actions: list[Action]


def _apply(settings: Settings, url: str) -> None:
    call = {"url": url, "method": "POST", "json": {"n": "{{ trigger.data.n }}"}}
    steps = [
        {"id": "call", "use": "http.request", "with": call, "retry": {"attempts": 1}, "on_error": "retry"},
        {"id": "note", "use": "row.create", "with": {"table": TABLE, "row": {"n": "{{ trigger.data.n }}"}}},
    ]
    trigger = {"type": "event", "event": "work"}
    document = parse_automation({"name": NAME, "app": APP, "trigger": trigger, "steps": steps})
    with_storage(settings, lambda storage: applying.apply(settings, storage, [document], getpass.getuser()))


def _publish(settings: Settings, count: int) -> None:
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(APP, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        for number in range(count):
            publisher.submit_event("work", {"n": number}, key=f"key-{number % 1_000}")
            if number % 50_000 == 0:
                publisher.flush()  # the client's queue holds 100,000
        publisher.flush()


def _await_letters(settings: Settings, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while with_storage(settings, lambda storage: storage.dead_letters.count(LetterFilter(app=APP))) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all runs were dead letters within {TIMEOUT_S:.0f} s")
        time.sleep(1)  # MongoDB is asked: there is nothing here to await


def _redrive(found: Running, kills: int) -> _Redriven:
    """Gives the same command until it ends by itself; the first `kills` times it is killed, if it lives so long."""
    chance, killed, peak, began = random.Random(), 0, 0.0, time.monotonic()
    argv = [sys.executable, "-m", "headrace.cli", "dlq", "redrive", "--app", APP, "--automation", NAME, "--json"]
    values = settings_environment(found.settings)
    environment = {**os.environ, **{name: value for name, value in values.items() if value is not None}}
    children = Children()
    while True:
        child = children.spawn("redrive", argv, found.settings.state_dir / "logs" / "redrive.log", environment)
        dies_at = None
        while not child.join(LOOK_S) and (dies_at is None or time.monotonic() < dies_at):
            peak = max(peak, child.usage().peak_mib)
            if dies_at is None and killed < kills and _has_begun(found.settings, killed):
                dies_at = time.monotonic() + chance.uniform(0, KILLED_WITHIN_S)
        if child.exit_code is not None:
            if child.exit_code != 0:
                raise RuntimeError(f"the redrive ended with code {child.exit_code}; its log is {child.log}")
            return _Redriven(killed, time.monotonic() - began, peak)
        children.discard(child)
        killed += 1


def _has_begun(settings: Settings, before: int) -> bool:
    """Whether the command behind so many others has marked its first batch."""
    found = with_storage(settings, _redrives)
    return len(found) > before and found[0].count > 0


def _await_quiet(settings: Settings) -> None:
    """Until every redriven run has come to its end, and is recorded; copies of its job are stale by then."""
    deadline = time.monotonic() + TIMEOUT_S
    for service in ("orchestrator", "recorder"):
        while group_lag(settings.kafka, group_name(settings, service), source_topics(settings, service)) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all redriven runs came to their end within {TIMEOUT_S:.0f} s")
            time.sleep(0.5)  # the broker is asked: there is nothing here to await


def _redriven_jobs(settings: Settings) -> Iterator[str]:
    """The run of each job of a later generation."""
    consumer = Consumer({**settings.kafka, "group.id": "bench-redrive", "isolation.level": "read_committed"})
    topic = JOBS["normal"].full_name(settings.prefix)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    try:
        while messages := consumer.consume(10_000, 2.0):
            for message in messages:
                if message.error() is None and (job := orjson.loads(message.value() or b""))["generation"] > 0:
                    yield job["run_id"]
    finally:
        consumer.close()
