"""A partition of the timers topic in memory, and the scheduler's state that reads it and writes to it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from headrace.contracts.cloudevents import Location
from headrace.contracts.resumptions import Resumption, Timer, write_timer
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.streams import Outgoing, Record
from headrace.streams.state import Act
from services.scheduler.crons import LiveCrons
from services.scheduler.firing import Firing
from services.scheduler.held import Held, LivePauses
from services.scheduler.timers import TimerPartition

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TOPIC = "headrace.timers"


def timer(key: bytes, number: int, due: datetime) -> bytes:
    resumption = Resumption(
        run_id=key.decode(), app="shop", automation="pay", source=Location("headrace.events", 0, 7), generation=0,
        segment=number, key="k", priority="high",
    )  # fmt: skip
    return write_timer(Timer(due=due, resumes=resumption))


def partition(crons: LiveCrons, pauses: LivePauses, now: Callable[[], datetime]) -> TimerPartition:
    installed = Settings(prefix="headrace")
    letters, held = DeadLetterWriter("scheduler", installed), Held(pauses, 1)
    return TimerPartition((TOPIC, 0), Firing(installed), crons, letters, now, lambda key: True, held)


class Log:
    """The partition in Kafka, and who reads it."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.crons = LiveCrons()
        self.revision = 0
        self.records: list[Record] = []
        self.outputs: list[Outgoing] = []
        self.read = 0
        self.pauses = LivePauses()
        self.state = partition(self.crons, self.pauses, lambda: self.now)

    def append(self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> int:
        offset = self.records[-1].offset + 1 if self.records else 0
        self.records.append(Record(TOPIC, 0, offset, 0, key, value, headers))
        return offset

    def apply(self, most: int = 1_000_000) -> None:
        for record in self.records[self.read : self.read + most]:
            self.state.apply(record)
        self.read = min(len(self.records), self.read + most)

    def act(self, most: int = 1_000) -> Sequence[Act]:
        acts = self.state.act(most)
        for act in acts:
            self.outputs += act.outputs
            for own in act.own:
                assert own.topic == TOPIC
                assert own.partition == 0
                self.append(own.key or b"", own.value, own.headers)
        return acts

    def settle(self) -> None:
        """Reads and acts until nothing happens any more."""
        self.apply()
        while self.act():
            self.apply()

    def restart(self) -> None:
        self.state = partition(self.crons, self.pauses, lambda: self.now)
        self.read = 0
        self.apply()

    def compact(self) -> None:
        last = {record.key: record.offset for record in self.records}
        self.records = [record for record in self.records if last[record.key] == record.offset]
