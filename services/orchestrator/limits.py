"""How many runs of a key may be under way at a time: the limits of the live versions, for runs of all versions."""

from headrace.contracts.automation import Rate
from headrace.streams import Record
from services.orchestrator.live import Live

UNLIMITED = 1 << 30
"""For runs that only a rate holds back: they need not follow each other."""


class Limits:
    """Made of the live automations (`LiveAutomations`); the thread that reads their topic changes it, the loop's asks.

    All jobs of a key are in one partition, so that counting them where they run is enough.
    """

    def __init__(self) -> None:
        self._widths: dict[bytes, int] = {}
        self.rates: dict[str, Rate] = {}
        """By id of the automation."""

    def width(self, record: Record) -> int:
        """How many records of this one's key may be handled at a time; one where its automation says nothing."""
        if not self._widths or record.key is None:
            return 1
        app, _, rest = record.key.partition(b"/")
        return self._widths.get(app + b"/" + rest.partition(b"/")[0], 1)

    def heed(self, id: str, before: Live | None, live: Live | None) -> None:
        """Takes up a change of the automation `id`. What is disabled may still have runs under way."""
        document = None if live is None else live.document
        rate = None if document is None else document.rate
        if rate is None:
            self.rates.pop(id, None)
        else:
            self.rates[id] = rate
        if document is not None and document.concurrency is not None:
            self._widths[id.encode()] = document.concurrency.limit
        elif rate is not None and document is not None and document.ordering_key is None:
            self._widths[id.encode()] = UNLIMITED
        else:
            self._widths.pop(id.encode(), None)
