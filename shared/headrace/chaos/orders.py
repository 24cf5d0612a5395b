"""What operators do to whole automations, and when: follows from the seed. Pure: no clock, no I/O."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

What = Literal["cancel", "pause", "resume"]

RECALLED = "recalled"
"""The automation of which all runs are cancelled, again and again."""

PAUSED = ("held", "clocks")
"""Those that are paused and resumed: one that events start, one that the clock does."""

FIRST_S = (3.0, 7.0)
"""Something must be under way when the first order comes."""

CANCELS_EVERY_S = (6.0, 14.0)
"""Between two cancels: less and more than the longer delay of the runs that they meet."""

PAUSED_S = (4.0, 12.0)
"""How long a pause lasts: on both sides of a killed process's restart, and of a run's delay."""

RESUMED_S = (3.0, 8.0)
"""Between a resumption and the next pause: what was held may still catch up, or has."""

RATES = (3.0, 10.0, 50.0)
"""At which those that were held go on, in runs a second: slower and faster than they come."""

TAIL_S = 6.0
"""No pause begins later than so long before the load's end: it must meet something."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for, of which automation (its name), at how many seconds from the start of the load; `rate` is
    that of a resumption, in runs a second."""

    at: float
    what: What
    automation: str
    rate: float = 0.0


def make_orders(seed: int, seconds: float, loads: Sequence[str]) -> tuple[Order, ...]:
    """The orders of a seed, by their times: the same arguments give the same. Whatever is paused is resumed."""
    found = [order for name in PAUSED if name in loads for order in _pauses(_chance(seed, name), seconds, name)]
    if RECALLED in loads:
        found += _cancels(_chance(seed, RECALLED), seconds)
    return tuple(sorted(found, key=lambda order: order.at))


def _chance(seed: int, name: str) -> random.Random:
    return random.Random(f"headrace-chaos/{seed}/orders/{name}")


def _pauses(chance: random.Random, seconds: float, name: str) -> Iterator[Order]:
    at = chance.uniform(*FIRST_S)
    while at < seconds - TAIL_S:
        yield Order(round(at, 2), "pause", name)
        at += chance.uniform(*PAUSED_S)
        yield Order(round(at, 2), "resume", name, chance.choice(RATES))
        at += chance.uniform(*RESUMED_S)


def _cancels(chance: random.Random, seconds: float) -> Iterator[Order]:
    at = chance.uniform(*FIRST_S)
    while at < seconds:
        yield Order(round(at, 2), "cancel", RECALLED)
        at += chance.uniform(*CANCELS_EVERY_S)
