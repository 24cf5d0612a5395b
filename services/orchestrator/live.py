"""What the orchestrator keeps of the live automations, from the records of their topic."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.automation import Concurrency, Rate
from headrace.contracts.validation import explain
from headrace.following import tell_refused
from headrace.streams import Record


class _Part(BaseModel):
    """Part of a LiveAutomation: of whole documents a process that executes would keep thousands for nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Trigger(_Part):
    type: str
    automation: str | None = None


class LiveDocument(_Part):
    """What of a document matters beyond its runs."""

    app: str
    name: str
    trigger: _Trigger
    ordering_key: str | None = None
    concurrency: Concurrency | None = None
    rate: Rate | None = None


class Live(_Part):
    """An automation's live version."""

    revision: int
    state: str
    reason: str = ""
    by: str = ""
    document: LiveDocument


Heed = Callable[[str, Live | None, Live | None], None]
"""Told of an automation's id, what was live before and what is now; in the thread that reads the topic."""


class LiveAutomations:
    """The newest revision of each automation; each of `heeds` is told of every change, one after the other."""

    def __init__(self, *heeds: Heed) -> None:
        self._known: dict[str, Live] = {}
        self._heeds = heeds

    def apply(self, record: Record) -> None:
        """Takes up an automation's live version, or its tombstone. One that cannot be read is counted and logged with
        its place, and leaves the version before it: no matcher can use it either."""
        if record.value is None:
            self._put((record.key or b"").decode(errors="replace"), None)
            return
        try:
            live = Live.model_validate_json(record.value)
        except ValidationError as error:
            tell_refused(record, *explain(error, "automation"))
            return
        id = f"{live.document.app}/{live.document.name}"
        known = self._known.get(id)
        if known is None or known.revision <= live.revision:
            self._put(id, live)

    def _put(self, id: str, live: Live | None) -> None:
        known = self._known.pop(id, None)
        if live is not None:
            self._known[id] = live
        for heed in self._heeds:
            heed(id, known, live)
