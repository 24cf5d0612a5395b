"""From a seed to a plan: which faults hit what and when, and how much load there is. Pure: no clock, no I/O."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headrace.chaos.orders import Order, make_orders

FaultKind = Literal["kill", "kill-stay", "pause", "broker", "mongod", "rolling", "scale", "cut", "delay", "half-open"]
FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)
Part = Literal["broker", "mongod"]
PARTS: tuple[Part, ...] = get_args(Part)
NETWORK: frozenset[FaultKind] = frozenset(("cut", "delay", "half-open"))
SERVICES = ("trigger_matcher", "orchestrator", "recorder", "scheduler", "insights")
SLOTS = 2
"""Processes of each service: the least with which a partition can move to a living one."""

FIRST_FAULT_S = 3.0
"""Something must be under way when the first fault comes."""

CALM_S = (2.0, 6.0)
"""Between two faults: from in the middle of a recovery to well after it."""

DURATIONS_S: dict[FaultKind, tuple[float, float]] = {
    # Restarted before and after its session (3 s) has run out.
    "kill": (0.5, 5.0),
    # As long as the plan: the others must do its work.
    "kill-stay": (0.0, 0.0),
    # Past the session time-out of 3 s, so that its partitions are given to others while it sleeps.
    "pause": (4.0, 7.0),
    "broker": (0.5, 4.0),
    # On both sides of the driver's server selection time-out (5 s).
    "mongod": (0.5, 7.0),
    # A drain takes a second; the group settles in between.
    "rolling": (6.0, 6.0),
    "scale": (8.0, 12.0),
    # On both sides of the session time-out.
    "cut": (1.0, 6.0),
    "delay": (3.0, 6.0),
    "half-open": (2.0, 7.0),
}
"""The shortest and the longest of each kind."""

TAIL_S = 3.0
"""Load goes on after the last fault has ended, so that every partition has something to show."""

AROUND_OUTAGE_S = 20.0
"""Load before an outage, so that it meets runs that are tried again, sleep and wait, and as much after it."""

HUSH_S = 2.0
"""So long before the broker goes away nothing is published any more: of all that was, it is known that it arrived."""

RATES: dict[str, float] = {
    "pure": 8.0,
    "rows": 5.0,
    "http": 5.0,
    "once": 4.0,
    "mixed": 3.0,
    "slow": 1.5,
    "poison": 1.0,
    "large": 0.5,
    "retries": 1.5,
    "timers": 2.0,
    "waits": 1.0,
    "dead": 0.5,
    "cancelled": 1.0,
    "recalled": 1.0,
    "held": 2.0,
    "clocks": 0.0,
}
"""Events a second of each load: together a few dozen, so that a machine of two cores keeps up and what stands still
stands still for another reason than load. What the clock starts has none."""

WEIGHTS = {"orchestrator": 4, "scheduler": 2}
"""Whose processes are hit more often than the others': four times as often those that have effects to do twice, and
twice as often those that a run can wait for in vain."""

DUPLICATE_EVERY = 10
"""A careless publisher sends every tenth event twice."""

DUPLICATE_AFTER_S = (0.2, 5.0)
"""How much later: in the same batch, or long after the first has ended."""

_NETWORK_TARGETS = 2
"""Processes behind proxies in one plan; all others reach Kafka and MongoDB directly."""


@dataclass(frozen=True, slots=True)
class Target:
    """A process: a service and its slot."""

    service: str
    slot: int

    def __str__(self) -> str:
        return f"{self.service}-{self.slot}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done, when it begins and for how long, in seconds from the start of the load.

    `target` is None for the platform's own parts; a rolling restart takes all slots of the target's service. `side`
    says which connections a network fault meets; `latency_s` is that of a delay.
    """

    kind: FaultKind
    at: float
    duration: float
    target: Target | None = None
    side: Literal["kafka", "mongodb", "both", ""] = ""
    latency_s: float = 0.0

    @property
    def ends(self) -> float:
        """When it is over."""
        return self.at + self.duration


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How many events of a load there are, how fast they come, and for how many customers, of which `hot` get half.

    `duplicate_every` 0 publishes nothing twice.
    """

    name: str
    events: int
    rate: float
    customers: int
    hot: int
    duplicate_every: int = DUPLICATE_EVERY


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run of the harness does. Made by `make_plan`."""

    seed: int
    seconds: float
    kinds: tuple[FaultKind, ...]
    """Those that were asked for; there may not have been time for all."""
    loads: tuple[LoadPlan, ...]
    faults: tuple[Fault, ...]
    orders: tuple[Order, ...] = ()
    proxied: tuple[Target, ...] = ()
    """The processes that reach Kafka and MongoDB through proxies: those that network faults meet."""
    outage: Part | None = None
    """The part that is away in the plan's only fault, where it is a plan of `make_outage`."""

    @property
    def hush(self) -> tuple[float, float] | None:
        """From when to when nothing can be published."""
        (fault,) = self.faults if self.outage == "broker" else (None,)
        return None if fault is None else (fault.at - HUSH_S, fault.ends)


