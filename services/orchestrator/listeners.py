"""Which automations listen to the ends of which others' runs: only these ends are published."""

from headrace.contracts.automation import TAKES_EVENTS
from headrace.contracts.reserved import fired_by_end
from headrace.matching.index import ANY
from services.orchestrator.live import Live

_Heard = tuple[str, str, str]
"""App, type of trigger, and the automation to whose ends it listens, or ANY."""


class Listeners:
    """Made of the live automations (`LiveAutomations`).

    One thread changes them while another asks: sets are immutable and replaced whole.
    """

    def __init__(self) -> None:
        self._names: dict[_Heard, frozenset[str]] = {}

    def hear(self, app: str, automation: str, status: str) -> bool:
        """Whether an automation listens to such an end; of its own end none is told."""
        names = self._names
        return bool(names) and any(
            names.get((app, type, of), _NOBODY) - {automation}
            for type in fired_by_end(status)
            for of in (automation, ANY)
        )

    def heed(self, id: str, before: Live | None, live: Live | None) -> None:
        """Takes up a change of the automation `id`."""
        heard = None if before is None else _heard(before)
        if before is not None and heard is not None:
            left = self._names[heard] - {before.document.name}
            if left:
                self._names[heard] = left
            else:
                del self._names[heard]
        heard = None if live is None else _heard(live)
        if live is not None and heard is not None:
            self._names[heard] = self._names.get(heard, _NOBODY) | {live.document.name}


def _heard(live: Live) -> _Heard | None:
    """What it listens to, if to ends and if it is enabled."""
    trigger = live.document.trigger
    if trigger.automation is None or live.state not in TAKES_EVENTS:
        return None
    return live.document.app, trigger.type, trigger.automation


_NOBODY: frozenset[str] = frozenset()
