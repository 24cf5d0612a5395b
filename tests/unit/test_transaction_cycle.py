"""Errors of a transaction that a real broker can't be made to give: the client is a fake at the runtime's port.

All that a real broker can give is in tests/integration/test_streams.py.
"""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from headrace.streams import Outgoing, Record, StreamFailed, transactions
from headrace.streams.batch import BatchProgress
from headrace.streams.bounded import Bounded
from headrace.streams.commit_metadata import Tokens
from headrace.streams.records import Outcome
from headrace.streams.transactions import TransactionCycle

pytestmark = pytest.mark.unit

DEADLINE_S = 30.0
"""What takes longer has failed."""


class Broker:
    """What was committed; `fail` decides what the next calls raise."""

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.offsets: dict[tuple[str, int], TopicPartition] = {}
        self.fail: list[tuple[str, KafkaError, bool]] = []
        """(call, error, whether the call took effect nevertheless), each once."""
        self.producers = 0

    def trouble(self, call: str) -> tuple[KafkaError | None, bool]:
        if self.fail and self.fail[0][0] == call:
            _, error, happened = self.fail.pop(0)
            return error, happened
        return None, True


class FakeProducer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._values: list[bytes | None] = []
        self._offsets: list[TopicPartition] = []
        broker.producers += 1

    def init_transactions(self, timeout: float) -> None:
        self._step("init", lambda: None)

    def begin_transaction(self) -> None:
        self._values, self._offsets = [], []
        self._step("begin", lambda: None)

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **_: Any) -> None:
        self._step("produce", lambda: self._values.append(value))

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout: float) -> None:
        self._step("offsets", lambda: self._offsets.extend(offsets))

    def commit_transaction(self, timeout: float) -> None:
        self._step("commit", self._commit)

    def abort_transaction(self, timeout: float) -> None:
        self._step("abort", lambda: None)

    def purge(self) -> None:
        pass

    def _commit(self) -> None:
        self._broker.values.extend(self._values)
        self._broker.offsets |= {(each.topic, each.partition): each for each in self._offsets}

    def _step(self, call: str, effect: Callable[[], None]) -> None:
        error, happened = self._broker.trouble(call)
        if happened:
            effect()
        if error is not None:
            raise KafkaException(error)


class FakeIntake:
    """An assignment that a test can change."""

    def __init__(self, broker: Broker) -> None:
        self.commit_lock = threading.Lock()
        self.epochs = {("in", 0): 1, ("in", 1): 2}
        self.group_metadata = object()
        self._broker = broker

    def holds(self, partition: tuple[str, int], epoch: int) -> bool:
        return self.epochs.get(partition) == epoch

    def committed(self, partitions: list[tuple[str, int]]) -> list[TopicPartition]:
        return [self._broker.offsets.get(each, TopicPartition(*each)) for each in partitions]


def error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaError:
    return KafkaError(code, "as told", fatal, retriable, abort)


def test_however_often_kafka_does_not_answer_one_producer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "BACKOFF_S", (0.0,))
    broker, stop = Broker(), threading.Event()
    away = error(KafkaError._TIMED_OUT, retriable=True)  # pyright: ignore[reportPrivateUsage]
    broker.fail = [("init", away, False)] * 5
    opened = cast(Any, lambda: FakeProducer(broker))
    cycle, began = TransactionCycle(opened, cast(Any, FakeIntake(broker)), cast(Any, None), stop), time.monotonic()
    cycle.prepare()
    assert (broker.producers, broker.fail) == (1, [])
    assert cycle.asked_at >= began, "whoever waits for Kafka is not stalled"


def test_a_producer_whose_call_failed_is_gone_at_once_and_fences_nobody() -> None:
    broker = Broker()
    broker.fail = [("init", error(KafkaError._TIMED_OUT), False)]  # pyright: ignore[reportPrivateUsage]
    gc.disable()
    try:
        producer = FakeProducer(broker)
        alive, bounded = weakref.ref(producer), Bounded()
        with pytest.raises(KafkaException):
            bounded(partial(producer.init_transactions, 1.0), DEADLINE_S)
        del producer
        bounded(lambda: None, DEADLINE_S)  # the thread has let go of the call before
        assert alive() is None
    finally:
        gc.enable()


def outcomes(*places: tuple[int, int]) -> list[Outcome]:
    return [
        Outcome(
            Record("in", number, offset, 0, b"k", b"v", []),
            1 + number,
            [Outgoing("out", b"k", f"{number}/{offset}".encode())],
        )
        for number, offset in places
    ]


def letter(record: Record, type: str, message: str) -> Outgoing:
    return Outgoing("dlq", record.key, f"dead {record.partition}/{record.offset} {type}".encode())


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def intake(broker: Broker) -> FakeIntake:
    return FakeIntake(broker)


@pytest.fixture
def cycle(broker: Broker, intake: FakeIntake) -> TransactionCycle:
    return TransactionCycle(cast(Any, lambda: FakeProducer(broker)), cast(Any, intake), letter, threading.Event())


