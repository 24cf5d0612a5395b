"""Loads whose calls fail: for a time that retry tiers outlast, or until somebody mends what they call."""

from headrace.chaos.loads.base import (
    SOURCE,
    Answer,
    Call,
    ExpectedRun,
    Load,
    LoadEvent,
    Row,
    call_step,
    data_of,
    document,
    row_step,
)

_TRIES = {"attempts": 2, "backoff": "200ms"}

FAILS = (1, 4)
"""Of two tries in each of three attempts: the first failure is over within the step, the second and third after the
first tier, the fourth after the second."""


def _retries(event: LoadEvent) -> list[ExpectedRun]:
    call, row = Call("/retries/call", event.id), Row("retries_made", event.id)
    return [ExpectedRun("retries", event.id, SOURCE, rows=(row,), calls=(call,))]


def _dead(event: LoadEvent) -> list[ExpectedRun]:
    call, row = Call("/dead/call", event.id), Row("dead_made", event.id)
    return [ExpectedRun("dead", event.id, SOURCE, redriven=True, rows=(row,), calls=(call,))]


RETRIES = Load(
    "retries",
    lambda server: [
        document(
            "retries",
            call_step(server, "/retries/call", "call", retry=_TRIES, on_error="retry"),
            row_step("retries_made", "make"),
        )
    ],
    data_of,
    _retries,
    {"/retries/call": Answer(0.0, 0.2, fails=FAILS)},
)
DEAD = Load(
    "dead",
    lambda server: [
        document(
            "dead",
            call_step(server, "/dead/call", "call", retry={"attempts": 1}, on_error="retry"),
            row_step("dead_made", "make"),
        )
    ],
    data_of,
    _dead,
    {"/dead/call": Answer(until_mended=True)},
)
