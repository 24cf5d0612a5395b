"""A batch of run records to MongoDB."""

from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import Counter

from headrace.contracts.errors import ContractError
from headrace.contracts.runs import RunRecord, read_run
from headrace.service import DeadLetterWriter, Loop
from headrace.storage import RunStore
from headrace.streams import Outgoing, Record

RECORDED = Counter("headrace_run_records_total", "Run records by what became of them", ["outcome"])


class RunWriter:
    """The runtime's handler. Writing the same records again changes nothing, so a batch may be handled again."""

    def __init__(self, loop: Loop, runs: RunStore, dead_letter: DeadLetterWriter) -> None:
        self._loop = loop
        self._runs = runs
        self._dead_letter = dead_letter

    def __call__(self, records: Sequence[Record]) -> list[list[Outgoing]]:
        """Nothing for each record that is written, or the dead letter that says why it is not. Raises Unavailable."""
        outputs: list[list[Outgoing]] = [[] for _ in records]
        readable: list[int] = []
        found: list[RunRecord] = []
        for index, record in enumerate(records):
            try:
                found.append(read_run(record.value))
            except ContractError as error:
                outputs[index] = [self._dead_letter(record, error.type, error.message)]
            else:
                readable.append(index)
        applied = self._loop.run(self._runs.apply(found, datetime.now(UTC)))
        for index, reason in applied.refused:
            record = records[readable[index]]
            outputs[readable[index]] = [self._dead_letter(record, "not_storable", reason)]
        for outcome in ("new", "replaced", "collapsed"):
            RECORDED.labels(outcome).inc(getattr(applied, outcome))
        return outputs
