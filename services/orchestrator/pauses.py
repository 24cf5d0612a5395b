"""Which automations are paused: their jobs wait until they no longer are."""

from services.orchestrator.live import Live


class Pauses:
    """Made of the live automations (`LiveAutomations`).

    The thread that reads their topic changes it, the loop's asks.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def reason(self, app: str, automation: str) -> str | None:
        """Why the automation is paused; None where it is not."""
        return self._reasons.get(f"{app}/{automation}")

    def heed(self, id: str, before: Live | None, live: Live | None) -> None:
        """Takes up a change of the automation `id`."""
        if live is None or live.state != "paused":
            self._reasons.pop(id, None)
        else:
            self._reasons[id] = f"paused by {live.by}: {live.reason}"
