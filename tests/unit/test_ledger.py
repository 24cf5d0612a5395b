"""What is finished in a partition, in whatever order; what is written beside an offset; whose turn it is in a lane."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.streams.commit_metadata import MAX_LENGTH, MAX_SPAN, CommitPoint, Tokens, decode, encode, token_of
from headrace.streams.lanes import Lanes
from headrace.streams.ledger import Ledger

pytestmark = pytest.mark.unit

TOKEN = Tokens().next()


@st.composite
def points(draw: st.DrawFn) -> CommitPoint:
    offset = draw(st.integers(0, 1 << 62))
    clean = draw(st.booleans())
    kind = draw(st.sampled_from(["none", "few", "many", "alternating", "random"]))
    if kind == "none":
        return CommitPoint(offset, offset, (), clean)
    span = draw(st.integers(1, MAX_SPAN))
    if kind == "many":
        left = range(span)
    elif kind == "alternating":
        left = range(0, span, draw(st.integers(1, 9)))
    elif kind == "few":
        left = {0, *draw(st.lists(st.integers(0, span - 1), max_size=20))}
    else:
        random = draw(st.randoms(use_true_random=False))
        left = {0, *(each for each in range(span) if random.random() < 0.5)}
    return CommitPoint(offset, offset + span, tuple(sorted(offset + each for each in left)), clean)


@given(points())
def test_metadata_gives_back_what_was_written_and_the_broker_takes_it(point: CommitPoint) -> None:
    text = encode(point, TOKEN)
    assert decode(text, point.offset) == point
    assert token_of(text) == TOKEN
    assert len(text) <= MAX_LENGTH
    assert "\0" not in text
    assert text.isascii()


def test_the_worst_case_of_a_full_span_still_fits() -> None:
    worst = CommitPoint(0, MAX_SPAN, tuple(range(0, MAX_SPAN, 2)), False)
    assert len(encode(worst, f"{'f' * 32}.{10**12}")) <= MAX_LENGTH


@given(st.text(max_size=60) | st.from_regex(r"2[cd];[a-z.0-9]*;[rb]?[\w-]*", fullmatch=True))
def test_metadata_of_another_writer_is_nothing_or_a_point_and_never_a_crash(text: str) -> None:
    found = decode(text, 7)
    assert found is None or found.offset == 7


class LedgerMachine(RuleBasedStateMachine):
    """Reads, finishes in any order, commits any part, dies at any moment and is read again by the next owner."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        """Offsets that hold a record; the others are markers, and are never shown."""
        self.end = 0
        self.position = 0
        self.committed = CommitPoint(0, 0)
        self.outcomes: dict[int, int] = defaultdict(int)
        self.open: set[int] = set()
        self.finished: set[int] = set()

    @initialize(gaps=st.lists(st.booleans(), min_size=5, max_size=60))
    def fill(self, gaps: list[bool]) -> None:
        self.log = [offset for offset, is_record in enumerate(gaps) if is_record]
        self.end = len(gaps)
        self.ledger: Ledger[int] = Ledger(self.committed)

    @precondition(lambda self: any(each >= self.position for each in self.log))
    @rule()
    def read(self) -> None:
        offset = next(each for each in self.log if each >= self.position)
        self.position = offset + 1
        if self.ledger.admits(offset) and self.ledger.read(offset, offset):
            assert self.outcomes[offset] == 0, "a finished record is handled again"
            self.open.add(offset)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        offset = data.draw(st.sampled_from(sorted(self.open)))
        self.open.remove(offset)
        self.finished.add(offset)

    @precondition(lambda self: self.finished)
    @rule(data=st.data(), is_aborted=st.booleans())
    def commit(self, data: Any, is_aborted: bool) -> None:
        part = data.draw(st.sets(st.sampled_from(sorted(self.finished)), min_size=1))
        point = self.ledger.point(part)
        if is_aborted:
            return
        self._write(point)
        self.ledger.commit(part, point)
        self.finished -= part
        for offset in part:
            self.outcomes[offset] += 1

    @precondition(lambda self: not any(each >= self.position for each in self.log))
    @rule()
    def idle(self) -> None:
        self.position = self.end
        self.ledger.advance(self.end)
        if self.ledger.has_moved:
            point = self.ledger.point(())
            self._write(point)
            self.ledger.commit((), point)

    @rule()
    def die_and_be_read_again(self) -> None:
        self._restart(self.committed)

    @rule()
    def be_given_away_and_come_back(self) -> None:
        self._write(self.ledger.point((), clean=True))
        self._restart(self.committed)

    @invariant()
    def nothing_is_committed_twice_or_passed_by(self) -> None:
        assert all(count <= 1 for count in self.outcomes.values())
        for offset in self.log:
            is_done = self.outcomes[offset] == 1
            below = offset < self.committed.offset
            told = offset < self.committed.end and offset not in self.committed.open
            assert is_done == (below or told), offset

    def _write(self, point: CommitPoint) -> None:
        assert point.offset >= self.committed.offset, "an offset is taken back"
        decoded = decode(encode(point, TOKEN), point.offset)
        assert decoded is not None
        self.committed = decoded

    def _restart(self, committed: CommitPoint) -> None:
        self.ledger = Ledger(committed)
        self.position = committed.offset
        self.open.clear()
        self.finished.clear()


TestLedger = LedgerMachine.TestCase


def test_beyond_the_span_nothing_is_admitted_until_the_lowest_is_committed() -> None:
    ledger: Ledger[str] = Ledger(CommitPoint(0, 0))
    assert ledger.read(0, "slow")
    assert ledger.admits(MAX_SPAN - 1)
    assert not ledger.admits(MAX_SPAN)
    ledger.commit({0}, ledger.point({0}))
    assert ledger.admits(MAX_SPAN)


def test_records_that_expired_while_they_were_open_hold_nothing_back() -> None:
    ledger: Ledger[str] = Ledger(CommitPoint(10, 20, (10, 15)))
    assert ledger.read(30, "later")
    assert ledger.point({30}) == CommitPoint(31, 31)


def test_an_idle_position_told_while_work_is_open_counts_once_it_is_committed() -> None:
    ledger: Ledger[str] = Ledger(CommitPoint(0, 0))
    assert ledger.read(0, "work")
    ledger.advance(2)
    ledger.commit({0}, ledger.point({0}))
    assert ledger.point(()) == CommitPoint(2, 2)


def test_what_holds_a_partition_back_is_its_lowest_open_record() -> None:
    ledger: Ledger[str] = Ledger(CommitPoint(0, 0))
    assert ledger.oldest is None
    ledger.read(3, "three")
    ledger.read(5, "five")
    assert ledger.oldest == (3, "three")
    ledger.commit({3}, ledger.point({3}))
    assert ledger.oldest == (5, "five")


class LanesMachine(RuleBasedStateMachine):
    """Items enter lanes, get their turn, leave, and are dropped; a model keeps their order."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[int] = Lanes()
        self.entered = 0
        self.order: dict[int, list[int]] = defaultdict(list)
        self.running: dict[int, int] = {}
        self.dropped: set[int] = set()

    @rule(lane=st.integers(0, 3))
    def enter(self, lane: int) -> None:
        item, self.entered = self.entered, self.entered + 1
        has_turn = self.lanes.enter(lane, item)
        assert has_turn == (lane not in self.running)
        if has_turn:
            self.running[lane] = item
        else:
            self.order[lane].append(item)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        lane = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[lane]
        following = self.lanes.leave(lane)
        waiting = [item for item in self.order[lane] if item not in self.dropped]
        assert list(following) == waiting[:1]
        if following:
            self.order[lane] = waiting[1:]
            self.running[lane] = following[0]

    @rule(lane=st.integers(0, 3))
    def drop(self, lane: int) -> None:
        self.dropped |= set(self.order[lane])
        self.lanes.drop(lambda item: item in self.dropped)
        self.order[lane] = []

    @invariant()
    def waiting_is_counted(self) -> None:
        for lane in range(4):
            assert self.lanes.waiting(lane) == len(self.order[lane])


TestLanes = LanesMachine.TestCase
