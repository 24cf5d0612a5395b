"""Loads whose runs wait, for longer than a worker is held for them: for a time, or for an event."""

from collections.abc import Mapping

from headrace.chaos.loads.base import (
    SOURCE,
    Answer,
    Call,
    ExpectedRun,
    FollowUp,
    Load,
    LoadEvent,
    Pause,
    Row,
    call_step,
    data_of,
    document,
    row_step,
)

DELAY_S = 6.0
"""The engine parks a run for more than 5 s."""

TOLD = "chaos.waits-told"

WAIT_S, LONG_WAIT_S = 30, 150
"""Of runs that are told of nothing, and of those that are told. These are within 9 s, but while the broker is away
nothing is: the publisher waits for it, and so long no outage is."""

_TOLD_WITHIN_S = (0.2, 9.0)


def _timers(event: LoadEvent) -> list[ExpectedRun]:
    calls = (Call("/timers/before", event.id), Call("/timers/after", event.id))
    return [ExpectedRun("timers", event.id, SOURCE, rows=(Row("timers_made", event.id),), calls=calls)]


def _is_told(event: LoadEvent) -> bool:
    return event.number % 5 != 3


def _follow_up(event: LoadEvent) -> FollowUp | None:
    least, most = _TOLD_WITHIN_S
    return FollowUp(TOLD, least + (most - least) * event.chance) if _is_told(event) else None


def _waits(event: LoadEvent) -> list[ExpectedRun]:
    if _is_told(event):
        return [ExpectedRun("waits", event.id, SOURCE, rows=(Row("waits_made", event.id),))]
    return [ExpectedRun("waits", event.id, SOURCE, frozenset(("error",)))]


TIMERS = Load(
    "timers",
    lambda server: [
        document(
            "timers",
            call_step(server, "/timers/before", "before"),
            {"id": "pause", "delay": {"for": f"{DELAY_S:g}s"}},
            call_step(server, "/timers/after", "after"),
            row_step("timers_made", "make"),
        )
    ],
    data_of,
    _timers,
    {"/timers/before": Answer(0.0, 0.1), "/timers/after": Answer(0.0, 0.1)},
    pauses=(Pause("/timers/before", "/timers/after", DELAY_S),),
)


def _wait(id: str, timeout_s: int) -> Mapping[str, object]:
    wait = {
        "type": TOLD,
        # Not its own name: it is also told of its siblings' events, which are not meant.
        "key": "{{ trigger.data.customer }}",
        "match": "{{ data.origin == trigger.event.id }}",
        "timeout": f"{timeout_s}s",
    }
    return {"id": id, "wait_for_event": wait, "on_error": "stop"}


def _documents(_server: str) -> list[dict[str, object]]:
    ways = [
        {"name": "told", "when": "{{ trigger.data.is_told }}", "steps": [_wait("told", LONG_WAIT_S)]},
        {"name": "untold", "else": True, "steps": [_wait("untold", WAIT_S)]},
    ]
    return [document("waits", {"id": "way", "branch": ways}, row_step("waits_made", "make"))]


WAITS = Load(
    "waits",
    _documents,
    lambda event: {**data_of(event), "is_told": _is_told(event)},
    _waits,
    follow_up=_follow_up,
)
