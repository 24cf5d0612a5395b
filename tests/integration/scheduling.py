"""An installation's timers and clocks as its tests see them: written, fired, left."""

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from confluent_kafka import Producer
from conftest import DEADLINE_S

from headrace.contracts.automation import LiveAutomation, parse_automation
from headrace.contracts.cloudevents import Location
from headrace.contracts.resumptions import RESUMES_HEADER, Resumption, Timer, read_resumption, write_timer
from headrace.contracts.topics import AUTOMATIONS, DEAD_LETTERS, JOBS, TICKS, TIMERS
from headrace.settings import Settings
from headrace.streams import Record, StreamFailed
from headrace.streams.admin import group_lag, read_topic
from services.scheduler.wiring import Scheduler


class Clock:
    """The machine's clock, and what a test puts it forward by."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


def run(number: int) -> str:
    return str(UUID(int=number))


class Scheduling:
    """Timers are named by numbers, as their runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock()
        self.timers, self.ticks, self.letters, self.automations = (
            topic.full_name(settings.prefix) for topic in (TIMERS, TICKS, DEAD_LETTERS, AUTOMATIONS)
        )
        self._revision = 0

    def write(self, numbers: Iterable[int], due: datetime, every: timedelta = timedelta(), segment: int = 1) -> None:
        """Timers of these numbers, due from `due` on, one after the other."""
        producer = Producer({**self.settings.kafka, "enable.idempotence": True, "partitioner": "murmur2_random"})
        for at, number in enumerate(numbers):
            resumption = Resumption(
                run_id=run(number), app="shop", automation="pay", source=Location("headrace.events", 0, number),
                generation=0, segment=segment, key=str(number % 50), priority="normal",
            )  # fmt: skip
            timer = Timer(due=due + at * every, resumes=resumption)
            producer.produce(self.timers, write_timer(timer), run(number).encode())
            if at % 50_000 == 0:
                producer.flush()  # the client's queue holds 100,000
        assert producer.flush(DEADLINE_S) == 0

    def put(self, key: bytes, value: bytes | None, topic: str | None = None) -> None:
        """Any record."""
        producer = Producer({**self.settings.kafka, "partitioner": "murmur2_random"})
        producer.produce(topic or self.timers, value, key)
        assert producer.flush(DEADLINE_S) == 0

    def publish(self, name: str, state: Any = "enabled", **trigger: Any) -> None:
        """An automation that fires by the clock, as `apply` would publish it."""
        self._revision += 1
        document = parse_automation(
            {"name": name, "app": "shop", "trigger": {"type": "cron", **trigger}, "steps": [{"id": "s", "collect": 1}]}
        )
        live = LiveAutomation(format=1, revision=self._revision, version=1, state=state, document=document)
        self.put(document.id.encode(), live.model_dump_json(by_alias=True).encode(), self.automations)

    def resumed(self) -> list[tuple[int, int, datetime]]:
        """Of each resumption its number, its segment and when it was appended."""
        found: list[tuple[int, int, datetime]] = []
        for record in read_topic(self.settings.kafka, JOBS["normal"].full_name(self.settings.prefix)):
            resumption = read_resumption(record.value)
            assert dict(record.headers)[RESUMES_HEADER] == resumption.run_id.encode()
            assert record.key == resumption.record_key
            at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
            found.append((UUID(resumption.run_id).int, resumption.segment, at))
        return found

    def numbers(self) -> list[int]:
        """The numbers of all resumptions, ascending."""
        return sorted(number for number, _, _ in self.resumed())

    def left(self) -> dict[bytes, bytes]:
        """What the compacted topic says at last: the timers that are pending."""
        last = {(record.partition, record.key or b""): record.value for record in self.read(self.timers)}
        return {key: value for (_, key), value in last.items() if value is not None}

    def read(self, topic: str) -> list[Record]:
        """All committed records of a topic."""
        return list(read_topic(self.settings.kafka, topic))

    def is_quiet(self) -> bool:
        """Whether schedulers have read all, and committed so."""
        return group_lag(self.settings.kafka, f"{self.settings.prefix}-scheduler", [self.timers]) == 0

    @contextmanager
    def running(self, slot: int = 0) -> Generator[Scheduler]:
        """A scheduler in a thread of ours, by our clock."""
        scheduler = Scheduler(self.settings.model_copy(update={"slot": slot}), self.clock)
        failures: list[BaseException] = []

        def main() -> None:
            try:
                scheduler.run()
            except StreamFailed as failure:
                failures.append(failure)

        thread = threading.Thread(target=main)
        thread.start()
        try:
            yield scheduler
        finally:
            scheduler.stop()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        if failures:
            raise failures[0]
