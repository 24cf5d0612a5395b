"""A record of a topic that others write to the jobs it triggers."""

from collections.abc import Sequence

import structlog
from prometheus_client import Counter

from headrace.contracts.cloudevents import Location
from headrace.contracts.errors import ContractError
from headrace.matching import Index, Match, MatchError, match_event, match_row
from headrace.service import DeadLetterWriter
from headrace.settings import Settings
from headrace.sources import Decoded, Passed, Sources
from headrace.streams import Outgoing, Record
from services.trigger_matcher.apps import AppRates
from services.trigger_matcher.jobs import JobWriter

RECORDS = Counter("headrace_source_records_total", "Records of topics that others write, by what they are", ["kind"])


class ForeignMatcher:
    """The handler of the stream of sources. Raises Unavailable while a schema registry is away."""

    def __init__(
        self, index: Index, settings: Settings, sources: Sources, dead_letter: DeadLetterWriter, apps: AppRates
    ) -> None:
        self._index = index
        self._sources = sources
        self._jobs = JobWriter(settings, dead_letter, apps)

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """For each record its jobs, or the dead letter that says why it has none."""
        return self._jobs.batch(records, self._match)

    def _match(self, record: Record) -> list[Outgoing]:
        try:
            read = self._sources.read(record)
            if isinstance(read, Passed):
                self._pass(record, read)
                return []
            RECORDS.labels("event" if read.change is None else "row").inc()
            made = self._jobs.outgoing(record, read.event, self._find(record, read))
            if read.change is None and read.key and self._index.is_awaited(read.event.app, read.event.type):
                made.append(self._jobs.arrival_of(read.event, read.key, read.data))
        except ContractError as error:
            RECORDS.labels("refused").inc()
            return [self._jobs.dead_letter(record, error.type, error.message)]
        return made

    def _find(self, record: Record, read: Decoded) -> list[Match | MatchError]:
        place = Location(record.topic, record.partition, record.offset)
        if read.change is None:
            return match_event(self._index, read.event, read.data, read.key, place)
        return match_row(self._index, read.event, read.change, read.row_id, read.key, place, read.changed)

    def _pass(self, record: Record, read: Passed) -> None:
        RECORDS.labels(read.kind).inc()
        if read.kind == "truncate":
            # Of the rows that are gone nobody is told which they were.
            structlog.get_logger().warning(
                "a table was truncated", topic=record.topic, partition=record.partition, offset=record.offset
            )
