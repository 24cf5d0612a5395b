"""A load whose runs somebody cancels: in time, while they wait or are tried again, or too late."""

from collections.abc import Mapping

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

PAUSES_S = (6, 20)
"""Half of the runs park for so long each; the second is longer than a cancel may take to be known everywhere."""

BEGINS_S, ENDS_S = 0.5, 4.0
"""A cancel comes from so long after the event to so long after the run's delay: it may meet a run that has not parked
yet, waits, is in its call or in a tier, or has ended."""

LATE = "cancelled_after"


def _data(event: LoadEvent) -> Mapping[str, object]:
    return {**data_of(event), "pause": f"{_pause_s(event)}s"}


def _pause_s(event: LoadEvent) -> int:
    return PAUSES_S[event.amount >= 50]


def _is_cancelled(event: LoadEvent) -> bool:
    return event.number % 4 != 3


def _after_s(event: LoadEvent) -> float | None:
    most = _pause_s(event) + ENDS_S
    return BEGINS_S + (most - BEGINS_S) * event.other_chance if _is_cancelled(event) else None


def _expected(event: LoadEvent) -> list[ExpectedRun]:
    first, late = (Row("cancelled_before", event.id),), (Row(LATE, event.id),)
    calls = (Call("/cancelled/after", event.id),)
    if not _is_cancelled(event):
        return [ExpectedRun("cancelled", event.id, SOURCE, rows=first + late, calls=calls)]
    either = frozenset(("success", "cancelled"))
    return [ExpectedRun("cancelled", event.id, SOURCE, either, rows=first, late_rows=late, calls=calls)]


CANCELLED = Load(
    "cancelled",
    lambda server: [
        document(
            "cancelled",
            row_step("cancelled_before", "cancelled_before"),
            {"id": "pause", "delay": {"for": "{{ trigger.data.pause }}"}},
            call_step(server, "/cancelled/after", "call", retry={"attempts": 1}, on_error="retry"),
            row_step(LATE, LATE),
        )
    ],
    _data,
    _expected,
    # Two failures are two tiers: there are cancels that meet a run in one.
    {"/cancelled/after": Answer(0.0, 0.5, fails=(0, 2))},
    cancelled_after_s=_after_s,
)
