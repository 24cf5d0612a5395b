"""Dead letters as messages, and what takes up again what waits in them."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts import limits
from headrace.contracts.cloudevents import Event, Location, event_headers, read_event, repeating_headers
from headrace.contracts.deadletters import (
    About,
    DeadLetter,
    Reason,
    Refused,
    about_carrier,
    about_outcome,
    dead_letter,
    read_dead_letter,
)
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, next_segment, read_job, redriven, write_job
from headrace.contracts.resumptions import (
    RESUMES_HEADER,
    Resumption,
    read_resumption,
    redriven_resumption,
    write_resumption,
)

pytestmark = pytest.mark.unit

PLACE = Location("rows", 3, 42)
ELSEWHERE = Location("rows", 3, 4711)
AT = datetime(2013, 1, 1, 5, 30, tzinfo=UTC)
TIMESTAMP_MS = 1_357_000_000_123
JOB = Job.model_validate(
    {
        "format": 1, "run_id": "r", "app": "shop", "automation": "a", "version": 3, "generation": 2, "segment": 4,
        "attempt": 5, "key": "k", "priority": "low", "trigger": {"text": "é\0\"\\"},
        "cause": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT},
    }
)  # fmt: skip


def letter_of(
    value: bytes | None, about: About | None = None, key: bytes | None = b"k", headers: Any = (), message: str = "why"
) -> DeadLetter:
    refused = Refused(PLACE, key, value, headers, TIMESTAMP_MS)
    encoded = dead_letter("svc", refused, Reason(type="type", message=message), AT, about or About())
    assert len(encoded) <= limits.RECORD
    return read_dead_letter(encoded)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.binary(max_size=200) | st.none(),
    st.binary(max_size=20) | st.none(),
    st.lists(st.tuples(names, st.binary(max_size=20)), max_size=5),
)
def test_a_letter_keeps_the_bytes_the_place_and_the_reason(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    letter = letter_of(value, key=key, headers=headers)
    assert (letter.source, letter.timestamp_ms, letter.at) == (PLACE, TIMESTAMP_MS, AT)
    assert (letter.reason.type, letter.reason.message) == ("type", "why")
    assert (letter.value, letter.key, [*letter.headers]) == (value, key, headers)
    assert (letter.truncated, letter.envelope_cut, letter.run, letter.job) == (False, False, None, None)


def test_a_letter_of_a_giant_stays_small_and_says_what_is_missing() -> None:
    letter = letter_of(b"v" * 8_000_000)
    assert (len(letter.value or b""), letter.size) == (limits.STORED_VALUE, 8_000_000)
    assert (letter.truncated, letter.envelope_cut) == (True, False)
    assert letter_of(b"v", key=b"k" * 2_000).envelope_cut
    assert letter_of(b"v", headers=[("h", b"x" * 2_000)]).envelope_cut
    many = letter_of(b"v", headers=[("h" * 10_000, b"x" * 10_000)] * 1_000)
    assert (many.truncated, many.envelope_cut) == (False, True)


def test_a_reason_that_names_a_giant_field_leaves_the_letter_small() -> None:
    assert len(letter_of(b"", message="run record: " + "\0" * 8_000_000).reason.message) < 10_000


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 3))
def test_a_letter_of_a_job_carries_the_whole_job_byte_for_byte(text: str, spaces: int) -> None:
    value = write_job(JOB.model_copy(update={"trigger": {"text": text, "long": "x" * 100_000}})) + b" " * spaces
    letter = letter_of(value, about_carrier(value, ()))
    assert letter.value == letter.job == value
    assert (letter.size, letter.truncated) == (len(value), False)


def test_a_letter_of_a_job_says_of_which_run() -> None:
    value = write_job(JOB)
    letter = letter_of(value, about_carrier(value, ()), key=b"shop/a/k")
    assert (letter.app, letter.automation, letter.key_text) == ("shop", "a", "k")
    run = letter.run
    assert run is not None
    assert (run.run_id, run.generation, run.segment, run.priority) == ("r", 2, 4, "low")
    assert not run.had_outcome
    outcome = letter_of(value, about_outcome(JOB, value, ()))
    assert outcome.run is not None
    assert outcome.run.had_outcome
    assert outcome.job == value


def test_a_job_too_large_for_its_letter_leaves_a_pointer_and_says_of_which_run() -> None:
    value = write_job(JOB.model_copy(update={"trigger": {"long": '"' * 4_100_000}}))
    assert len(value) < limits.RECORD + limits.EVENT_BODY
    letter = letter_of(value, about_carrier(value, ()))
    assert (letter.job, letter.value, letter.truncated) == (None, value[: limits.STORED_VALUE], True)
    assert letter.run is not None


@pytest.mark.parametrize("value", [None, b"", b"{", b"null", b'{"format": 1}', b"\xff"])
def test_bytes_that_are_no_job_have_no_run(value: bytes | None) -> None:
    letter = letter_of(value, about_carrier(value, ()))
    assert (letter.run, letter.job, letter.value) == (None, None, value)


RESUMPTION = Resumption(
    run_id="r", app="shop", automation="a", source=PLACE, generation=2, segment=4, key="k", priority="low"
)


def test_a_letter_of_a_resumption_says_of_which_run_and_has_the_job_where_it_is_known() -> None:
    value, headers = write_resumption(RESUMPTION), [(RESUMES_HEADER, b"")]
    letter = letter_of(value, about_carrier(value, headers), headers=headers)
    assert letter.run is not None
    assert (letter.run.run_id, letter.run.segment, letter.job, letter.value) == ("r", 4, None, value)
    known = letter_of(value, about_outcome(JOB, value, headers), headers=headers)
    assert (known.value, known.job) == (value, write_job(JOB))


def old_letter(**changes: object) -> bytes:
    letter: dict[str, object] = {
        "format": 1, "service": "orchestrator", "reason": {"type": "t", "message": "m"},
        "source": {"topic": "headrace.jobs.low", "partition": 1, "offset": 7}, "at": "2013-01-01T00:00:00Z",
        "key": "aw==", "headers": [["h", "dg=="]], "value": "e30=", "size": 2, "truncated": False, **changes,
    }  # fmt: skip
    return orjson.dumps(letter)


def test_a_letter_of_the_first_format_is_still_read() -> None:
    letter = read_dead_letter(old_letter())
    assert (letter.source, letter.key, letter.value) == (Location("headrace.jobs.low", 1, 7), b"k", b"{}")
    assert (letter.headers, letter.envelope_cut, letter.run) == ([("h", b"v")], False, None)
    assert read_dead_letter(old_letter(value=None)).value is None
    assert read_dead_letter(old_letter(headers=[["h", "dg=="]] * 64)).envelope_cut


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (None, "not_json"), (b"{", "not_json"), (b"[]", "bad_shape"), (b"null", "bad_shape"), (b"{}", "bad_shape"),
        (old_letter(format=3), "bad_shape"), (old_letter(value="?"), "bad_shape"), (old_letter(source=1), "bad_shape"),
        (old_letter(source={"topic": "t", "partition": -1, "offset": 0}), "bad_shape"),
        (old_letter(source={"topic": "t", "partition": 0, "offset": 1 << 63}), "bad_shape"),
    ],
)  # fmt: skip
def test_what_is_no_dead_letter_is_refused_by_kind(value: bytes | None, type: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_dead_letter(value)
    assert refused.value.type == type


def test_a_redriven_run_is_resumed_in_its_next_generation_under_the_same_keys() -> None:
    again = redriven(JOB, version=JOB.version, is_restart=False, had_outcome=True)
    assert (again.generation, again.segment, again.attempt, again.restart) == (3, 0, 1, 0)
    unchanged = {"run_id", "app", "automation", "version", "key", "priority", "trigger", "cause", "parent", "replay"}
    assert again.model_dump(include=unchanged) == JOB.model_dump(include=unchanged)
    assert again.unsent == ()
    assert redriven(JOB, version=9, is_restart=False, had_outcome=True).version == 9


def test_a_restart_leaves_what_was_done_before_behind() -> None:
    again = redriven(JOB, version=3, is_restart=True, had_outcome=False)
    assert (again.restart, again.unsent) == (3, ())
    resumed = redriven(again, version=3, is_restart=False, had_outcome=True)
    assert (resumed.generation, resumed.restart) == (4, 3)


def test_what_dead_segments_published_goes_out_once_with_the_first_that_has_an_outcome() -> None:
    once = redriven(JOB, version=3, is_restart=False, had_outcome=False)
    twice = redriven(once, version=3, is_restart=False, had_outcome=False)
    assert twice.unsent == ((2, 4), (3, 0))
    assert read_job(write_job(twice)) == twice
    assert read_job(next_segment(twice)).unsent == ()
    assert redriven(twice, version=3, is_restart=False, had_outcome=True).unsent == ()


def test_a_resumption_is_redriven_in_the_next_generation() -> None:
    again = read_resumption(write_resumption(redriven_resumption(RESUMPTION)))
    assert (again.generation, again.segment, again.unsent, again.source) == (3, 0, ((2, 4),), PLACE)


RAW = [("ce_app", b"shop"), ("ce_type", b"t")]


@pytest.mark.parametrize(
    "headers",
    [
        RAW,
        [*RAW, ("ce_time", b"2013-01-01T06:30:00+01:00")],
        event_headers(Event("1", "s", "t", AT, "", "shop", "again", "00-1-1-01")),
        [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), *RAW],
    ],
)
def test_an_event_put_back_is_the_same_event_however_often(headers: list[tuple[str, bytes]]) -> None:
    event = read_event(headers, PLACE, TIMESTAMP_MS)
    once = repeating_headers(headers, PLACE, TIMESTAMP_MS)
    twice = repeating_headers(once, ELSEWHERE, TIMESTAMP_MS + 99)
    assert read_event(once, ELSEWHERE, TIMESTAMP_MS + 99) == event
    assert read_event(twice, Location("rows", 0, 0), 0) == event
    assert dict(twice)["headrace_redriven"] == b"rows/3/42"


@pytest.mark.parametrize("place", ["rows", "rows/1", "/1/2", "rows/1/x", "rows/-1/2", "rows/1/2/3", "rows/1/²"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(ContractError, match="headrace_redriven") as refused:
        read_event([*RAW, ("headrace_redriven", place.encode())], PLACE, 0)
    assert refused.value.type == "bad_place"
