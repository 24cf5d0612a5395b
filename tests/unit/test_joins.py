"""Each wait is answered by the first event that counts, whatever came first and whatever was lost with a scheduler."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.contracts.cloudevents import Location
from headrace.contracts.resumptions import EventName, Resumption
from headrace.contracts.waits import (
    Answered,
    Arrival,
    Wait,
    WaitRecord,
    answer_of,
    read_wait_record,
    wait_key,
    write_wait_record,
)
from services.scheduler import joins
from services.scheduler.joins import KEPT_MS, MOST_OF_KEY, Joins

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)
AT_MS = int(AT.timestamp() * 1000)
KEYS = (b"shop/paid/1", b"shop/paid/2")


def wait(step: str, segment: int = 1, *, since: int = 0, until: int = 1000, after: int = -1, replay: str = "") -> Wait:
    """Times are seconds from the beginning."""
    return Wait(
        step=step,
        since=AT + timedelta(seconds=since),
        until=AT + timedelta(seconds=until),
        after=after,
        replay=replay,
        resumes=Resumption(
            run_id=step,
            app="shop",
            automation="a",
            source=Location("e", 0, 0),
            generation=0,
            segment=segment,
            key="k",
            priority="normal",
        ),
    )


def arrival(replay: str = "", data: Any = None) -> Arrival:
    return Arrival(event=EventName(id="1", source="s", type="paid", time=AT), replay=replay, data=data)


@dataclass
class Log:
    """The partition, and what a state makes of it."""

    records: list[tuple[bytes, WaitRecord, int]] = field(default_factory=list[tuple[bytes, WaitRecord, int]])

    def append(self, key: bytes, record: WaitRecord, written_ms: int, state: Joins) -> None:
        self.records.append((key, record, written_ms))
        self._put(state, len(self.records) - 1)

    def rebuilt(self) -> Joins:
        state = Joins()
        for at in range(len(self.records)):
            self._put(state, at)
        return state

    def _put(self, state: Joins, at: int) -> None:
        key, record, written_ms = self.records[at]
        match record:
            case Wait():
                state.put_wait(key, record)
            case Arrival():
                state.put_event(key, record, at, written_ms, write_wait_record(record))
            case Answered():
                state.put_answered(record.step, record.segment)


class JoinMachine(RuleBasedStateMachine):
    """Runs say that they wait, events come, schedulers answer and are lost, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log, self.state, self.now = Log(), Joins(), 0
        self.said: dict[str, tuple[bytes, Wait]] = {}
        self.answers: dict[tuple[str, int], int] = {}

    @rule(
        step=st.sampled_from("abcde"),
        key=st.sampled_from(KEYS),
        since=st.integers(0, 20),
        lasts=st.integers(1, 30),
        after=st.integers(-1, 10),
        replay=st.sampled_from(("", "r")),
    )
    def a_run_waits(self, step: str, key: bytes, since: int, lasts: int, after: int, replay: str) -> None:
        key, before = self.said.get(step, (key, None))  # a step's key never changes
        segment = 1 if before is None else before.resumes.segment + 1
        said = wait(step, segment, since=since, until=self.now + lasts, after=after, replay=replay)
        self.said[step] = key, said
        self.log.append(key, said, self._ms, self.state)

    @rule(key=st.sampled_from(KEYS), replay=st.sampled_from(("", "", "r")))
    def an_event_comes(self, key: bytes, replay: str) -> None:
        self.log.append(key, arrival(replay), self._ms, self.state)

    @rule(seconds=st.integers(1, 10))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.state.pass_to(self._ms)

    @rule(most=st.integers(1, 3))
    def a_scheduler_answers(self, most: int) -> None:
        for key, answered, came in self.state.take(most):
            place = answered.step, answered.resumes.segment
            assert place not in self.answers, "answered twice"
            assert came.at == self._first(key, answered)
            self.answers[place] = came.at
            self.log.append(key, Answered(step=place[0], segment=place[1]), self._ms, self.state)

    @rule(most=st.integers(1, 3))
    def a_scheduler_is_lost_with_what_it_answers(self, most: int) -> None:
        for key, answered, came in self.state.take(most):
            assert came.at == self._first(key, answered)
        self.state = self.log.rebuilt()

    @rule()
    def another_scheduler_takes_over(self) -> None:
        self.state = self.log.rebuilt()
        self.state.pass_to(self._ms)

    @precondition(lambda self: self.said)
    @invariant()
    def nothing_is_forgotten(self) -> None:
        left = self.log.rebuilt()
        found = {(each.wait.step, each.wait.resumes.segment): each.came.at for each in left.take(1000)}
        for step, (key, said) in self.said.items():
            place = step, said.resumes.segment
            if place not in self.answers:
                assert found.get(place) == self._first(key, said)

    @property
    def _ms(self) -> int:
        return AT_MS + 1000 * self.now

    def _first(self, key: bytes, said: Wait) -> int | None:
        since, until = (int(each.timestamp() * 1000) for each in (said.since, said.until))
        return next(
            (
                at
                for at, (of, record, written_ms) in enumerate(self.log.records)
                if isinstance(record, Arrival) and of == key and at > said.after
                if record.replay == said.replay and since <= written_ms <= until
            ),
            None,
        )


