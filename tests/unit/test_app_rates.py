"""An app with more jobs than its rate has them done behind others', until it has been calm for a while."""

import pytest
from prometheus_client import REGISTRY

from services.trigger_matcher.apps import CALM_WINDOWS, AppRates

pytestmark = pytest.mark.unit


class World:
    def __init__(self, rate: int | None = 10) -> None:
        self.now = 0.0
        self.rates = AppRates(rate, lambda: self.now)

    def jobs(self, count: int, app: str = "busy") -> int:
        """How many of them are too many."""
        self.rates.pass_time()
        return sum(self.rates.is_over(app) for _ in range(count))


def test_jobs_beyond_the_rate_of_a_second_are_too_many_and_all_that_follow() -> None:
    world = World()
    assert world.jobs(10) == 0
    assert world.jobs(5) == 5
    world.now = 1.0
    assert world.jobs(3) == 3


def test_other_apps_are_not_touched() -> None:
    world = World()
    world.jobs(100)
    assert world.jobs(10, "calm") == 0


def test_an_app_is_back_once_it_was_within_its_rate_for_a_while() -> None:
    world = World()
    world.jobs(11)
    for second in range(1, CALM_WINDOWS + 1):
        world.now = float(second)
        assert world.jobs(1) == 1
    world.now = CALM_WINDOWS + 1.0
    assert world.jobs(1) == 0


def test_a_window_over_the_rate_begins_the_while_anew() -> None:
    world = World()
    world.jobs(11)
    for second in range(1, CALM_WINDOWS):
        world.now = float(second)
        world.jobs(1)
    world.now = float(CALM_WINDOWS)
    world.jobs(11)
    world.now = CALM_WINDOWS + 2.0
    assert world.jobs(1) == 1


def test_an_app_that_does_nothing_for_long_is_back() -> None:
    world = World()
    world.jobs(11)
    world.now = 100.0
    assert world.jobs(10) == 0


def test_without_a_rate_no_job_is_one_too_many() -> None:
    assert World(None).jobs(1_000_000) == 0


def test_changes_are_counted() -> None:
    def count(to: str) -> float:
        return REGISTRY.get_sample_value("headrace_apps_lowered_total", {"to": to}) or 0.0

    before = count("low"), count("back")
    world = World()
    world.jobs(100)
    world.now = 100.0
    world.jobs(1)
    assert (count("low"), count("back")) == (before[0] + 1, before[1] + 1)
