"""Loads of which operators order about the whole automation: its runs are cancelled, or held while it is paused."""

from collections.abc import Mapping

from headrace.chaos.loads.base import (
    SOURCE,
    Answer,
    Call,
    ExpectedRun,
    Load,
    LoadEvent,
    Pause,
    Row,
    call_step,
    data_of,
    document,
    row_step,
)

PAUSES_S = (6, 20)
"""Half of the runs that are recalled park for so long each; the second is longer than a cancel may take to be known
everywhere, so that one that was not meant to go on, and does, is seen."""

LATE = "recalled_after"

DELAY_S = 6.0
"""Of the runs that are held: the engine parks them, and the end of the delay may come during a pause."""


def _recalled_data(event: LoadEvent) -> Mapping[str, object]:
    return {**data_of(event), "pause": f"{PAUSES_S[event.amount >= 50]}s"}


def _recalled(event: LoadEvent) -> list[ExpectedRun]:
    either = frozenset(("success", "cancelled"))
    # A cancel may come before the first step.
    rows = (Row("recalled_before", event.id), Row(LATE, event.id))
    calls = (Call("/recalled/after", event.id),)
    return [ExpectedRun("recalled", event.id, SOURCE, either, late_rows=rows, calls=calls)]


def _held(event: LoadEvent) -> list[ExpectedRun]:
    calls = (Call("/held/before", event.id), Call("/held/after", event.id))
    return [ExpectedRun("held", event.id, SOURCE, rows=(Row("held_made", event.id),), calls=calls)]


RECALLED = Load(
    "recalled",
    lambda server: [
        document(
            "recalled",
            row_step("recalled_before", "recalled_before"),
            {"id": "pause", "delay": {"for": "{{ trigger.data.pause }}"}},
            call_step(server, "/recalled/after", "call", retry={"attempts": 1}, on_error="retry"),
            row_step(LATE, LATE),
        )
    ],
    _recalled_data,
    _recalled,
    # Up to two failures are two tiers: there are cancels that meet a run in one.
    {"/recalled/after": Answer(0.0, 0.5, fails=(0, 2))},
)
HELD = Load(
    "held",
    lambda server: [
        document(
            "held",
            call_step(server, "/held/before", "before"),
            {"id": "pause", "delay": {"for": f"{DELAY_S:g}s"}},
            call_step(server, "/held/after", "after"),
            row_step("held_made", "make"),
        )
    ],
    data_of,
    _held,
    {"/held/before": Answer(0.0, 0.1), "/held/after": Answer(0.0, 0.1)},
    pauses=(Pause("/held/before", "/held/after", DELAY_S),),
)
