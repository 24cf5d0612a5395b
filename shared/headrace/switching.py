"""Pauses, resumes, disables and enables automations: saved, published, known to every process, and audited."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from headrace.applying import announce
from headrace.auditing import audited
from headrace.contracts.automation import RELEASE_RATE, LiveAutomation, LiveState
from headrace.settings import Settings
from headrace.storage import Storage

Switch = Literal["pause", "resume", "disable", "enable"]


class _Rule(NamedTuple):
    comes_from: frozenset[LiveState]
    leads_to: LiveState


RULES: Mapping[Switch, _Rule] = {
    "pause": _Rule(frozenset({"enabled"}), "paused"),
    "resume": _Rule(frozenset({"paused", "enabled"}), "enabled"),
    "disable": _Rule(frozenset({"enabled", "stopped_error"}), "disabled"),
    "enable": _Rule(frozenset({"disabled", "stopped_error"}), "enabled"),
}
"""Every change of state that a person may make. What is paused has runs that wait, which nothing but its resumption
should let go; so it is resumed, or its runs are cancelled, before it is disabled. What is enabled may still catch up,
and is resumed again for another rate."""


class NotSwitched(Exception):
    """The automation is not there, or its state does not allow the change; the message says what does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, by whom and why; `rate` is how many waiting runs a second a resumption lets go on, where it is
    not RELEASE_RATE."""

    switch: Switch
    by: str
    reason: str
    rate: float | None = None


async def switch(settings: Settings, storage: Storage, automation: str, asked: Asked) -> LiveAutomation:
    """Puts the automation (its id) into the state asked for; returns when every living process knows.

    Where it is in that state already nothing changes, and it is published again in case an earlier try was cut short.
    Raises NotSwitched, PlatformUnavailable, PartlyApplied, NotLive.
    """
    live = await _switched(storage, automation, asked)
    await announce(settings, [live])
    return live


async def _switched(storage: Storage, automation: str, asked: Asked) -> LiveAutomation:
    live = await _live(storage, automation)
    if _is_there(live, asked):
        return live
    how = {"reason": asked.reason, "rate": asked.rate}
    rate = asked.rate or (RELEASE_RATE if asked.switch == "resume" else None)
    async with audited(storage, asked.switch, asked.by, {"automation": automation}, how) as done:
        while not _is_there(live, asked):
            changed = await storage.automations.change_state(
                live, RULES[asked.switch].leads_to, asked.reason, asked.by, release_rate=rate
            )
            if changed is not None:
                done.count = 1
                return changed
            live = await _live(storage, automation)  # somebody else has just changed it
    return live


async def _live(storage: Storage, automation: str) -> LiveAutomation:
    live = await storage.automations.live(automation)
    if live is None:
        raise NotSwitched(f"no automation {automation!r}; `headrace automations list` shows all")
    return live


def _is_there(live: LiveAutomation, asked: Asked) -> bool:
    """Whether it is in the state that is asked for; raises NotSwitched where it cannot come there from its own."""
    rule = RULES[asked.switch]
    if live.state == rule.leads_to and asked.rate in (None, live.release_rate):
        return True
    if live.state not in rule.comes_from:
        raise NotSwitched(_refusal(live, asked.switch))
    return False


def _refusal(live: LiveAutomation, asked: Switch) -> str:
    name, state = live.document.id, live.state
    if state == "paused":
        return f"{name} is paused, and runs may wait: `resume` it first, or end them with `headrace runs cancel`"
    possible = [name for name, rule in RULES.items() if state in rule.comes_from]
    return f"{name} is {state}, so it cannot be changed by `{asked}`; what it can be: {', '.join(possible)}"
