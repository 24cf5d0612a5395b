"""The concurrent shape on a real Kafka: ordered per key, out of order otherwise, exactly once in any case."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from conftest import DEADLINE_S, until
from test_streams import Stream, numbers

from headrace.settings import Settings
from headrace.streams import ConcurrentProcessor, Outgoing, Record, Turn, Unavailable, concurrent, dispatch
from headrace.streams.admin import TopicSpec, make_topics
from headrace.streams.commit_metadata import CommitPoint, decode
from headrace.streams.turns import Handler

pytestmark = pytest.mark.integration

RECORDS = 3_000
Work = Coroutine[object, object, Sequence[Outgoing]]


class Suspects:
    """A memory of suspects that outlives a test's workers."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    async def found(self, ids: Sequence[str]) -> Mapping[str, int]:
        return {id: self.counts[id] for id in ids if id in self.counts}

    async def mark(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.counts.setdefault(id, 0)

    async def count(self, id: str) -> int:
        self.counts[id] += 1
        return self.counts[id]

    async def take_back(self, id: str) -> None:
        self.counts[id] -= 1

    async def clear(self, ids: Sequence[str]) -> None:
        for id in ids:
            self.counts.pop(id, None)


class ConcurrentStream(Stream):
    """The same topics, with workers of the concurrent shape."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.suspects = Suspects()

    def copied(self, record: Record) -> list[Outgoing]:
        return [Outgoing(self.target, record.key, record.value)]

    @contextmanager
    def working(self, handler: Handler, slot: int = 0, **config: object) -> Generator[ConcurrentProcessor]:
        """A worker in a thread of ours, with an event loop of its own; drained at the end."""
        processor = ConcurrentProcessor(
            replace(self.config(slot), **config),  # pyright: ignore[reportArgumentType]
            handler,
            self.letter,
            self.memory,
            self.suspects,
            asyncio.run,
        )
        failures: list[Exception] = []

        def run() -> None:
            try:
                processor.run()
            except Exception as failure:  # noqa: BLE001 - it is raised in the test's own thread
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield processor
        finally:
            processor.stop()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        if failures:
            raise failures[0]

    def leave_clean(self) -> None:
        """A first worker has been here, and has ended in order."""
        self.feed(range(10))
        with self.working(lambda record, _: self.copied(record)) as worker:
            until(lambda: len(self.values(self.target)) == 10, "the first ten")
            until(lambda: all(each.suspects_left == 0 for each in worker._ledgers._assigned.values()), "the idle end")

    def committed(self) -> list[TopicPartition]:
        consumer = Consumer({**self.kafka, "group.id": self.group})
        found = consumer.committed([TopicPartition(self.source, number) for number in (0, 1)], timeout=DEADLINE_S)
        consumer.close()
        return found


@pytest.fixture
def stream(settings: Settings) -> ConcurrentStream:
    return ConcurrentStream(settings)


def test_records_that_never_wait_are_each_committed_once(stream: ConcurrentStream) -> None:
    stream.feed(range(RECORDS))
    with stream.working(lambda record, _: stream.copied(record)):
        until(stream.done(RECORDS), "all to be copied")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS))


def test_keys_wait_side_by_side_and_each_keeps_its_order(stream: ConcurrentStream) -> None:
    started: dict[bytes, list[int]] = defaultdict(list)
    under_way: set[bytes] = set()
    all_at_once = asyncio.Event()

    async def slowly(record: Record) -> Sequence[Outgoing]:
        key = record.key or b""
        assert key not in under_way
        under_way.add(key)
        started[key].append(int(record.value or b""))
        if len(under_way) == 97:
            all_at_once.set()
        await all_at_once.wait()
        under_way.remove(key)
        return stream.copied(record)

    stream.leave_clean()  # suspects would not run all at once
    stream.feed(range(RECORDS))
    with stream.working(lambda record, _: slowly(record)):
        until(lambda: len(stream.values(stream.target)) == RECORDS + 10, "all to be copied")
    assert all(found == sorted(found) for found in started.values())


def test_what_is_finished_beyond_an_open_record_is_not_done_again_by_the_next_owner(stream: ConcurrentStream) -> None:
    stream.feed(range(120))
    held = asyncio.Event()  # never set
    first: list[int] = []

    async def waits(record: Record) -> Sequence[Outgoing]:
        await held.wait()
        raise AssertionError

    def handler(record: Record, turn: Turn) -> Sequence[Outgoing] | Work:
        if record.value in (b"10", b"11"):
            return waits(record)
        first.append(int(record.value or b""))
        return stream.copied(record)

    # 107 and 108 have the keys of 10 and 11, and wait behind them.
    with stream.working(handler):
        until(lambda: len(stream.values(stream.target)) == 116, "all but four to be committed")
    marks = [decode(found.metadata or "", found.offset) for found in stream.committed()]
    assert sum(len(mark.open) for mark in marks if mark is not None) == 4
    second: list[int] = []

    def again(record: Record, turn: Turn) -> Sequence[Outgoing]:
        second.append(int(record.value or b""))
        return stream.copied(record)

    with stream.working(again, 1):
        until(stream.done(120), "the rest to be copied")
    assert numbers(stream.values(stream.target)) == list(range(120))
    assert set(second).isdisjoint(first)


def test_a_worker_that_ends_in_order_leaves_no_suspects_and_a_killed_one_leaves_some(stream: ConcurrentStream) -> None:
    def marks() -> list[CommitPoint | None]:
        return [decode(found.metadata or "", found.offset) for found in stream.committed()]

    stream.feed(range(100))
    with stream.working(lambda record, _: stream.copied(record)) as worker:
        until(stream.done(100), "all to be copied")
        assert not any(mark is None or mark.clean for mark in marks())  # as a kill would leave it
        until(lambda: all(each.suspects_left == 0 for each in worker._ledgers._assigned.values()), "the idle end")
    assert all(mark is not None and mark.clean for mark in marks())
    assert stream.suspects.counts == {}


def test_an_absent_platform_part_stops_the_intake_and_uses_up_nothing(stream: ConcurrentStream) -> None:
    stream.feed(range(100))
    tries = 0

    async def handler(record: Record) -> Sequence[Outgoing]:
        nonlocal tries
        tries += 1
        if tries <= 10:
            raise Unavailable("MongoDB is away")
        return stream.copied(record)

    with stream.working(lambda record, _: handler(record)):
        until(stream.done(100), "all to be copied")
    assert numbers(stream.values(stream.target)) == list(range(100))
    assert stream.values(stream.dead) == []


def test_a_bug_and_a_refused_outcome_cost_one_record_each(stream: ConcurrentStream) -> None:
    stream.feed(range(100))

    async def buggy(record: Record) -> Sequence[Outgoing]:
        raise KeyError("a bug")

    def handler(record: Record, turn: Turn) -> Sequence[Outgoing] | Work:
        if record.value == b"33":
            return buggy(record)
        if record.value == b"44":
            raise KeyError("a bug")
        if record.value == b"66":
            return [Outgoing(stream.target, b"k", b"x" * (10 << 20))]
        return stream.copied(record)

    with stream.working(handler):
        until(stream.done(97), "all but three to be copied")
    assert numbers(stream.values(stream.target)) == [n for n in range(100) if n not in (33, 44, 66)]
    assert sorted(letter.split()[-1] for letter in stream.values(stream.dead)) == [b"33", b"44", b"66"]


def test_workers_come_and_go_while_runs_wait(stream: ConcurrentStream) -> None:
    async def slowly(record: Record) -> Sequence[Outgoing]:
        await asyncio.sleep(0.005)
        return stream.copied(record)

    stream.feed(range(RECORDS // 2))
    with stream.working(lambda record, _: slowly(record), 0):
        with stream.working(lambda record, _: slowly(record), 1) as second:
            stream.feed(range(RECORDS // 2, RECORDS))
            until(lambda: second.ready, "the second worker to join")
        until(stream.done(RECORDS), "all to be copied")
    assert numbers(stream.values(stream.target)) == list(range(RECORDS))


def test_a_topic_with_a_delay_is_handled_no_earlier_and_holds_up_no_other(stream: ConcurrentStream) -> None:
    handled: dict[bytes, float] = {}
    times: dict[bytes, int] = {}

    def handler(record: Record, turn: Turn) -> Sequence[Outgoing]:
        handled[record.value or b""] = time.time()
        times[record.value or b""] = record.timestamp_ms
        return stream.copied(record)

    stream.feed(range(10))
    with stream.working(handler, delays={stream.source: 2.0}):
        until(stream.done(10), "all to be copied")
    assert all(handled[value] >= times[value] / 1000 + 2.0 for value in handled)


def test_a_limit_on_what_is_in_flight_slows_and_loses_nothing(stream: ConcurrentStream) -> None:
    under_way = most = 0

    async def slowly(record: Record) -> Sequence[Outgoing]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return stream.copied(record)

    stream.feed(range(1000))
    with stream.working(lambda record, _: slowly(record), max_in_flight=20):
        until(stream.done(1000), "all to be copied")
    assert most <= 20
    assert numbers(stream.values(stream.target)) == list(range(1000))


def test_a_record_that_holds_its_partition_back_is_asked_to_leave_and_goes_on_later(
    stream: ConcurrentStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent, "HAND_OVER_AFTER_S", 0.3)
    monkeypatch.setattr(concurrent, "WATCH_S", 0.05)
    later = f"{stream.source}.later"
    make_topics(stream.kafka, [TopicSpec(later, 2, 1, {})])
    appended: list[int] = []

    async def stays(record: Record, turn: Turn) -> Sequence[Outgoing]:
        while not turn.hand_over:  # noqa: ASYNC110 - as a run with steps that each take a moment
            await asyncio.sleep(0.01)
        return [Outgoing(later, record.key, record.value)]

    def handler(record: Record, turn: Turn) -> Sequence[Outgoing] | Work:
        if record.topic == later:
            appended.append(record.timestamp_ms)
            assert time.time() >= record.timestamp_ms / 1000 + 1.0
            return stream.copied(record)
        return stays(record, turn) if record.value == b"3" else stream.copied(record)

    stream.feed(range(200))
    with stream.working(handler, topics=[stream.source, later], delays={later: 1.0}):
        until(lambda: len(stream.values(stream.target)) == 200, "all to be copied, one of them later")
    assert len(appended) == 1
    assert numbers(stream.values(stream.target)) == list(range(200))
    assert stream.values(stream.dead) == []


def test_a_lane_with_too_many_waiting_pauses_its_partition_and_keeps_its_order(
    stream: ConcurrentStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_IN_LANE", 5)
    started: list[int] = []

    async def slowly(record: Record) -> Sequence[Outgoing]:
        started.append(int(record.value or b""))
        await asyncio.sleep(0.001)
        return stream.copied(record)

    stream.feed(range(0, 97 * 200, 97))  # one key
    with stream.working(lambda record, _: slowly(record)):
        until(stream.done(200), "all to be copied")
    assert started == sorted(started)
    assert len(stream.values(stream.target)) == 200
