"""A load without events: an automation that the clock starts. What must come of it follows from the times alone."""

from datetime import UTC, datetime

from headrace.chaos.loads.base import APP, ExpectedRun, Load, Row, row_step

NAME = "clocks"

EVERY_S = 2
"""Between two times: many times fall into each fault."""

TICK_SOURCE = "headrace/scheduler"
"""`ce_source` of ticks, by the contract."""

SECOND_US = 1_000_000


_EVERY_US = EVERY_S * SECOND_US


def times(since: int, until: int) -> list[int]:
    """The clock's times after `since` and up to `until`, all in microseconds since 1970."""
    return list(range(latest(since) + _EVERY_US, until + 1, _EVERY_US))


def latest(now: int) -> int:
    """The last of its times up to `now`."""
    return now // _EVERY_US * _EVERY_US


def tick_id(time: int) -> str:
    """The name of the event of a time: by the contract it is the automation's and the time's, to the second."""
    return f"{APP}/{NAME}/{datetime.fromtimestamp(time // SECOND_US, UTC):%Y-%m-%dT%H:%M:%SZ}"


def run_of(time: int) -> ExpectedRun:
    """The run that a time must lead to."""
    id = tick_id(time)
    return ExpectedRun(NAME, id, TICK_SOURCE, rows=(Row("clocks_made", id),))


CLOCKS = Load(
    NAME,
    lambda _server: [
        {
            "name": NAME,
            "app": APP,
            "trigger": {"type": "cron", "schedule": f"*/{EVERY_S} * * * * *", "missed": "run_all"},
            "steps": [row_step("clocks_made", "make")],
        }
    ],
    lambda _event: {},
    lambda _event: [],
)
