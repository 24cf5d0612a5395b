"""`bench timers`: how long pending timers take to be known again, what memory they need, and how late due ones fire."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.cli.demo import percentile
from headrace.cli.output import Json, console, print_json, print_table
from headrace.cli.stack import Running, running
from headrace.contracts.cloudevents import Location
from headrace.contracts.resumptions import Resumption, Timer, read_resumption, write_timer
from headrace.contracts.topics import JOBS, TIMERS
from headrace.settings import Settings, load_settings

READY_TIMEOUT_S = 600.0
"""Ten times what a million timers may take: a slower machine is to be measured too, not given up."""

LEAD_S, WRITTEN_A_SECOND = 3.0, 5_000
"""Timers are written before the first is due: so many a second on a slow machine, and some seconds beside."""

SPREAD = timedelta(days=30)
"""Over which pending timers are due, from tomorrow on."""

LATE_S = 120.0
"""What has not fired so long after the last due time never will."""


def timers(
    pending: Annotated[int, typer.Option(help="Timers that are pending all the while", min=0)] = 1_000_000,
    rate: Annotated[int, typer.Option(help="Timers due a second", min=1)] = 2_000,
    seconds: Annotated[int, typer.Option(help="Seconds at this rate", min=1)] = 30,
    as_json: Json = False,
) -> None:
    """Measure the scheduler: rebuild and memory of pending timers, lateness of due ones, on a fresh embedded stack."""
    settings = load_settings()
    settings = settings.model_copy(update={"state_dir": settings.state_dir / "bench"})
    with running(settings, fresh=True, quiet=as_json, names=()) as found:
        _write(found.settings, pending, _pending_due(pending))
        began = time.monotonic()
        process = found.services.start_service("scheduler")
        found.services.wait_ready(READY_TIMEOUT_S, found.stack.check)
        rebuilt = time.monotonic() - began
        rss = process.stats().memory_info().rss / (1 << 20)
        if not as_json:
            console.print(f"{pending:,} timers known after {rebuilt:.1f} s, {rss:.0f} MiB", highlight=False)
        lateness = _lateness(found, pending, rate, rate * seconds)
        peak = process.stats().memory_info().rss / (1 << 20)
    late_ms = {
        name: round(percentile(lateness, share), 1) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }
    result = {
        "pending": pending,
        "rebuild_s": round(rebuilt, 2),
        "rss_mib": round(rss, 1),
        "rss_after_mib": round(peak, 1),
        "due": {"per_s": rate, "seconds": seconds, "fired": len(lateness)},
        "early": sum(late < 0 for late in lateness),
        "late_ms": late_ms,
    }
    if as_json:
        print_json(result)
        return
    print_table(
        ("", f"{pending:,} pending, {rate:,} due a second"),
        [
            ("known again, from the process's start", f"{rebuilt:.1f} s"),
            ("memory of the scheduler", f"{rss:.0f} MiB, after firing {peak:.0f} MiB"),
            ("fired", f"{len(lateness):,}, early {result['early']}"),
            ("late", "p50 {p50} ms, p99 {p99} ms, at most {max} ms".format(**late_ms)),
        ],
    )


def _pending_due(count: int) -> Callable[[int], datetime]:
    begin = datetime.now(UTC) + timedelta(days=1)
    return lambda number: begin + SPREAD * number / max(1, count)


def _write(settings: Settings, count: int, due: Callable[[int], datetime], first: int = 0) -> None:
    producer = Producer(
        {**settings.kafka, "enable.idempotence": True, "linger.ms": 20, "partitioner": "murmur2_random"}
    )
    topic = TIMERS.full_name(settings.prefix)
    for number in range(count):
        run = str(UUID(int=(first + number) << 64 | 0x8000000000000000))
        resumption = Resumption(
            run_id=run, app="bench", automation="late-flight-desk", source=Location("headrace.events", 0, number),
            generation=0, segment=1, key=f"key-{number % 1_000}", priority="normal",
        )  # fmt: skip
        producer.produce(topic, write_timer(Timer(due=due(number), resumes=resumption)), run.encode())
        if number % 50_000 == 0:
            producer.flush()  # the client's queue holds 100,000
    producer.flush()


def _lateness(found: Running, pending: int, rate: int, count: int) -> list[float]:
    """Milliseconds from each due time until a reader of committed records has its resumption, ascending."""
    begin = datetime.now(UTC) + timedelta(seconds=LEAD_S + count / WRITTEN_A_SECOND)

    def due(number: int) -> datetime:
        return begin + timedelta(seconds=number / rate)

    arrivals = _arrivals(found.settings)
    next(arrivals)
    _write(found.settings, count, due, pending)
    if datetime.now(UTC) > begin:
        raise RuntimeError("the timers were not written before the first was due: these figures mean nothing")
    end = due(count).timestamp() + LATE_S
    lateness: dict[int, float] = {}
    while len(lateness) < count:
        for number, at in next(arrivals):
            lateness.setdefault(number, (at - due(number).timestamp()) * 1e3)
        if time.time() > end:
            raise TimeoutError(
                f"{len(lateness):,} of {count:,} timers fired within {LATE_S:.0f} s of the last one's time"
            )
    return sorted(lateness.values())


def _arrivals(settings: Settings) -> Iterator[list[tuple[int, float]]]:
    """What came in since the last time: numbers of timers, and when they could be read."""
    consumer = Consumer({**settings.kafka, "group.id": "bench-timers", "isolation.level": "read_committed"})
    topic = JOBS["normal"].full_name(settings.prefix)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.partitions)])
    try:
        while True:
            messages = consumer.consume(1, 0.05) + consumer.consume(10_000, 0)
            now = time.time()
            values = [message.value() for message in messages if message.error() is None]
            yield [(read_resumption(value).source.offset, now) for value in values]
    finally:
        consumer.close()
