"""Keeps the index of automations in step with the compacted topic."""

import structlog
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from headrace.contracts.automation import LiveAutomation
from headrace.contracts.validation import explain
from headrace.language import LanguageError
from headrace.matching import Index, compile_definition
from headrace.streams import Record

LIVE = Gauge("headrace_automations", "Automations known to this matcher")
REFUSED = Counter("headrace_automations_refused_total", "Records of the automations topic that could not be used")

_MAX_SHOWN = 500
"""Characters of a log line's parts: names in the record have whatever length it gave them."""


class Definitions:
    """Applies records of the automations topic to an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def apply(self, record: Record) -> None:
        """Puts, replaces or removes an automation. One that cannot be read or compiled is counted, logged with its
        place, and leaves the version before it live. It has no dead letter: reading a compacted topic commits nothing
        that a letter could be part of, and every start of every matcher would write it again."""
        automation_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._index.remove(automation_id)
        else:
            try:
                self._index.put(compile_definition(LiveAutomation.model_validate_json(record.value)))
            except Exception as error:  # noqa: BLE001 - one automation must not stop the reading of all others
                self._refused(record, automation_id, *_reason(error))
        LIVE.set(len(self._index))

    def _refused(self, record: Record, automation_id: str, type: str, message: str) -> None:
        REFUSED.inc()
        structlog.get_logger().error(
            "automation refused",
            automation=automation_id[:_MAX_SHOWN],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            type=type,
            reason=message[:_MAX_SHOWN],
        )


def _reason(error: Exception) -> tuple[str, str]:
    """(type, message) without any value of the record: it may hold an author's secrets."""
    if isinstance(error, ValidationError):
        return explain(error, "automation")
    if isinstance(error, LanguageError):
        return "bad_template", f"{error.path}: this matcher cannot compile it"
    return "internal_error", f"a bug in the service: {error.__class__.__name__}"
