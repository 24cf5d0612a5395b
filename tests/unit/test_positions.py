"""Where change capture is, as text in Kafka's metadata; and how it comes back to the same place."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.errors import ContractError
from headrace.contracts.positions import (
    MAX_LENGTH,
    ChangePosition,
    SnapshotPosition,
    Stamp,
    beginning_at,
    digest,
    fits,
    read_position,
    read_stamp,
    row_fits,
    token_time,
    write_position,
)
from headrace.engine.rows import Author
from headrace.storage.change_place import ChangePlace, PlaceMissed
from headrace.streams.commit_metadata import MAX_LENGTH as MOST_METADATA
from headrace.streams.commit_metadata import CommitPoint, Tokens, decode, encode, token_of

pytestmark = pytest.mark.unit

STAMPS = st.builds(Stamp, st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
TOKENS = st.binary(min_size=1, max_size=3_000).map(lambda content: content.hex().upper()).filter(fits)
DIGESTS = st.just("") | st.binary(max_size=20).map(lambda content: digest(content.hex()))
CHANGES = st.builds(ChangePosition, STAMPS | TOKENS, STAMPS, DIGESTS)
TABLES = st.from_regex(r"[a-z0-9_-]{1,20}\.[a-z0-9_-]{1,20}", fullmatch=True)
SNAPSHOTS = st.builds(SnapshotPosition, STAMPS, TABLES | st.just(""), st.binary(max_size=3_000).filter(row_fits))


@given(CHANGES | SNAPSHOTS)
def test_a_place_is_read_as_it_was_written_and_is_text_that_metadata_takes(
    position: ChangePosition | SnapshotPosition,
) -> None:
    text = write_position(position)
    assert read_position(text) == position
    assert len(text) <= MAX_LENGTH
    assert text.isascii()
    assert not set(text) & {";", "\0"}


@given(CHANGES | SNAPSHOTS, st.booleans())
def test_the_metadata_carries_the_place_beside_the_transactions_token(
    position: ChangePosition | SnapshotPosition, clean: bool
) -> None:
    token = Tokens().next()
    point = CommitPoint(0, 0, clean=clean, note=write_position(position))
    text = encode(point, token)
    assert len(text) <= MOST_METADATA
    assert decode(text, 0) == point
    assert token_of(text) == token


def test_the_longest_token_that_fits_and_the_next_one() -> None:
    longest = next(size for size in range(8_000, 0, -2) if fits("A" * size))
    worst = ChangePosition("F" * longest, Stamp((1 << 32) - 1, (1 << 32) - 1), digest("x"))
    assert MAX_LENGTH - 200 < len(write_position(worst)) <= MAX_LENGTH


@pytest.mark.parametrize(
    "text",
    ["", "1c", "1c,t1.2,1.2", "2c,t1.2,1.2,", "1c,x1.2,1.2,", "1c,kA,1.2,", "1c,t1.2,99999999999.1,", "1s,1.2,a.b,%"],
)
def test_any_other_text_is_no_place(text: str) -> None:
    with pytest.raises(ContractError):
        read_position(text)


@given(st.text(max_size=60))
def test_no_text_makes_reading_it_fail_otherwise(text: str) -> None:
    for read in (read_position, read_stamp):
        try:
            read(text)
        except ContractError:
            pass


def test_a_token_says_when_its_change_was_made() -> None:
    assert token_time("826B085E64000000152B022C0100296E5A1004") == Stamp(0x6B085E64, 0x15)
    assert token_time("nonsense") is None


class Told(NamedTuple):
    """An event of a stream: `transaction` numbers it, `authors` says whether it tells them."""

    token: str
    stamp: Stamp
    transaction: int | None
    authors: bool


@st.composite
def streams(draw: st.DrawFn) -> list[Told]:
    """Transactions and changes outside of any, in their order; some ids are so long that their tokens do not fit."""
    events: list[Told] = []
    for second, size in enumerate(draw(st.lists(st.integers(0, 5), min_size=1, max_size=8)), start=1):
        count = size or 1
        for number in range(count):
            token = f"82{second:08X}{number:08X}" + draw(st.sampled_from(["", "AB" * 4_000]))
            transaction = second if size else None
            events.append(Told(token, Stamp(second, 1), transaction, bool(size) and number == 0))
    return events


def _read(events: list[Told], position: ChangePosition) -> tuple[list[tuple[str, Author | None]], list[ChangePosition]]:
    """What a reader that begins at `position` gives, and the place behind each."""
    if isinstance(position.start, str):
        tokens = [event.token for event in events]
        left = events[tokens.index(position.start) + 1 :]
    else:
        start = position.start
        left = [event for event in events if event.stamp >= start]
    place = ChangePlace(position)
    given: list[tuple[str, Author | None]] = []
    places: list[ChangePosition] = []
    for event in left:
        is_new = place.passes(
            event.token, event.stamp, None if event.transaction is None else (b"s", event.transaction)
        )
        if event.authors:
            rows = [[other.token, 0] for other in events if other.transaction == event.transaction]
            place.authors.told({"table": "a.b", "rows": rows, "authors": [[str(event.transaction), ["a/b"], ""]]})
        author = place.author("a.b", event.token)
        if is_new:
            given.append((event.token, author))
            places.append(place.position)
    return given, places


@given(streams())
def test_whoever_goes_on_at_any_place_gives_exactly_the_rest_with_its_authors(events: list[Told]) -> None:
    whole, places = _read(events, beginning_at(Stamp(0, 1)))
    assert [token for token, _ in whole] == [event.token for event in events]
    assert [author is not None for _, author in whole] == [event.transaction is not None for event in events]
    for number, place in enumerate(places):
        assert isinstance(place.start, Stamp) or fits(place.start)
        assert _read(events, read_as_written(place))[0] == whole[number + 1 :]


def read_as_written(place: ChangePosition) -> ChangePosition:
    """As the next owner reads it in the metadata."""
    found = read_position(write_position(place))
    assert isinstance(found, ChangePosition)
    return found


def test_a_change_that_is_not_where_it_was_is_never_passed_by_in_silence() -> None:
    place = ChangePlace(ChangePosition(Stamp(1, 1), Stamp(2, 1), digest("the change")))
    assert not place.passes("8200000001", Stamp(1, 1), None)
    with pytest.raises(PlaceMissed):
        place.passes("8200000003", Stamp(3, 1), None)


def test_the_place_moves_on_where_nothing_comes() -> None:
    place = ChangePlace(beginning_at(Stamp(1, 1)))
    place.reaches("820000000500000007")
    assert place.position == ChangePosition("820000000500000007", Stamp(5, 7))
