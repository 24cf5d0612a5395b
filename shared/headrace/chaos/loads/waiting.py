"""Loads whose runs wait, for longer than a worker is held for them: for a time, or for an event."""

from dataclasses import replace

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

WAIT_S = 30
"""Of runs that are told of nothing. The others are within 9 s, and a stall of the matcher, which faults may make it
take, is less than what is left. But while the broker is away nobody is told of anything: see `may_time_out`."""

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


def may_time_out(run: ExpectedRun) -> ExpectedRun:
    """A run of `waits` whose event came late, by the publisher's fault or an outage's: it may have given up before."""
    return replace(run, statuses=run.statuses | {"error"}, rows=(), late_rows=run.rows)


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
WAITS = Load(
    "waits",
    lambda _server: [
        document(
            "waits",
            {
                "id": "told",
                "wait_for_event": {
                    "type": TOLD,
                    # Not its own name: it is also told of its siblings' events, which are not meant.
                    "key": "{{ trigger.data.customer }}",
                    "match": "{{ data.origin == trigger.event.id }}",
                    "timeout": f"{WAIT_S}s",
                },
                "on_error": "stop",
            },
            row_step("waits_made", "waits_made"),
        )
    ],
    data_of,
    _waits,
    follow_up=_follow_up,
)