TestJoins = JoinMachine.TestCase
TestJoins.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_of_a_key_the_last_events_are_kept_and_the_others_counted() -> None:
    state = Joins()
    for at in range(MOST_OF_KEY + 3):
        state.put_event(KEYS[0], arrival(), at, AT_MS, b"{}")
    assert (state.events, state.forgotten) == (MOST_OF_KEY, 3)
    state.put_wait(KEYS[0], wait("a"))
    assert [each.came.at for each in state.take(9)] == [3]


def test_of_all_keys_the_oldest_events_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "MOST_BYTES", 1000)
    state = Joins()
    for at in range(4):
        state.put_event(b"key-%d" % at, arrival(), at, AT_MS, bytes(200))
    assert (state.events, state.forgotten) == (2, 2)
    for at in range(4):
        state.put_wait(b"key-%d" % at, wait(f"run-{at}"))
    assert [each.wait.step for each in state.take(9)] == ["run-2", "run-3"]


def test_an_answer_that_was_found_is_kept_whatever_comes_after_it() -> None:
    state = Joins()
    state.put_wait(KEYS[0], wait("a"))
    for at in range(2 * MOST_OF_KEY):
        state.put_event(KEYS[0], arrival(), at, AT_MS, b"{}")
    state.pass_to(AT_MS + 2 * KEPT_MS)
    assert [each.came.at for each in state.take(9)] == [0]


def test_what_is_over_is_forgotten() -> None:
    state = Joins()
    for number in range(1000):
        state.put_wait(b"key-%d" % number, wait(f"run-{number}", until=10))
        state.put_event(b"other-%d" % number, arrival(), number, AT_MS, b"{}")
    state.pass_to(AT_MS + 11_000)
    assert (len(state), state.events) == (0, 1000)
    state.pass_to(AT_MS + KEPT_MS)
    assert state.events == 0


@given(parts=st.lists(st.tuples(st.text("a/%2F"), st.text("a/%2F")), min_size=2, max_size=2, unique=True))
def test_no_two_types_and_keys_share_a_record_key(parts: list[tuple[str, str]]) -> None:
    first, second = (wait_key("shop", type, key) for type, key in parts)
    assert first != second


@pytest.mark.parametrize("record", [wait("a"), arrival(data={"n": [1, None]}), Answered(step="a", segment=3)])
def test_records_are_read_as_they_were_written(record: WaitRecord) -> None:
    assert read_wait_record(write_wait_record(record)) == record


def test_an_answer_names_its_step_its_place_and_its_event() -> None:
    resumption = answer_of(wait("a", 4), 17, arrival(data={"n": 1}))
    assert resumption.segment == 4
    assert resumption.answer is not None
    assert (resumption.answer.step, resumption.answer.at, resumption.answer.data) == ("a", 17, {"n": 1})
