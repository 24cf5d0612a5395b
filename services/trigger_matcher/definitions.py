"""Keeps the index of automations in step with the compacted topic."""

from prometheus_client import Gauge
from pydantic import ValidationError

from headrace.contracts.automation import LiveAutomation
from headrace.contracts.validation import explain
from headrace.following import tell_refused
from headrace.language import LanguageError
from headrace.matching import Index, compile_definition
from headrace.streams import Record

LIVE = Gauge("headrace_automations", "Automations known to this matcher")


class Definitions:
    """Applies records of the automations topic to an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def apply(self, record: Record) -> None:
        """Puts, replaces or removes an automation. One that cannot be read or compiled is counted, logged with its
        place, and leaves the version before it live."""
        if record.value is None:
            self._index.remove((record.key or b"").decode(errors="replace"))
        else:
            try:
                self._index.put(compile_definition(LiveAutomation.model_validate_json(record.value)))
            except Exception as error:  # noqa: BLE001 - one automation must not stop the reading of all others
                tell_refused(record, *_reason(error))
        LIVE.set(len(self._index))


def _reason(error: Exception) -> tuple[str, str]:
    """(type, message) without any value of the record: it may hold an author's secrets."""
    if isinstance(error, ValidationError):
        return explain(error, "automation")
    if isinstance(error, LanguageError):
        return "bad_template", f"{error.path}: this matcher cannot compile it"
    return "internal_error", f"a bug in the service: {error.__class__.__name__}"
