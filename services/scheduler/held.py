"""What waits because its automation is paused, and goes on at a rate once that is over."""

import threading
from collections.abc import Iterator

from prometheus_client import Gauge
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.automation import RELEASE_RATE
from headrace.streams import Record
from services.scheduler.pending import Pending, PendingTimers

HELD = Gauge("headrace_timers_held", "Timers of automations that are paused or were, in the partition", ["partition"])

CATCH_UP_MICROS = 1_000_000
"""How much of a rate that was not used may be made up for: what a slow transaction takes; no flood after a stall."""

_ALWAYS = (1 << 63) - 1


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    app: str
    name: str


class _Live(BaseModel):
    """Of a LiveAutomation what matters here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    revision: int
    state: str
    release_rate: float = RELEASE_RATE
    document: _Document


class LivePauses:
    """Which automations are paused, and how fast others may catch up. One thread applies the records of the automations
    topic while others ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, _Live] = {}

    def apply(self, record: Record) -> None:
        """The next record of the automations topic. What cannot be read leaves what was known; LiveCrons tells it."""
        if record.value is None:
            with self._lock:
                self._live.pop((record.key or b"").decode(errors="replace"), None)
            return
        try:
            live = _Live.model_validate_json(record.value)
        except ValidationError:
            return
        id = f"{live.document.app}/{live.document.name}"
        with self._lock:
            known = self._live.get(id)
            if known is None or known.revision <= live.revision:
                self._live[id] = live

    def is_paused(self, automation: str) -> bool:
        """Whether what is due of the automation (its id) is to wait."""
        with self._lock:
            live = self._live.get(automation)
        return live is not None and live.state == "paused"

    def rate(self, automation: str) -> float:
        """Runs a second, over all partitions, at which it may catch up."""
        with self._lock:
            live = self._live.get(automation)
        return RELEASE_RATE if live is None else live.release_rate


class Held:
    """The timers of one partition that are due and are not to fire yet; those that came first go on first.

    Each of the `partitions` lets its share of an automation's rate go on, so that together they keep to it, but for
    what CATCH_UP_MICROS allows after a stall.
    """

    def __init__(self, pauses: LivePauses, partitions: int) -> None:
        self._pauses = pauses
        self._partitions = partitions
        self._timers: dict[str, PendingTimers] = {}
        self._automations: dict[bytes, str] = {}
        self._next_at: dict[str, float] = {}
        """When the next timer of an automation may go on, in microseconds since 1970; nothing: at once."""

    def __len__(self) -> int:
        return len(self._automations)

    def holds(self, automation: str) -> bool:
        """Whether what is due of the automation (its id) is to be kept here."""
        return self._pauses.is_paused(automation)

    def put(self, automation: str, timer: Pending) -> None:
        """Keeps the timer of the automation (its id), in the place of the one that its key had."""
        self.remove(timer.key)
        self._automations[timer.key] = automation
        self._timers.setdefault(automation, PendingTimers()).put(timer)

    def get(self, key: bytes) -> Pending | None:
        """The key's timer."""
        automation = self._automations.get(key)
        return None if automation is None else self._timers[automation].get(key)

    def remove(self, key: bytes) -> None:
        """Forgets the key's timer, if there is one."""
        automation = self._automations.pop(key, None)
        if automation is not None:
            self._timers[automation].remove(key)
            self._drop_empty(automation)

    def take(self, now: int, most: int) -> list[Pending]:
        """Removes and answers those that may go on at `now`, at most `most`, each automation at its rate."""
        taken: list[Pending] = []
        for automation in list(self._released()):
            interval = 1e6 * self._partitions / self._pauses.rate(automation)
            at = max(self._next_at.get(automation, now), now - CATCH_UP_MICROS)
            allowed = min(most - len(taken), int((now - at) / interval) + 1) if at <= now else 0
            if allowed <= 0:
                continue
            found = self._timers[automation].take(_ALWAYS, allowed)
            self._next_at[automation] = at + len(found) * interval
            for timer in found:
                del self._automations[timer.key]
            taken += found
            self._drop_empty(automation)
        return taken

    def next_at(self, now: int) -> float | None:
        """When the next one may go on; None where all wait for a pause to end."""
        return min((self._next_at.get(automation, now) for automation in self._released()), default=None)

    def _released(self) -> Iterator[str]:
        return (automation for automation in self._timers if not self._pauses.is_paused(automation))

    def _drop_empty(self, automation: str) -> None:
        if not len(self._timers[automation]):
            del self._timers[automation]
