"""Lanes: never more at a time than the lane is wide, in the order they came, and all get their turn."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.streams.lanes import Lanes

pytestmark = pytest.mark.unit

LANES = st.sampled_from("abc")
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), LANES),
        st.tuples(st.just("leave"), LANES),
        st.tuples(st.just("drop"), LANES),
        st.tuples(st.sampled_from([1, 2, 3, 5]), LANES),  # the lane's width becomes this
    ),
    max_size=80,
)


@given(MOVES)
def test_of_each_lane_at_most_its_width_have_the_turn_and_all_get_it_in_order(moves: list[tuple[object, str]]) -> None:
    widths: dict[str, int] = dict.fromkeys("abc", 2)
    lanes: Lanes[tuple[str, int]] = Lanes(lambda item: widths[item[0]])
    running: dict[str, int] = defaultdict(int)
    entered: dict[str, list[tuple[str, int]]] = defaultdict(list)
    started: dict[str, list[tuple[str, int]]] = defaultdict(list)

    def start(item: tuple[str, int]) -> None:
        lane = item[0]
        running[lane] += 1
        assert running[lane] <= widths[lane]
        started[lane].append(item)

    def leave(lane: str) -> None:
        running[lane] -= 1
        for item in lanes.leave(lane):
            start(item)

    for number, (move, lane) in enumerate(moves):
        if isinstance(move, int):
            widths[lane] = move
        elif move == "enter":
            item = (lane, number)
            entered[lane].append(item)
            if lanes.enter(lane, item):
                start(item)
        elif move == "leave" and running[lane]:
            leave(lane)
        elif move == "drop":
            lanes.drop(lambda item, lane=lane: item[0] == lane)
            entered[lane] = list(started[lane])
        assert running[lane] or not lanes.waiting(lane), "whoever waits waits for somebody"
    for lane in "abc":
        while running[lane]:
            leave(lane)
    assert dict(started) == {lane: items for lane, items in entered.items() if items or lane in started}
    assert not lanes._waiting  # pyright: ignore[reportPrivateUsage]
    assert not lanes._beside  # pyright: ignore[reportPrivateUsage]


def test_a_lane_that_is_widened_lets_more_in_at_the_next_leave() -> None:
    width = 1
    lanes: Lanes[int] = Lanes(lambda _: width)
    assert [lanes.enter("a", number) for number in range(5)] == [True, False, False, False, False]
    width = 3
    assert lanes.leave("a") == [1, 2, 3]
    width = 1
    assert [list(lanes.leave("a")) for _ in range(3)] == [[], [], [4]]
