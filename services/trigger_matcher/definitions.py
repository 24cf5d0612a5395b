"""Keeps the index of automations in step with the compacted topic."""

import structlog
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from headrace.contracts.automation import LiveAutomation
from headrace.language import LanguageError
from headrace.matching import Index, compile_definition
from headrace.streams import Record

LIVE = Gauge("headrace_automations", "Automations known to this matcher")
REFUSED = Counter("headrace_automations_refused_total", "Records of the automations topic that could not be used")


class Definitions:
    """Applies records of the automations topic to an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def apply(self, record: Record) -> None:
        """Puts, replaces or removes an automation. One that cannot be read or compiled is counted and leaves the
        version before it live: it was valid when it was saved, so this process is older than it."""
        automation_id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._index.remove(automation_id)
        else:
            try:
                self._index.put(compile_definition(LiveAutomation.model_validate_json(record.value)))
            except (ValidationError, LanguageError) as error:
                REFUSED.inc()
                structlog.get_logger().error(
                    "automation refused", automation=automation_id, reason=str(error)[:500], offset=record.offset
                )
        LIVE.set(len(self._index))
