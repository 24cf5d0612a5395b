"""Which automations listen to the ends of which others' runs: only these ends are published."""

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.reserved import fired_by_end
from headrace.contracts.validation import explain
from headrace.following import tell_refused
from headrace.matching.index import ANY
from headrace.streams import Record

_Heard = tuple[str, str, str]
"""App, type of trigger, and the automation to whose ends it listens, or ANY."""


class _Part(BaseModel):
    """Part of a LiveAutomation: of whole documents a process that executes would keep thousands for nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Trigger(_Part):
    type: str
    automation: str | None = None


class _Document(_Part):
    app: str
    name: str
    trigger: _Trigger


class _Live(_Part):
    revision: int
    state: str
    document: _Document

    @property
    def heard(self) -> _Heard | None:
        """What it listens to, if to ends and if it is enabled."""
        trigger = self.document.trigger
        if trigger.automation is None or self.state != "enabled":
            return None
        return self.document.app, trigger.type, trigger.automation


class Listeners:
    """Made of the records of the automations topic.

    One thread applies them while another asks: sets are immutable and replaced whole.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Live] = {}
        self._names: dict[_Heard, frozenset[str]] = {}

    def hear(self, app: str, automation: str, status: str) -> bool:
        """Whether an automation listens to such an end; of its own end none is told."""
        names = self._names
        return bool(names) and any(
            names.get((app, type, of), _NOBODY) - {automation}
            for type in fired_by_end(status)
            for of in (automation, ANY)
        )

    def apply(self, record: Record) -> None:
        """Takes up an automation's live version, or its tombstone. One that cannot be read is counted and logged with
        its place, and leaves the version before it: no matcher can use it either."""
        if record.value is None:
            self._forget((record.key or b"").decode(errors="replace"))
            return
        try:
            live = _Live.model_validate_json(record.value)
        except ValidationError as error:
            tell_refused(record, *explain(error, "automation"))
            return
        document = live.document
        id = f"{document.app}/{document.name}"
        known = self._known.get(id)
        if known is not None and known.revision > live.revision:
            return
        self._forget(id)
        self._known[id] = live
        if live.heard is not None:
            self._names[live.heard] = self._names.get(live.heard, _NOBODY) | {document.name}

    def _forget(self, id: str) -> None:
        known = self._known.pop(id, None)
        if known is None or known.heard is None:
            return
        left = self._names[known.heard] - {known.document.name}
        if left:
            self._names[known.heard] = left
        else:
            del self._names[known.heard]


_NOBODY: frozenset[str] = frozenset()
