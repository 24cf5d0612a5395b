"""What a load is: automations, events, and what must come of them, computed in plain Python from the events alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from headrace.chaos.plan import DUPLICATE_AFTER_S, LoadPlan
from headrace.contracts.cloudevents import Event
from headrace.contracts.jobs import run_id

APP = "chaos"
SOURCE = "headrace-chaos"
"""`ce_source` of all events that the harness publishes."""

STEP_TIMEOUT_S = 20.0
"""Of every HTTP step of the loads: a worker that sleeps for the longest pause (7 s) still gets its answer."""

STEP_ATTEMPTS = 3
"""Tries of every HTTP step of the loads, the product's own default."""

SUCCESS = frozenset(("success",))


@dataclass(frozen=True, slots=True)
class LoadEvent:
    """An event to publish at `at` seconds, and if `again_at` is set a second time under the same id.

    `number` counts the load's events from 0; `chance` is a number in [0, 1) that is the event's own.
    """

    load: str
    number: int
    at: float
    again_at: float | None
    customer: str
    chance: float
    of: int
    """How many events its load has."""

    @property
    def id(self) -> str:
        """`ce_id`."""
        return f"{self.load}-{self.number}"

    @property
    def amount(self) -> int:
        """What conditions look at: 0 to 99."""
        return int(self.chance * 100)

    @property
    def other_chance(self) -> float:
        """A second number in [0, 1), which does not follow from `amount`."""
        return self.chance * 10_000 % 1


@dataclass(frozen=True, slots=True)
class Row:
    """A row that must be there exactly once: its table, and the event it came from. The step that makes it has the
    table's name where its run may be cancelled."""

    table: str
    event: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that must have been made: its path, and the event it came from."""

    path: str
    event: str


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """A run that must be there once. `owned` says that it has effects, so that a duplicate must not execute it again.

    `dead` runs end as dead letters instead of in `statuses`. `redriven` ones do so first, and in `statuses` in a later
    generation. `collected` is the answer, None where nobody looks. `published` is the event that the harness published
    where `event` is one that followed from it. `late_rows` are there only if the run came to them: those of a run that
    may be cancelled before.
    """

    automation: str
    event: str
    source: str
    statuses: frozenset[str] = SUCCESS
    owned: bool = True
    dead: bool = False
    redriven: bool = False
    published: str = ""
    rows: tuple[Row, ...] = ()
    late_rows: tuple[Row, ...] = ()
    calls: tuple[Call, ...] = ()
    collected: object = None

    @property
    def origin(self) -> str:
        """The event that the harness published."""
        return self.published or self.event

    @property
    def id(self) -> str:
        """The run's id by the contract: it follows from app, automation and the event's name."""
        event = Event(self.event, self.source, "", datetime.fromtimestamp(0, UTC), "", APP, "", "")
        return run_id(APP, self.automation, event)


@dataclass(frozen=True, slots=True)
class Answer:
    """How the recorder answers calls of a path: after `least_s` to `most_s` seconds, and with status 503 the first
    call of a share of `first_fails` of the keys, the first `fails` (least and most) of all, or `until_mended` all calls
    for an event until the recorder is told that it is mended."""

    least_s: float = 0.0
    most_s: float = 0.0
    first_fails: float = 0.0
    fails: tuple[int, int] = (0, 0)
    until_mended: bool = False

    def failing(self, share: float) -> int:
        """How many calls of a key fail first; `share` is a number in [0, 1) that is its event's own."""
        least, most = self.fails
        return 1 if share < self.first_fails else least + int(share * (most - least + 1))


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A second event that the harness publishes for a load's event, under the same customer's key: its type, and how
    many seconds after the first."""

    type: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """What every run of a load keeps: at least `least_s` between its first calls of two paths."""

    before: str
    after: str
    least_s: float


def _nothing(_event: LoadEvent) -> None:
    """Of a load that has none."""


@dataclass(frozen=True, slots=True)
class Load:
    """A named load. `documents` gets the recorder's address; `data` is an event's body; `expected` what it leads to.

    `never_twice` are paths whose calls may not be repeated whatever happens.
    """

    name: str
    documents: Callable[[str], Sequence[Mapping[str, object]]]
    data: Callable[[LoadEvent], Mapping[str, object]]
    expected: Callable[[LoadEvent], Sequence[ExpectedRun]]
    answers: Mapping[str, Answer] = field(default_factory=dict[str, Answer])
    never_twice: frozenset[str] = frozenset()
    deadly: bool = False
    """Whether it kills workers by itself."""
    pauses: tuple[Pause, ...] = ()
    follow_up: Callable[[LoadEvent], FollowUp | None] = _nothing
    cancelled_after_s: Callable[[LoadEvent], float | None] = _nothing
    """When somebody asks for the end of the event's run, in seconds after its publication."""


def events_of(seed: int, plan: LoadPlan) -> list[LoadEvent]:
    """The load's events in the order of their times; the same arguments give the same events."""
    chance = random.Random(f"headrace-chaos/{seed}/events/{plan.name}")
    events: list[LoadEvent] = []
    for number in range(plan.events):
        at = number / plan.rate
        twice = plan.duplicate_every and number % plan.duplicate_every == 0
        again_at = at + chance.uniform(*DUPLICATE_AFTER_S) if twice else None
        crowd = plan.hot if chance.random() < 0.5 else plan.customers
        customer = f"c{chance.randrange(crowd)}"
        events.append(LoadEvent(plan.name, number, at, again_at, customer, chance.random(), plan.events))
    return events


def data_of(event: LoadEvent) -> dict[str, object]:
    """The body that most loads use."""
    return {"customer": event.customer, "amount": event.amount}


def document(load: str, *steps: Mapping[str, object], event: str = "") -> dict[str, object]:
    """An automation of the load's name that its events trigger, one after the other for each customer."""
    return {
        "name": load,
        "app": APP,
        "trigger": {"type": "event", "event": event or f"chaos.{load}"},
        "ordering_key": "{{ trigger.data.customer }}",
        "steps": list(steps),
    }


def call_step(server: str, path: str, id: str, **more: object) -> dict[str, object]:
    """An HTTP step whose body says which run and event it belongs to."""
    body = {"run": "{{ run.id }}", "event": "{{ trigger.event.id }}"}
    return {
        "id": id,
        "use": "http.request",
        "with": {"url": f"{server}{path}", "method": "POST", "json": body, "timeout": STEP_TIMEOUT_S},
        "timeout": f"{STEP_TIMEOUT_S:g}s",
        "retry": {"attempts": STEP_ATTEMPTS, "backoff": "200ms"},
        **more,
    }


def row_step(table: str, id: str, event: str = "{{ trigger.event.id }}") -> dict[str, object]:
    """A step that makes a row which names its event."""
    return {"id": id, "use": "row.create", "with": {"table": table, "row": {"event": event}}}
