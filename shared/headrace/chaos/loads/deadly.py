"""Loads that the system must survive: a step that kills its worker, and a run whose outcome no broker takes."""

from collections.abc import Mapping

from headrace.chaos.loads.base import (
    SOURCE,
    Answer,
    Call,
    ExpectedRun,
    Load,
    LoadEvent,
    call_step,
    data_of,
    document,
)
from headrace.chaos.loads.step_package import DIE, PUBLISH
from headrace.chaos.plan import DUPLICATE_EVERY

TOO_LARGE_BYTES = 10 << 20
"""Beyond the 9 MB that producers and broker take."""


def _poison_number(of: int) -> int:
    """The one in the middle, and never one that is published twice: its second death would be another event's."""
    middle = of // 2
    return middle + 1 if middle % DUPLICATE_EVERY == 0 else middle


def _poison_data(event: LoadEvent) -> Mapping[str, object]:
    how = ""
    if event.number == _poison_number(event.of):
        how = "exit" if event.chance < 0.5 else "memory"
    return {**data_of(event), "how": how}


def _poison(event: LoadEvent) -> list[ExpectedRun]:
    if event.number == _poison_number(event.of):
        return [ExpectedRun("poison", event.id, SOURCE, dead=True)]
    return [ExpectedRun("poison", event.id, SOURCE, calls=(Call("/poison/call", event.id),))]


def _large_data(event: LoadEvent) -> Mapping[str, object]:
    return {**data_of(event), "bytes": TOO_LARGE_BYTES if _is_large(event) else 0}


def _is_large(event: LoadEvent) -> bool:
    return event.number % 4 == 1


def _large(event: LoadEvent) -> list[ExpectedRun]:
    return [ExpectedRun("large", event.id, SOURCE, owned=False, dead=_is_large(event))]


POISON = Load(
    "poison",
    lambda server: [
        document(
            "poison",
            {"id": "die", "use": DIE, "with": {"how": "{{ trigger.data.how }}"}},
            call_step(server, "/poison/call", "call"),
        )
    ],
    _poison_data,
    _poison,
    {"/poison/call": Answer(0.3, 1.5)},
    deadly=True,
)
LARGE = Load(
    "large",
    lambda _server: [
        document("large", {"id": "publish", "use": PUBLISH, "with": {"bytes": "{{ trigger.data.bytes }}"}})
    ],
    _large_data,
    _large,
)
