"""A batch of run records to MongoDB."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prometheus_client import Counter

from headrace.contracts.errors import ContractError
from headrace.contracts.runs import FINAL_STATUSES, RunRecord, read_run
from headrace.service import DeadLetterWriter, Loop
from headrace.storage import Applied, Storage
from headrace.streams import Outgoing, Record

RECORDED = Counter("headrace_run_records_total", "Run records by what became of them", ["outcome"])


class RunWriter:
    """A handler for run records. Writing the same ones again changes nothing, so a batch may be handled again.

    `heads_kept` is how long an ended run may still come back.
    """

    def __init__(self, loop: Loop, storage: Storage, dead_letter: DeadLetterWriter, heads_kept: timedelta) -> None:
        self._loop = loop
        self._runs = storage.runs
        self._heads = storage.heads
        self._dead_letter = dead_letter
        self._heads_kept = heads_kept

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
        applied = self._loop.run(self._write(found))
        for index, reason in applied.refused:
            record, run = records[readable[index]], found[index]
            outputs[readable[index]] = [
                self._dead_letter.of_automation(record, "not_storable", reason, run["app"], run["automation"])
            ]
        for outcome in ("new", "replaced", "collapsed"):
            RECORDED.labels(outcome).inc(getattr(applied, outcome))
        return outputs

    async def _write(self, records: Sequence[RunRecord]) -> Applied:
        now = datetime.now(UTC)
        applied = await self._runs.apply(records, now)
        ended: dict[str, int] = {}
        for each in records:
            if each.get("owned") and each["status"] in FINAL_STATUSES:
                # Told again, an earlier end may stand behind a later one.
                ended[each["run_id"]] = max(each["generation"], ended.get(each["run_id"], 0))
        if ended:
            await self._heads.expire(ended, now + self._heads_kept)
        return applied