def test_a_client_that_never_comes_back_is_given_up_and_its_outcome_committed_by_another(
    broker: Broker, intake: FakeIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "PATIENCE_S", 0.05)
    never = threading.Event()

    class Stuck(FakeProducer):
        def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: object, timeout: float) -> None:
            if broker.producers == 1:
                never.wait()
            super().send_offsets_to_transaction(offsets, metadata, timeout)

    cycle = TransactionCycle(cast(Any, lambda: Stuck(broker)), cast(Any, intake), letter, threading.Event())
    assert cycle.commit(outcomes((0, 5), (1, 8), (0, 6)), BatchProgress({}))
    assert broker.values == ALL
    assert broker.producers == 2


@pytest.fixture
def counting(broker: Broker, intake: FakeIntake) -> TransactionCycle:
    """Each transaction's tallies in one more record."""

    def summarise(outcomes: Sequence[Outcome]) -> list[Outgoing]:
        return [Outgoing("sums", None, repr([each.tally for each in outcomes if each.tally is not None]).encode())]

    return TransactionCycle(
        cast(Any, lambda: FakeProducer(broker)), cast(Any, intake), letter, threading.Event(), summarise
    )


def tallied(*places: tuple[int, int]) -> list[Outcome]:
    return [each._replace(tally=each.record.offset) for each in outcomes(*places)]


ALL = [b"0/5", b"1/8", b"0/6"]
TIMED_OUT = error(KafkaError._TIMED_OUT, retriable=True)  # pyright: ignore[reportPrivateUsage]
FENCED = error(KafkaError._FENCED, fatal=True)  # pyright: ignore[reportPrivateUsage]
STALE = error(KafkaError.ILLEGAL_GENERATION, abort=True)
REFUSED = error(KafkaError.MSG_SIZE_TOO_LARGE, abort=True)

TROUBLES: list[tuple[str, list[tuple[str, KafkaError, bool]]]] = [
    ("nothing", []),
    ("a commit timed out and had happened", [("commit", TIMED_OUT, True)]),
    ("a commit timed out and had not happened", [("commit", TIMED_OUT, False)]),
    ("a commit was fenced", [("commit", FENCED, False)]),
    ("group metadata were stale", [("offsets", STALE, False)]),
    ("group metadata were stale twice", [("offsets", STALE, False), ("offsets", STALE, False)]),
    ("offsets timed out", [("offsets", TIMED_OUT, False)]),
    ("the producer was fenced at its beginning", [("begin", FENCED, False)]),
    ("the abort failed too", [("offsets", STALE, False), ("abort", FENCED, False)]),
    ("the coordinator was away", [("init", TIMED_OUT, False)]),
    ("a commit timed out, and the coordinator was away", [("commit", TIMED_OUT, True), ("init", TIMED_OUT, False)]),
]


@pytest.mark.parametrize("troubles", [each for _, each in TROUBLES], ids=[name for name, _ in TROUBLES])
def test_every_outcome_is_committed_once_though(
    broker: Broker, cycle: TransactionCycle, troubles: list[tuple[str, KafkaError, bool]]
) -> None:
    broker.fail = list(troubles)
    assert cycle.commit(outcomes((0, 5), (1, 8), (0, 6)), BatchProgress({}))
    assert broker.values == ALL
    assert {partition: each.offset for partition, each in broker.offsets.items()} == {("in", 0): 7, ("in", 1): 9}
    assert broker.fail == []


def test_a_lost_partitions_outcomes_are_dropped_and_the_kept_ones_committed(
    broker: Broker, intake: FakeIntake, cycle: TransactionCycle
) -> None:
    del intake.epochs["in", 0]
    assert cycle.commit(outcomes((0, 5), (1, 8)), BatchProgress({}))
    assert broker.values == [b"1/8"]
    assert ("in", 0) not in broker.offsets


def test_a_partition_that_came_back_is_not_the_one_that_was_lost(
    broker: Broker, intake: FakeIntake, cycle: TransactionCycle
) -> None:
    intake.epochs["in", 0] = 9
    assert cycle.commit(outcomes((0, 5)), BatchProgress({}))
    assert broker.values == []
    assert broker.offsets == {}


def test_one_record_the_broker_refuses_ends_as_a_dead_letter_and_its_neighbours_go_through(
    broker: Broker, cycle: TransactionCycle
) -> None:
    places = [(0, offset) for offset in range(8)]
    refused = outcomes((0, 5))[0].outputs[0].value

    class Picky(FakeProducer):
        def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **_: Any) -> None:
            if value == refused:
                raise KafkaException(REFUSED)
            super().produce(topic, value, key, partition)

    picky = TransactionCycle(cast(Any, lambda: Picky(broker)), cast(Any, FakeIntake(broker)), letter, threading.Event())
    assert picky.commit(outcomes(*places), BatchProgress({}))
    wanted = [f"0/{offset}".encode() for offset in range(8)]
    wanted[5] = b"dead 0/5 msg_size_too_large"
    assert broker.values == wanted