def make_plan(seed: int, seconds: float, kinds: Sequence[FaultKind], loads: Sequence[str]) -> Plan:
    """The plan of a seed: the same arguments give the same plan, on every machine.

    `seconds` of load, in which faults of `kinds` follow each other, each kind once before any comes twice.
    """
    chance = random.Random(f"headrace-chaos/{seed}/faults")
    proxied = _proxied(chance) if NETWORK & set(kinds) else ()
    faults = tuple(_faults(chance, seconds, kinds, proxied))
    wanted: tuple[FaultKind, ...] = tuple([kind for kind in FAULTS if kind in kinds])
    planned = tuple(_load(seed, name, seconds) for name in loads)
    return Plan(seed, seconds, wanted, planned, faults, make_orders(seed, seconds, loads), proxied)


def make_outage(seed: int, part: Part, seconds: float, loads: Sequence[str]) -> Plan:
    """A plan with one fault: `part` is away for so many seconds, and load is there before, meanwhile and after.

    While the broker is away nobody can publish: the load then stops, and goes on as it comes back.
    """
    fault = Fault(part, AROUND_OUTAGE_S, seconds)
    whole = seconds + 2 * AROUND_OUTAGE_S
    busy = whole if part == "mongod" else 2 * AROUND_OUTAGE_S
    return Plan(seed, whole, (part,), tuple(_load(seed, name, busy) for name in loads), (fault,), outage=part)


def _proxied(chance: random.Random) -> tuple[Target, ...]:
    # An orchestrator always: it has the most to lose.
    others = [Target(service, slot) for service in SERVICES for slot in range(SLOTS)]
    first = Target("orchestrator", chance.randrange(SLOTS))
    others.remove(first)
    return (first, *chance.sample(others, _NETWORK_TARGETS - 1))


def _faults(
    chance: random.Random, seconds: float, kinds: Sequence[FaultKind], proxied: Sequence[Target]
) -> Iterator[Fault]:
    at = FIRST_FAULT_S
    queue: list[FaultKind] = []
    gone: set[Target] = set()
    while kinds:
        if not queue:
            queue = sorted(set(kinds))
            chance.shuffle(queue)
        fault = _fault(chance, queue.pop(), round(at, 2), proxied, gone)
        if fault.ends > seconds - TAIL_S:
            return
        if fault.kind == "kill-stay" and fault.target is not None:
            gone.add(fault.target)
        yield fault
        at = fault.ends + chance.uniform(*CALM_S)


def _fault(chance: random.Random, kind: FaultKind, at: float, proxied: Sequence[Target], gone: set[Target]) -> Fault:
    """One fault; where nothing is left that its kind could be done to, another process is killed instead."""
    reachable = [target for target in proxied if target not in gone]
    if (kind == "kill-stay" and len(gone) == len(SERVICES)) or (kind in NETWORK and not reachable):
        kind = "kill"
    duration = round(chance.uniform(*DURATIONS_S[kind]), 2)
    if kind in ("broker", "mongod"):
        return Fault(kind, at, duration)
    if kind in NETWORK:
        side = chance.choice(("kafka", "mongodb", "both"))
        latency = round(chance.uniform(0.1, 1.0), 2) if kind == "delay" else 0.0
        return Fault(kind, at, duration, chance.choice(reachable), side, latency)
    if kind == "scale":
        return Fault(kind, at, duration, Target("orchestrator", 0))
    targets = [Target(service, slot) for service in SERVICES for slot in range(SLOTS)]
    if kind == "kill-stay":
        # The other process of its service must live.
        targets = [target for target in targets if target.slot == 1]
    targets = [target for target in targets if target not in gone]
    weights = [WEIGHTS.get(target.service, 1) for target in targets]
    (target,) = chance.choices(targets, weights)
    return Fault(kind, at, duration, target)


def _load(seed: int, name: str, seconds: float) -> LoadPlan:
    chance = random.Random(f"headrace-chaos/{seed}/load/{name}")
    rate = RATES[name]
    # A lane runs one after the other: with fewer hot customers a slow load's lane would not keep up by itself.
    events = max(1, int(rate * seconds)) if rate else 0
    return LoadPlan(name, events, rate, chance.randint(8, 24), chance.randint(2, 4))
