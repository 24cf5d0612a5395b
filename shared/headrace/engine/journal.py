"""A run's journal: what was written down of it, replayed verbatim, and what is to be written next.

An entry carries the results of all steps since the entry before, so that a resumed run decides nothing anew: reads,
answers, branches taken and failures are what they first were. Entries are keyed by step key, not by position: what was
done at once may be written in any order.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from headrace.contracts.jobs import Job
from headrace.contracts.runs import StepResult
from headrace.engine.entries import PIECE_BYTES, joined, pieces
from headrace.engine.errors import PlatformUnavailable
from headrace.engine.ports import Claim, RunHeads
from headrace.engine.publications import Publication
from headrace.engine.rows import OutcomeT, RowEffect, RowEntry, RowRefused
from headrace.engine.verbatim import dumps, loads


@dataclass(frozen=True, slots=True)
class Noted:
    """What the journal says of a step. `result` None: its call had been announced, and nothing more is known of it, or,
    if `is_withdrawn`, that it had done nothing and was to be made again.

    `decision` is what a step with steps inside decided (the way of a branch; the items of a loop and the limit to their
    number), if `is_decided`. `publications` are those not emitted yet.
    """

    result: StepResult | None = None
    decision: object = None
    is_decided: bool = False
    is_withdrawn: bool = False
    cut_off_by: str | None = None
    publications: Sequence[Publication] = field(default_factory=tuple[Publication, ...])


class Journal:
    """One segment's journal, under one claim. `entries` are those written so far, in their order.

    What was written before the generation `restart` is of a life that the run has left. `unsent` are the segments whose
    publications are to go out with this one's.

    Entries are numbered, so one is written at a time; what comes meanwhile goes together with the next. After a write
    that failed, and may have been done nevertheless, nothing is written any more: every later one raises the same.
    """

    def __init__(
        self,
        heads: RunHeads,
        claim: Claim,
        entries: Sequence[bytes],
        *,
        restart: int = 0,
        unsent: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._heads = heads
        self._claim = claim
        self._written = len(entries)
        self._known: dict[str, Noted] = {}
        self._last_tries: dict[str, StepResult] = {}
        self._pending: list[dict[str, object]] = []
        self._writing = asyncio.Lock()
        self._holds_answers = False
        self._failure: Exception | None = None
        self._rows_written: set[str] = set()
        self._started_at: datetime | None = None
        self._takers: dict[tuple[str, str], str] = {}
        """The keys of the steps that events, by source and id, have answered."""
        self._first_job_time: datetime | None = None
        self.job: Job | None = None
        """The job of the segment in which the run last left its worker."""
        self._parked = False
        self.has_ended = False
        """Whether a strand has ended the whole run: those beside it begin no further step."""
        self._restart = restart
        self._publishing = {(claim.generation, claim.segment), *unsent}
        for entry in joined(entries):
            self._read(entry)
        self.is_resumed = self._written > 0
        """Whether anything was written down before."""

    def started_at(self, now: datetime) -> datetime:
        """When the run was first started, as far as anything was written down since; else `now`, which is it then."""
        if self._started_at is None:
            self._started_at = now
        return self._started_at

    def recall(self, key: str) -> Noted | None:
        """What is written of the step with this key."""
        return self._known.get(key)

    def last_try(self, key: str) -> StepResult | None:
        """How the step with this key failed when it was done last, if it is to be done again."""
        return self._last_tries.get(key)

    def note(
        self,
        key: str,
        result: StepResult,
        publications: Sequence[Publication] = (),
        cut_off_by: str | None = None,
        *,
        is_answer: bool = False,
    ) -> None:
        """The step is done; it goes with the next entry, unless it went with its row.

        `cut_off_by` names the step whose time was up, "" the run: then nothing after it is done. `is_answer`: the step
        done again could give something else.
        """
        if key in self._rows_written:
            return
        item: dict[str, object] = {"key": key, "result": result}
        if cut_off_by is not None:
            item["cut_off_by"] = cut_off_by
        if publications:
            item["publications"] = [_packed(each) for each in publications]
        self._pending.append(item)
        self._holds_answers = self._holds_answers or is_answer

    def note_decision(self, key: str, decision: object, publications: Sequence[Publication] = ()) -> None:
        """The step with this key decided so, and published this; it goes with the next entry."""
        item: dict[str, object] = {"key": key, "decision": decision}
        if publications:
            item["publications"] = [_packed(each) for each in publications]
        self._pending.append(item)

    def note_taken(self, key: str, event: tuple[str, str]) -> None:
        """The event, by source and id, answers the step with this key; it goes with the next entry."""
        self._takers[event] = key
        self._pending.append({"key": key, "took": event})
        self._holds_answers = True

    def taker_of(self, event: tuple[str, str]) -> str | None:
        """The key of the step that an event has answered."""
        return self._takers.get(event)

    def first_job_time(self, now: datetime) -> datetime:
        """The time of the record of the run's first job; else `now`, which is it then."""
        if self._first_job_time is None:
            self._first_job_time = now
        return self._first_job_time

    def note_again(self, key: str) -> None:
        """The step with this key is to be done again when the run is resumed; it goes with the next entry.

        What a step with steps inside decided stays decided: what is done of them is done for that.
        """
        self._pending.append({"key": key, "again": True})

    def note_end(self) -> None:
        """A strand has ended the whole run; it goes with the next entry."""
        self.has_ended = True
        self._pending.append({"key": "", "end": True})

    def note_job(self, job: Job, *, parks: bool) -> None:
        """What whoever resumes the run goes on with, and whether the run parks: it goes with the next entry."""
        self.job, self._parked = job, parks
        self._pending.append({"key": "", "job": job.model_dump(exclude_defaults=True), "parks": parks})

    def has_parked_before(self, job: Job) -> bool:
        """Whether the segment right before the job's ended by parking: all that waits has asked for its event then."""
        before = self.job
        is_next = before is not None and (before.generation, before.segment + 1) == (job.generation, job.segment)
        return is_next and self._parked

    async def announce(self, key: str) -> None:
        """A call of which a resumed run must know comes next; raises OwnershipLost, PlatformUnavailable."""
        self._pending.append({"key": key})
        await self.write()

    async def withdraw(self, key: str) -> None:
        """The call that was announced last has done nothing, and is to be made again, also when the run is resumed.
        Raises OwnershipLost, PlatformUnavailable."""
        self._pending.append({"key": key, "withdrawn": True})
        await self.write()

    async def write(self) -> None:
        """Writes what is pending, if anything is; raises OwnershipLost, PlatformUnavailable."""
        async with self._writing:
            await self._write_pending()

    async def write_answers(self) -> None:
        """Writes what is pending if answers are among it; raises OwnershipLost, PlatformUnavailable.

        To be called before a call that is made again when its fate is unknown: what led to it must then be the same.
        """
        if self._holds_answers or self._writing.locked():
            await self.write()

    async def _write_pending(self) -> None:
        with self._nothing_after_a_failure():
            taken = self._take()
            for piece in pieces(self._entry(taken)) if taken else ():
                await self._heads.append(self._claim, self._written, piece)
                self._written += 1

    def _take(self) -> list[dict[str, object]]:
        taken, self._pending, self._holds_answers = self._pending, [], False
        return taken

    async def write_with_row(
        self,
        key: str,
        result: StepResult,
        effect: RowEffect[OutcomeT],
        outputs_of: Callable[[OutcomeT], dict[str, object]],
    ) -> dict[str, object]:
        """Writes what is pending and the result of the step that does `effect`, together with the effect.

        Answers the outputs that are written. Raises OwnershipLost, PlatformUnavailable, RowConflict, RowMissing and
        RowRefused; then nothing is written.
        """

        def ending(outcome: OutcomeT) -> bytes:
            return dumps({"key": key, "result": {**result, "outputs": outputs_of(outcome)}}) + b"]}"

        async with self._writing:
            taken = self._take()
            beginning = self._entry(taken)[:-2]
            if len(beginning) > PIECE_BYTES:
                self._pending = [*taken, *self._pending]
                await self._write_pending()
                taken, beginning = [], self._entry([])[:-2]
            entry = RowEntry(beginning + b"," if taken else beginning, ending)
            with self._nothing_after_a_failure():
                try:
                    outcome = await self._heads.append_with_row(self._claim, self._written, entry, effect)
                except RowRefused:
                    self._pending = [*taken, *self._pending]
                    self._holds_answers = True
                    raise
            self._rows_written.add(key)
            self._written += 1
        return outputs_of(outcome)

    @contextmanager
    def _nothing_after_a_failure(self) -> Generator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except RowRefused:
            raise
        except Exception as error:
            self._failure = error
            raise
        except BaseException:
            self._failure = PlatformUnavailable("a journal entry's write was cut off")
            raise

    def _entry(self, items: Sequence[Mapping[str, object]]) -> bytes:
        where = {"segment": self._claim.segment, "generation": self._claim.generation}
        times = {"started_at": self._started_at, "first_job_time": self._first_job_time}
        # Each item by itself: what cannot be written as it is must not change its neighbours.
        written = b",".join([dumps(item) for item in items])
        return b'%b,"items":[%b]}' % (dumps({**where, **times})[:-1], written)

    def _read(self, encoded: bytes) -> None:
        entry = cast("dict[str, object]", loads(encoded))
        if cast(int, entry["generation"]) < self._restart:
            return
        if self._started_at is None:
            self._started_at = cast("datetime | None", entry.get("started_at"))
            self._first_job_time = cast("datetime | None", entry.get("first_job_time"))
        # What an earlier segment published went out with its end, if it had one.
        is_unsent = (entry["generation"], entry["segment"]) in self._publishing
        for item in cast("list[dict[str, object]]", entry["items"]):
            key = str(item["key"])
            before = self._known.get(key, Noted())
            if "job" in item:
                self.job = Job.model_validate(item["job"])
                self._parked = bool(item["parks"])
                continue
            if "took" in item:
                source, id = cast("Sequence[str]", item["took"])
                # A redriven run takes its events anew.
                if entry["generation"] == self._claim.generation:
                    self._takers[source, id] = key
                continue
            if "end" in item:
                self.has_ended = True
                continue
            if "again" in item:
                self._known.pop(key, None)
                if before.result is not None:
                    self._last_tries[key] = before.result
                if before.is_decided:
                    self._known[key] = Noted(decision=before.decision, is_decided=True)
                continue
            packed = cast("list[dict[str, object]]", item.get("publications", [])) if is_unsent else []
            # A step with steps inside has two: what it decided, and how it failed as a whole.
            self._known[key] = Noted(
                result=cast("StepResult | None", item.get("result")),
                decision=item.get("decision", before.decision),
                is_decided=before.is_decided or "decision" in item,
                is_withdrawn="withdrawn" in item,
                cut_off_by=cast("str | None", item.get("cut_off_by")),
                publications=tuple(_unpacked(each) for each in packed),
            )


def _packed(each: Publication) -> dict[str, object]:
    return {"topic": each.topic, "key": each.key, "value": each.value, "headers": each.headers}


def _unpacked(packed: Mapping[str, object]) -> Publication:
    headers = [(str(name), bytes(value)) for name, value in cast("list[tuple[str, bytes]]", packed["headers"])]
    return Publication(str(packed["topic"]), cast("bytes | None", packed["key"]), cast(bytes, packed["value"]), headers)
