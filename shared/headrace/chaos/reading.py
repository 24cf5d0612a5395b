"""Topics read whole, as any `read_committed` client sees them, into what the judge looks at."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar, cast

import orjson
from confluent_kafka import Consumer, Message, TopicPartition

from headrace.chaos.observations import (
    DeadLetterSeen,
    DeltaSeen,
    JobSeen,
    PartitionOf,
    Place,
    RunSeen,
    Stand,
    Stands,
    TickSeen,
    TimerSeen,
)
from headrace.contracts.runs import FINAL_STATUSES
from headrace.contracts.topics import AUTOMATIONS, DEAD_LETTERS, RUNS, STATS, TICKS, TIMERS
from headrace.installation import READS, group_name, source_topics, topics
from headrace.settings import Settings
from headrace.streams.offsets import committed

READ_TIMEOUT_S = 60.0
"""For one topic; it holds some thousands of records and takes a second."""

REQUEST_TIMEOUT_S = 15.0
"""For one question to the broker, which answers in milliseconds."""

_T = TypeVar("_T")


def read_jobs(settings: Settings) -> list[JobSeen]:
    """All jobs, on the jobs topics and on retry topics; what is no job is left to the dead letters."""
    jobs: list[JobSeen] = []
    for topic in (topic for topic in topics(settings) if topic.name.startswith("jobs.") and topic is not DEAD_LETTERS):
        retry = topic.name.startswith("jobs.retry.")
        jobs += _read(settings, topic.full_name(settings.prefix), lambda message, retry=retry: _job(message, retry))
    return jobs


def read_runs(settings: Settings) -> list[RunSeen]:
    """All run records."""
    return _read(settings, RUNS.full_name(settings.prefix), _run)


def read_dead_letters(settings: Settings) -> list[DeadLetterSeen]:
    """All dead letters."""
    return _read(settings, DEAD_LETTERS.full_name(settings.prefix), _dead_letter)


def read_timers(settings: Settings) -> list[TimerSeen]:
    """The timers that are pending: the newest record of each id in each partition, where that is no tombstone.

    A run that was held and then sleeps has a tombstone in the partition of its job, and its timer in that of its id.
    """
    newest: dict[tuple[int, bytes], TimerSeen | None] = {}
    for partition, key, timer in _read(settings, TIMERS.full_name(settings.prefix), _timer):
        newest[partition, key] = timer
    return [timer for timer in newest.values() if timer is not None]


def read_ticks(settings: Settings) -> list[TickSeen]:
    """All ticks."""
    return _read(settings, TICKS.full_name(settings.prefix), _tick)


def read_deltas(settings: Settings) -> list[DeltaSeen]:
    """All records of the stats topic."""
    return _read(settings, STATS.full_name(settings.prefix), _delta)


def live_since(settings: Settings) -> dict[str, int]:
    """When each automation, by its id, first went live, by the broker's clock in microseconds since 1970. For a stack
    whose topics are young: compaction takes the first records away."""
    since: dict[str, int] = {}
    for id, appended in _read(settings, AUTOMATIONS.full_name(settings.prefix), _published):
        since.setdefault(id, appended)
    return since


def read_stands(settings: Settings) -> Stands:
    """Where every group stands in each partition it reads; raises KafkaException while the broker is away."""
    stands: dict[PartitionOf, Stand] = {}
    for service in READS:
        group = group_name(settings, service)
        properties = {"group.id": group, "isolation.level": "read_committed"}
        consumer = Consumer({**settings.kafka, **properties})
        try:
            partitions = [
                TopicPartition(topic, number)
                for topic in source_topics(settings, service)
                for number in range(settings.partitions)
            ]
            for found in committed(consumer, partitions, REQUEST_TIMEOUT_S):
                first, end = consumer.get_watermark_offsets(found, timeout=REQUEST_TIMEOUT_S)
                stands[PartitionOf(group, found.topic, found.partition)] = Stand(max(-1, found.offset), end, first)
        finally:
            consumer.close()
    return stands


def microseconds(text: str) -> int:
    """A time of a run record, as microseconds since the epoch."""
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _read(settings: Settings, topic: str, parse: Callable[[Message], _T | None]) -> list[_T]:
    properties = {"group.id": "chaos-judge", "isolation.level": "read_committed", "fetch.wait.max.ms": 10}
    consumer = Consumer({**settings.kafka, **properties})
    try:
        found = (parse(message) for n in range(settings.partitions) for message in _messages(consumer, topic, n))
        return [each for each in found if each is not None]
    finally:
        consumer.close()


def _messages(consumer: Consumer, topic: str, number: int) -> Iterator[Message]:
    partition = TopicPartition(topic, number)
    first, end = consumer.get_watermark_offsets(partition, timeout=REQUEST_TIMEOUT_S)
    consumer.assign([TopicPartition(topic, number, first)])
    deadline = time.monotonic() + READ_TIMEOUT_S
    # position() passes transaction markers, which occupy offsets and are never delivered.
    while max(first, *(each.offset for each in consumer.position([partition]))) < end:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic}/{number} could not be read to its end within {READ_TIMEOUT_S:.0f} s")
        # It waits for so many or so long: most partitions have fewer, and there are dozens.
        yield from (message for message in consumer.consume(1_000, 0.02) if message.error() is None)


def _place(message: Message) -> Place:
    return Place(str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))


def _appended(message: Message) -> int:
    return message.timestamp()[1] * 1_000


def _object(value: bytes | str | None) -> Mapping[str, object] | None:
    try:
        found: object = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _job(message: Message, retry: bool) -> JobSeen | None:
    job = _object(message.value())
    if job is None or "run_id" not in job:
        return None
    generation, segment, attempt = (cast(int, job.get(name, 0)) for name in ("generation", "segment", "attempt"))
    run, app, automation, key = (str(job[name]) for name in ("run_id", "app", "automation", "key"))
    place, appended = _place(message), _appended(message)
    return JobSeen(place, run, app, automation, key, generation, segment, attempt, retry, appended)


def _run(message: Message) -> RunSeen | None:
    run = _object(message.value())
    if run is None or "run_id" not in run:
        return None
    event, job = (cast("Mapping[str, object]", run[name]) for name in ("event", "job"))
    status = str(run["status"])
    next = cast("Mapping[str, object]", run.get("next") or {})
    steps = cast("Sequence[Mapping[str, object]]", run["steps"])
    return RunSeen(
        place=_place(message),
        appended=_appended(message),
        run=str(run["run_id"]),
        automation=str(run["automation"]),
        event=str(event["id"]),
        source=str(event["source"]),
        status=status,
        final=status in FINAL_STATUSES,
        generation=cast(int, run["generation"]),
        sequence=cast(int, run["sequence"]),
        attempt=cast(int, run["attempt"]),
        job=Place(str(job["topic"]), cast(int, job["partition"]), cast(int, job["offset"])),
        started=microseconds(str(run["started_at"])),
        collected=run.get("collected"),
        due=microseconds(str(next["due"])) if "due" in next else None,
        waits_for=str(next.get("what", "")),
        done=frozenset(str(step["id"]) for step in steps if step["status"] == "success"),
    )


def _timer(message: Message) -> tuple[int, bytes, TimerSeen | None]:
    id, value = message.key() or b"", message.value()
    timer = None if value is None else _object(value) or {}
    place = _place(message)
    return place.partition, id, None if timer is None else TimerSeen(place, id.decode(), str(timer.get("due")))


def _tick(message: Message) -> TickSeen | None:
    tick = _object(message.value())
    if tick is None:
        return None
    automation, scheduled = str(tick["automation"]), microseconds(str(tick["scheduled"]))
    return TickSeen(_place(message), _appended(message), automation, scheduled)


def _delta(message: Message) -> DeltaSeen | None:
    delta = _object(message.value())
    if delta is None:
        return None
    return DeltaSeen(_place(message), str(delta["automation"]), cast("Mapping[str, int]", delta["ended"]))


def _published(message: Message) -> tuple[str, int]:
    return (message.key() or b"").decode(), _appended(message)


def _dead_letter(message: Message) -> DeadLetterSeen:
    letter = _object(message.value()) or {}
    reason = cast("Mapping[str, object]", letter.get("reason") or {})
    source = cast("Mapping[str, object] | None", letter.get("source"))
    place = None
    if source is not None:
        place = Place(str(source["topic"]), cast(int, source["partition"]), cast(int, source["offset"]))
    run = cast("Mapping[str, object]", letter.get("run") or {})
    return DeadLetterSeen(
        _place(message), place, str(run.get("run_id", "")), f"{reason.get('type')}: {reason.get('message')}"
    )


def total_lag(stands: Stands) -> int:
    """Records that no group has committed yet."""
    return sum(max(0, stand.lag) for stand in stands.values())


def lags_by_group(stands: Stands) -> Mapping[str, int]:
    """The lag of each group."""
    lags: dict[str, int] = {}
    for partition, stand in stands.items():
        lags[partition.group] = lags.get(partition.group, 0) + max(0, stand.lag)
    return lags


def ends(stands: Stands) -> Sequence[int]:
    """What changes whenever anything new comes."""
    return [stand.end for stand in stands.values()]
