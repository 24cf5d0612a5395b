"""Timers in memory: one for each id, fired when due and never before, whatever others write meanwhile."""

from base64 import b64decode
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from timer_log import NOW, SECOND, Log, timer

from headrace.contracts import limits
from headrace.contracts.resumptions import RESUMES_HEADER, Timer, read_resumption
from headrace.streams import Outgoing
from services.scheduler.firing import Firing
from services.scheduler.pending import Pending, PendingTimers

pytestmark = pytest.mark.unit

KEYS = [b"run-a", b"run-b", b"run-c"]


class PendingMachine(RuleBasedStateMachine):
    """The store beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.store = PendingTimers()
        self.model: dict[bytes, Pending] = {}
        self.offset = 0

    @rule(key=st.sampled_from(KEYS) | st.binary(max_size=3), due=st.integers(-5, 30), value=st.binary(max_size=3))
    def put(self, key: bytes, due: int, value: bytes) -> None:
        self.offset += 1
        self.model[key] = Pending(max(0, due), self.offset, key, value)
        self.store.put(Pending(due, self.offset, key, value))

    @rule(key=st.sampled_from(KEYS) | st.binary(max_size=3))
    def remove(self, key: bytes) -> None:
        self.store.remove(key)
        self.model.pop(key, None)

    @rule(now=st.integers(0, 30), most=st.integers(0, 4))
    def take(self, now: int, most: int) -> None:
        wanted = sorted(each for each in self.model.values() if each.due <= now)[:most]
        assert self.store.take(now, most) == wanted
        for each in wanted:
            del self.model[each.key]

    @invariant()
    def it_is_as_the_dictionary(self) -> None:
        assert len(self.store) == len(self.model)
        assert self.store.next_due == min((each.due for each in self.model.values()), default=None)
        assert all(self.store.get(key) == self.model.get(key) for key in [*KEYS, *self.model])


TestPending = PendingMachine.TestCase


def test_what_is_replaced_or_removed_leaves_nothing_behind() -> None:
    store = PendingTimers()
    for number in range(10_000):
        store.put(Pending(number, number, b"same", b""))
    for number in range(10_000):
        store.put(Pending(number, number, b"%d" % number, b""))
    for number in range(10_000):
        store.remove(b"%d" % number)
    assert len(store._heap) < 2_000


class Others:
    """Others write timers and tombstones while the state, which has read some of it, fires, and is lost and rebuilt."""

    def __init__(self) -> None:
        self.log = Log()
        self.due: list[datetime] = []
        self.last: dict[bytes, int] = {}
        """The last timer that others wrote of each id, unless they took it out."""
        self.replaced: set[int] = set()
        """Timers that others had replaced, and the state had read so, before they were fired."""
        self.to_be_read: set[int] = set()
        self.fired: list[int] = []

    def write(self, key: bytes, due: int) -> None:
        """A timer of this id, due in so many seconds."""
        self._replace(key)
        self.last[key] = len(self.due)
        self.due.append(self.log.now + due * SECOND)
        self.log.append(key, timer(key, self.last[key], self.due[-1]))

    def overtake(self, key: bytes, due: int) -> None:
        """The same, just before the state does what it has to do, and too late to be read."""
        self.write(key, due)
        self.act(100, 0)

    def take_out(self, key: bytes) -> None:
        """The tombstone of whoever wrote it."""
        self._replace(key)
        self.log.append(key, None)

    def _replace(self, key: bytes) -> None:
        last, state = self.last.pop(key, None), self.log.state
        # What is replaced while it is written once more may fire: its run has other means to drop that.
        if last is not None and self._has_read_all and key not in (*state._written, *state._overtaken):
            self.to_be_read.add(last)

    @property
    def _has_read_all(self) -> bool:
        return self.log.read == len(self.log.records)

    def read(self, most: int) -> None:
        """The state reads on."""
        self.log.apply(most)
        if self._has_read_all:
            self.replaced |= self.to_be_read - set(self.fired)
            self.to_be_read.clear()

    def act(self, most: int, seconds: int) -> bool:
        """After so many seconds the state does what is to be done."""
        self.log.now += seconds * SECOND
        acts = self.log.act(most)
        for number in (read_resumption(output.value).segment for act in acts for output in act.outputs):
            assert self.due[number] <= self.log.now
            assert number not in self.fired
            assert number not in self.replaced
            self.fired.append(number)
        return bool(acts)

    def act_in_vain(self, most: int) -> None:
        """What is done cannot be committed."""
        self.log.state.take_back(self.log.state.act(most))

    def rebuild(self, compacted: bool) -> None:
        """The state is lost. A log is compacted only behind what was read and done."""
        state = self.log.state
        if compacted and self._has_read_all and not state._written and not state._overtaken:
            self.log.compact()
        self.log.restart()


_IDS = st.sampled_from([KEYS[0], KEYS[0], KEYS[1]])
_DUE = st.sampled_from([-1, 1, 5])
_MOST = st.sampled_from([1, 2, 100])


@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "overtake"]), _IDS, _DUE)
        | st.tuples(st.just("take_out"), _IDS)
        | st.tuples(st.sampled_from(["read", "act_in_vain"]), _MOST)
        | st.tuples(st.just("act"), _MOST, st.integers(0, 2))
        | st.tuples(st.just("rebuild"), st.booleans()),
        min_size=10,
        max_size=40,
    )
)
@settings(max_examples=300)
def test_whatever_others_write_meanwhile_each_timer_fires_once_and_never_early(steps: list[tuple[Any, ...]]) -> None:
    others = Others()
    for name, *values in steps:
        getattr(others, name)(*values)
    others.read(1_000)
    others.log.now += 10 * SECOND
    while others.act(1_000, 0):
        others.read(1_000)
    assert set(others.last.values()) <= set(others.fired)
    assert len(others.log.state._pending) == 0


def fired(log: Log) -> list[int]:
    return [read_resumption(output.value).segment for output in log.outputs if output.topic == "headrace.jobs.high"]


def test_a_younger_timer_that_the_tombstone_of_the_fired_one_did_not_mean_survives_compaction() -> None:
    log = Log()
    log.append(KEYS[0], timer(KEYS[0], 1, NOW))
    log.apply()
    log.append(KEYS[0], timer(KEYS[0], 2, NOW + SECOND))
    log.act()
    log.settle()
    log.compact()
    log.restart()
    log.now += SECOND
    log.settle()
    assert fired(log) == [1, 2]


def test_a_younger_timer_that_is_due_before_the_tombstone_is_read_back_fires_once_it_is() -> None:
    log = Log()
    log.append(KEYS[0], timer(KEYS[0], 1, NOW))
    log.apply()
    log.append(KEYS[0], timer(KEYS[0], 2, NOW))
    log.act()
    log.apply(1)
    assert log.act() == []
    log.settle()
    assert fired(log) == [1, 2]


def test_what_is_taken_out_while_it_waits_for_a_tombstone_never_fires() -> None:
    log = Log()
    log.append(KEYS[0], timer(KEYS[0], 1, NOW))
    log.apply()
    log.append(KEYS[0], timer(KEYS[0], 2, NOW))
    log.append(KEYS[0], None)
    log.act()
    log.apply(1)
    assert log.act() == []
    log.settle()
    assert fired(log) == [1]


def test_what_could_not_be_committed_is_done_again() -> None:
    log = Log()
    log.append(KEYS[0], timer(KEYS[0], 1, NOW))
    log.append(KEYS[1], b"{")
    log.append(KEYS[2], timer(KEYS[2], 2, NOW))
    log.apply()
    log.append(KEYS[2], timer(KEYS[2], 3, NOW + SECOND))
    log.state.take_back(log.state.act(2))
    log.act()
    log.apply()
    log.state.take_back(log.state.act(100))  # of the third, that it was overtaken
    log.settle()
    log.compact()
    log.restart()
    log.now += SECOND
    log.settle()
    assert [output.topic.rpartition(".")[2] for output in log.outputs] == ["dlq", "high", "high", "high"]
    assert fired(log) == [1, 2, 3]


def test_a_resumption_stands_where_the_runs_first_job_stood() -> None:
    log = Log()
    log.append(KEYS[0], timer(KEYS[0], 3, NOW))
    log.settle()
    (output,) = log.outputs
    assert (output.topic, output.key, output.partition) == ("headrace.jobs.high", b"shop/pay/k", None)
    assert list(output.headers) == [(RESUMES_HEADER, b"run-a")]
    resumption = read_resumption(output.value)
    assert (resumption.run_id, resumption.segment, resumption.source) == ("run-a", 3, ("headrace.events", 0, 7))


@pytest.mark.parametrize(
    ("key", "value", "type"),
    [
        (b"run-a", b"{", "not_json"),
        (b"run-a", b"{}", "bad_shape"),
        (b"run-a", b'{"due": "soon"}', "bad_shape"),
        (b"run-a", b"\xff" * 100_000, "over_limit"),
        (b"cron/shop/nightly", timer(KEYS[0], 1, NOW), "bad_shape"),
    ],
)
def test_a_timer_that_cannot_be_read_is_one_dead_letter_and_gone(key: bytes, value: bytes, type: str) -> None:
    log = Log()
    place = log.append(key, value)
    log.append(KEYS[1], timer(KEYS[1], 1, NOW))
    log.settle()
    letter, resumed = log.outputs
    assert (letter.topic, letter.key) == ("headrace.jobs.dlq", key)
    told = orjson.loads(letter.value or b"")
    assert (told["reason"]["type"], told["source"]["offset"]) == (type, place)
    assert b64decode(told["value"]) == value[: limits.STORED_VALUE]
    assert resumed.topic == "headrace.jobs.high"
    log.restart()
    log.settle()
    assert len(log.outputs) == 2


def test_a_timer_that_cannot_be_read_is_nothing_once_it_is_replaced() -> None:
    log = Log()
    log.append(KEYS[0], b"{")
    log.append(KEYS[0], timer(KEYS[0], 1, NOW))
    log.append(KEYS[1], b"{")
    log.append(KEYS[1], None)
    log.settle()
    assert fired(log) == [1]


def test_a_bug_costs_one_timer_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    resume = Firing.resume

    def failing(self: Firing, found: Timer) -> Outgoing:
        if found.resumes.run_id == "run-a":
            raise KeyError("a bug")
        return resume(self, found)

    monkeypatch.setattr(Firing, "resume", failing)
    log = Log()
    for key in KEYS:
        log.append(key, timer(key, 1, NOW))
    log.settle()
    assert [output.topic for output in log.outputs] == ["headrace.jobs.dlq", "headrace.jobs.high", "headrace.jobs.high"]
    assert b"internal_error" in (log.outputs[0].value or b"")


def test_the_earliest_due_go_first_and_no_more_than_asked_for() -> None:
    log = Log()
    for number in range(10):
        log.append(b"run-%d" % number, timer(b"run-%d" % number, number, NOW - number * SECOND))
    log.apply()
    assert len(log.act(4)) == 4
    assert fired(log) == [9, 8, 7, 6]
    assert log.state.wait_s() <= 0
