"""Rates: what is one too many is refused with the time to wait, and nobody takes another's share or our memory."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import rates
from services.gateway.problems import Problem
from services.gateway.rates import BURST_S, Rates

pytestmark = pytest.mark.unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(of: Rates, name: str = "a", kind: str = "key") -> bool:
    try:
        of.admit(kind, name)
    except Problem as problem:
        return problem.status != HTTPStatus.TOO_MANY_REQUESTS
    return True


def test_a_burst_passes_then_the_rate() -> None:
    clock = Clock()
    of = Rates({"key": 10}, clock)
    assert [admitted(of) for _ in range(21)] == [True] * 20 + [False]
    assert admitted(of, "b")
    assert admitted(of, kind="app")
    clock.now += 0.1
    assert [admitted(of) for _ in range(2)] == [True, False]


def test_whoever_waits_as_told_is_let_in() -> None:
    clock = Clock()
    of = Rates({"key": 1}, clock)
    while admitted(of):
        pass
    with pytest.raises(Problem) as refused:
        of.admit("key", "a")
    clock.now += int(refused.value.headers["Retry-After"])
    assert admitted(of)


@given(st.integers(1, 50), st.lists(st.floats(0, 2), max_size=300))
def test_over_any_time_no_more_pass_than_the_rate_and_a_burst(rate: int, waits: list[float]) -> None:
    clock = Clock()
    of = Rates({"key": rate}, clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        passed += admitted(of)
    assert passed <= rate * (clock.now + BURST_S) + 1e-6


def test_zero_is_no_limit() -> None:
    of = Rates({"key": 0})
    assert all(admitted(of) for _ in range(1000))


def test_names_that_are_made_up_take_no_more_memory_than_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_BUCKETS", 100)
    of = Rates({"key": 1}, Clock())
    for number in range(1_000):
        of.admit("key", str(number))
    assert len(of._buckets) == 100
