"""Loads with one kind of step each: pure, rows, http, slow, once."""

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

GATE = 25
"""A quarter of the pure runs ends at its filter."""


def _pure(event: LoadEvent) -> list[ExpectedRun]:
    if event.amount < GATE:
        return [ExpectedRun("pure", event.id, SOURCE, frozenset(("stopped",)), owned=False)]
    return [ExpectedRun("pure", event.id, SOURCE, owned=False, collected=2 * event.amount)]


def _rows(event: LoadEvent) -> list[ExpectedRun]:
    return [ExpectedRun("rows", event.id, SOURCE, rows=(Row("rows_made", event.id),))]


def _http(event: LoadEvent) -> list[ExpectedRun]:
    return [ExpectedRun("http", event.id, SOURCE, calls=(Call("/http/call", event.id),))]


def _slow(event: LoadEvent) -> list[ExpectedRun]:
    return [ExpectedRun("slow", event.id, SOURCE, calls=(Call("/slow/call", event.id),))]


def _once(event: LoadEvent) -> list[ExpectedRun]:
    # A call that was under way when its worker died has no known end: the step then fails, rather than calling again.
    either = frozenset(("success", "error"))
    return [ExpectedRun("once", event.id, SOURCE, either, calls=(Call("/once/call", event.id),))]


PURE = Load(
    "pure",
    lambda _server: [
        document(
            "pure",
            {"id": "gate", "filter": f"{{{{ trigger.data.amount >= {GATE} }}}}"},
            {"id": "answer", "collect": "{{ trigger.data.amount * 2 }}"},
        )
    ],
    data_of,
    _pure,
)
ROWS = Load("rows", lambda _server: [document("rows", row_step("rows_made", "make"))], data_of, _rows)
HTTP = Load(
    "http",
    lambda server: [document("http", call_step(server, "/http/call", "call"))],
    data_of,
    _http,
    {"/http/call": Answer(0.0, 0.05)},
)
SLOW = Load(
    "slow",
    lambda server: [document("slow", call_step(server, "/slow/call", "call"))],
    data_of,
    _slow,
    {"/slow/call": Answer(0.2, 3.0)},
)
ONCE = Load(
    "once",
    lambda server: [
        document("once", call_step(server, "/once/call", "call", on_unknown="fail", retry={"attempts": 1}))
    ],
    data_of,
    _once,
    {"/once/call": Answer(0.0, 0.5)},
    never_twice=frozenset(("/once/call",)),
)
