"""What is read and waits: in its order within a rank, and each rank with its share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.streams import Record
from headrace.streams.buffer import Buffer, size_of

pytestmark = pytest.mark.unit

RANKS = {"high": 0, "normal": 1, "low": 2}
ROOMY = (10_000, 10_000, 10_000)
MB = 1 << 20


def records(topic: str, count: int, first: int = 0, size: int = 1) -> list[tuple[Record, int]]:
    return [(Record(topic, 0, first + number, 0, b"", b"x" * size, ()), 1) for number in range(count)]


def counts(taken: list[tuple[Record, int]]) -> dict[str, int]:
    topics = [record.topic for record, _ in taken]
    return {topic: topics.count(topic) for topic in RANKS if topic in topics}


def buffer(**waiting: int) -> Buffer:
    made = Buffer(RANKS, 1_000, MB)
    for topic, count in waiting.items():
        made.extend(records(topic, count))
    return made


def test_what_is_urgent_comes_first_and_all_others_get_a_fifth() -> None:
    assert counts(buffer(low=1_000, normal=1_000, high=1_000).take(ROOMY, 500, MB)) == {
        "high": 300, "normal": 100, "low": 100,
    }  # fmt: skip
    assert counts(buffer(low=1_000, normal=50).take(ROOMY, 500, MB)) == {"normal": 50, "low": 100}
    assert counts(buffer(normal=1_000).take(ROOMY, 500, MB)) == {"normal": 500}


def test_low_alone_comes_in_fifths_so_that_who_comes_waits_for_no_more() -> None:
    assert counts(buffer(low=1_000).take(ROOMY, 500, MB)) == {"low": 100}


def test_a_rank_without_room_leaves_its_share_to_the_others() -> None:
    assert counts(buffer(low=1_000, normal=1_000).take((10, 0, 30), 500, MB)) == {"low": 30}
    assert counts(buffer(low=1_000, normal=1_000).take((10, 500, 0), 500, MB)) == {"normal": 500}


def test_a_rank_with_more_than_its_share_takes_nothing_of_the_others_and_gives_them_nothing() -> None:
    assert counts(buffer(low=1_000, normal=1_000).take((10, 500, -50), 500, MB)) == {"normal": 500}
    assert counts(buffer(low=1_000, normal=1_000).take((10, 1_000, -50), 400, MB)) == {"normal": 400}


def test_a_single_rank_is_handed_out_in_the_order_it_came() -> None:
    made = Buffer({}, 10, MB)
    made.extend(records("a", 3) + records("b", 2))
    assert [record[:3] for record, _ in made.take((10,), 4, MB)] == [("a", 0, 0), ("a", 0, 1), ("a", 0, 2), ("b", 0, 0)]
    assert len(made) == 1


def test_the_bytes_end_what_is_handed_out_at_a_time_but_the_first_record_always_comes() -> None:
    made = Buffer({}, 10, MB)
    made.extend(records("a", 3, size=600))
    assert len(made.take((10,), 10, 1_000)) == 2
    assert len(made.take((10,), 10, 1)) == 1


def test_a_full_rank_is_full_until_half_of_it_is_gone_and_says_nothing_of_the_others() -> None:
    made = buffer(low=250)
    assert made.full(frozenset()) == {2}
    made.take(ROOMY, 500, MB)
    assert made.full(frozenset()) == frozenset()
    assert made.full(frozenset((2,))) == {2}
    made.take(ROOMY, 500, MB)
    assert made.full(frozenset((2,))) == frozenset()
    made.extend(records("normal", 1, size=MB))
    assert made.full(frozenset()) == {1}


def test_what_is_dropped_is_not_counted_any_more() -> None:
    made = buffer(low=250, normal=10)
    made.drop(lambda partition: partition == ("low", 0))
    assert made.full(frozenset()) == frozenset()
    assert counts(made.take(ROOMY, 500, MB)) == {"normal": 10}


@given(
    st.lists(st.tuples(st.sampled_from(["high", "normal", "low", "other"]), st.integers(0, 40)), max_size=12),
    st.lists(st.tuples(st.tuples(*[st.integers(0, 30)] * 3), st.integers(1, 40), st.integers(1, 200)), max_size=20),
)
def test_each_topic_is_handed_out_once_in_its_order_within_all_limits(
    come: list[tuple[str, int]], takes: list[tuple[tuple[int, int, int], int, int]]
) -> None:
    made, offsets, seen = Buffer(RANKS, 1_000, MB), dict.fromkeys([*RANKS, "other"], 0), list[Record]()
    for topic, count in come:
        made.extend(records(topic, count, offsets[topic], size=10))
        offsets[topic] += count
    for rooms, most, most_bytes in [*takes, *[(ROOMY, 500, MB)] * 12]:
        taken = [record for record, _ in made.take(rooms, most, most_bytes)]
        assert len(taken) <= most
        assert sum(map(size_of, taken[:-1])) < most_bytes
        for rank, room in enumerate(rooms):
            assert sum(made.rank(record.topic) == rank for record in taken) <= room
        seen += taken
    assert len(made) == 0
    for topic, count in offsets.items():
        assert [record.offset for record in seen if record.topic == topic] == list(range(count))
