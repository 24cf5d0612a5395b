"""A load of several steps: two calls, a branch with a row on each way, an event that triggers a second automation."""

from headrace.chaos.loads.base import (
    APP,
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
from headrace.contracts.jobs import derived_uuid

LARGE = 50
"""Half of the runs go each way."""


def _documents(server: str) -> list[dict[str, object]]:
    branch = {
        "id": "route",
        "branch": [
            {
                "name": "large",
                "when": f"{{{{ trigger.data.amount >= {LARGE} }}}}",
                "steps": [row_step("mixed_large", "note_large")],
            },
            {"name": "small", "else": True, "steps": [row_step("mixed_small", "note_small")]},
        ],
    }
    tell = {
        "id": "tell",
        "use": "event.publish",
        "with": {
            "type": "chaos.mixed-done",
            "data": {"origin": "{{ trigger.event.id }}", "customer": "{{ trigger.data.customer }}"},
        },
    }
    first, second = call_step(server, "/mixed/first", "first"), call_step(server, "/mixed/second", "second")
    return [
        document("mixed", first, branch, second, tell),
        document("mixed-done", row_step("mixed_done", "note", "{{ trigger.data.origin }}")),
    ]


def _expected(event: LoadEvent) -> list[ExpectedRun]:
    way = "mixed_large" if event.amount >= LARGE else "mixed_small"
    calls = (Call("/mixed/first", event.id), Call("/mixed/second", event.id))
    mixed = ExpectedRun("mixed", event.id, SOURCE, rows=(Row(way, event.id),), calls=calls)
    # By the contract an event that a step publishes is named by the step key of that step.
    told = derived_uuid(f"{mixed.id}/0/tell/0")
    return [
        mixed,
        ExpectedRun(
            "mixed-done", told, f"headrace/{APP}/mixed", published=event.id, rows=(Row("mixed_done", event.id),)
        ),
    ]


MIXED = Load(
    "mixed",
    _documents,
    data_of,
    _expected,
    {"/mixed/first": Answer(0.0, 0.1, first_fails=0.1), "/mixed/second": Answer(0.0, 0.4)},
)
