"""`bench fairness`: what an app waits for while another one has far more to do than its rate."""

import getpass
import time
from typing import Annotated

import typer
from confluent_kafka import Consumer, TopicPartition

from headrace import applying
from headrace.cli.output import Json, console, print_json, print_table, with_storage
from headrace.cli.run_watch import RunWatch
from headrace.cli.stack import running
from headrace.contracts.automation import parse_automation
from headrace.contracts.runs import RunRecord
from headrace.contracts.topics import JOBS
from headrace.installation import group_name, source_topics
from headrace.publisher import Publisher
from headrace.settings import Settings, load_settings
from headrace.streams.admin import group_lag

TIMEOUT_S = 600.0
"""For a hundred thousand runs on a slow machine."""

RATE = 500
"""Jobs a second that an app may have here: what either app is within or beyond by far."""

BUSY: str = "busy"
QUIET: str = "quiet"


def fairness(
    busy: Annotated[int, typer.Option(help="Events of the app beyond its rate", min=1_000)] = 100_000,
    quiet: Annotated[int, typer.Option(help="Events of the app that comes later", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """Measure how many runs of a busy app are done before those of one that comes later, on a fresh embedded stack."""
    settings = load_settings()
    update = {"state_dir": settings.state_dir / "bench", "app_rate": RATE}
    with running(settings.model_copy(update=update), fresh=True, quiet=as_json) as found:
        _apply(found.settings)
        ends: dict[str, list[float]] = {BUSY: [], QUIET: []}

        def take(record: RunRecord) -> None:
            if (finished := record["finished_at"]) is not None:
                ends[record["app"]].append(finished.timestamp())

        with RunWatch(found.settings) as watch:
            _publish(found.settings, BUSY, busy)
            # In the events topic all stand behind each other: what is measured begins with jobs.
            _await_matched(found.settings)
            _publish(found.settings, QUIET, quiet)
            watch.read(lambda: len(ends[BUSY]) + len(ends[QUIET]) >= busy + quiet, take, TIMEOUT_S)
        first_job = _first_quiet_job(found.settings)
    last = max(ends[QUIET])
    backlog = sum(end > first_job for end in ends[BUSY])
    between = sum(first_job <= end <= last for end in ends[BUSY])
    if backlog == between:
        raise RuntimeError("the busy app's backlog was gone before the quiet one came: nothing was measured")
    took_ms = round((last - first_job) * 1e3, 1)
    if as_json:
        print_json(
            {
                "busy": {"runs": busy, "waiting": backlog},
                "quiet": {"runs": quiet, "ms": took_ms},
                "busy_done_before_quiet": between,
            }
        )
        return
    console.print(f"{backlog:,} jobs of the busy app waited as the quiet one's {quiet} came", highlight=False)
    print_table(
        ("", "runs, or ms"),
        [
            ("the quiet app's first job to the end of its last run, ms", took_ms),
            ("runs of the busy app that ended meanwhile", between),
        ],
    )


def _apply(settings: Settings) -> None:
    steps = [{"id": "answer", "collect": "{{ trigger.data.n }}"}]
    documents = [
        parse_automation({"name": "one", "app": app, "trigger": {"type": "event", "event": "work"}, "steps": steps})
        for app in (BUSY, QUIET)
    ]
    with_storage(settings, lambda storage: applying.apply(settings, storage, documents, getpass.getuser()))


def _publish(settings: Settings, app: str, count: int) -> None:
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(app, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        for number in range(count):
            publisher.submit_event("work", {"n": number}, key=f"key-{number % 1_000}")
        publisher.flush()


def _await_matched(settings: Settings) -> None:
    matcher = "trigger_matcher"
    topics, deadline = source_topics(settings, matcher), time.monotonic() + TIMEOUT_S
    while group_lag(settings.kafka, group_name(settings, matcher), topics) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all events were matched within {TIMEOUT_S:.0f} s")
        time.sleep(0.2)  # the broker is asked: there is nothing here to await


def _first_quiet_job(settings: Settings) -> float:
    """When its record was written, by the broker's clock, which is this machine's. It is of the priority `normal`, as
    all of the quiet app's; the busy one has a few of these too."""
    consumer = Consumer({**settings.kafka, "group.id": "bench-fairness", "isolation.level": "read_committed"})
    topic = JOBS["normal"].full_name(settings.prefix)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    times: list[float] = []
    try:
        while messages := consumer.consume(10_000, 2.0):
            for message in messages:
                if message.error() is None and (message.key() or b"").startswith(f"{QUIET}/".encode()):
                    times.append(message.timestamp()[1] / 1e3)
    finally:
        consumer.close()
    return min(times)