def test_what_a_partition_is_told_of_its_record_stays_when_the_rest_becomes_a_dead_letter(broker: Broker) -> None:
    class Picky(FakeProducer):
        def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **_: Any) -> None:
            if topic == "out":
                raise KafkaException(REFUSED)
            self._step("produce", lambda: self._values.append(b"%d %s" % (partition, value or b"none")))

    picky = TransactionCycle(cast(Any, lambda: Picky(broker)), cast(Any, FakeIntake(broker)), letter, threading.Event())
    own = Outgoing("in", b"k", None, (), 1)
    assert picky.commit([outcomes((1, 5))[0]._replace(own=[own])], BatchProgress({}))
    assert broker.values == [b"-1 dead 1/5 msg_size_too_large", b"1 none"]


def test_when_even_the_dead_letter_is_refused_the_stream_stops_and_names_the_record(broker: Broker) -> None:
    class Refusing(FakeProducer):
        def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **_: Any) -> None:
            raise KafkaException(REFUSED)

    refusing = TransactionCycle(
        cast(Any, lambda: Refusing(broker)), cast(Any, FakeIntake(broker)), letter, threading.Event()
    )
    with pytest.raises(StreamFailed, match="in/0/5"):
        refusing.commit(outcomes((0, 5)), BatchProgress({}))
    assert broker.offsets == {}


def test_a_service_that_may_not_use_its_transactional_id_says_so(broker: Broker, cycle: TransactionCycle) -> None:
    broker.fail = [("init", error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), False)]
    with pytest.raises(StreamFailed, match="refuses"):
        cycle.commit(outcomes((0, 5)), BatchProgress({}))


def test_a_token_is_unlike_any_other_and_fits_into_the_commits_metadata() -> None:
    tokens = [source.next() for source in (Tokens(), Tokens()) for _ in range(100)]
    assert len(set(tokens)) == 200
    assert all(len(token) < 48 and not {"\0", ";"} & set(token) for token in tokens)


def test_what_is_heavy_goes_in_several_transactions_in_its_order(broker: Broker, cycle: TransactionCycle) -> None:
    heavy = [each._replace(outputs=[Outgoing("out", b"k", bytes(12 << 20))] * 2) for each in outcomes((0, 1), (0, 2))]
    light = outcomes((0, 3))
    committed: list[int] = []

    class Watched(BatchProgress):
        def committed(self, outcomes: Any) -> None:
            committed.append(len(outcomes))

    assert cycle.commit([*heavy, *light], Watched({}))
    assert committed == [1, 2]
    assert broker.offsets["in", 0].offset == 4


def test_an_outcome_too_heavy_for_any_transaction_is_a_dead_letter(broker: Broker, cycle: TransactionCycle) -> None:
    heavy = outcomes((0, 1))[0]._replace(outputs=[Outgoing("out", b"k", bytes(8 << 20))] * 9)
    assert cycle.commit([heavy, *outcomes((0, 2))], BatchProgress({}))
    assert broker.values == [b"dead 0/1 over_limit", b"0/2"]


def test_a_transaction_that_keeps_failing_is_tried_in_halves(broker: Broker, cycle: TransactionCycle) -> None:
    committed: list[int] = []

    class Watched(BatchProgress):
        def committed(self, outcomes: Any) -> None:
            committed.append(len(outcomes))

    broker.fail = [("offsets", TIMED_OUT, False)] * 3
    assert cycle.commit(outcomes((0, 5), (1, 8), (0, 6)), Watched({}))
    assert committed == [1, 2]
    assert broker.values == ALL


def test_the_summary_is_in_the_transaction_and_sees_what_that_commits(
    broker: Broker, intake: FakeIntake, counting: TransactionCycle
) -> None:
    del intake.epochs["in", 0]
    assert counting.commit(tallied((0, 5), (1, 8), (1, 9)), BatchProgress({}))
    assert broker.values == [b"1/8", b"1/9", b"[8, 9]"]


@pytest.mark.parametrize("troubles", [each for _, each in TROUBLES], ids=[name for name, _ in TROUBLES])
def test_every_outcome_is_in_one_committed_summary_though(
    broker: Broker, counting: TransactionCycle, troubles: list[tuple[str, KafkaError, bool]]
) -> None:
    broker.fail = list(troubles)
    assert counting.commit(tallied((0, 5), (1, 8), (0, 6)), BatchProgress({}))
    assert broker.values == [*ALL, b"[5, 8, 6]"]


def test_halves_are_summed_up_each_for_itself_and_a_dead_letter_is_not_counted(broker: Broker) -> None:
    class Picky(FakeProducer):
        def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, **_: Any) -> None:
            if value == b"0/2":
                raise KafkaException(REFUSED)
            super().produce(topic, value, key, partition)

    def summarise(outcomes: Sequence[Outcome]) -> list[Outgoing]:
        return [Outgoing("sums", None, f"{[each.tally for each in outcomes]}".encode())]

    picky = TransactionCycle(
        cast(Any, lambda: Picky(broker)), cast(Any, FakeIntake(broker)), letter, threading.Event(), summarise
    )
    assert picky.commit(tallied((0, 1), (0, 2), (0, 3)), BatchProgress({}))
    sums = [value for value in broker.values if value is not None and value.startswith(b"[")]
    assert sums == [b"[1]", b"[None]", b"[3]"]
