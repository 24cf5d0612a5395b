"""Who owns a run: the decision, case by case, and then under any interleaving of what workers do."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from headrace.contracts.cloudevents import Location
from headrace.engine.ports import Claim, Standing
from headrace.storage.ownership import Head, entry_id, judge, new_head, owned_by, read_head

pytestmark = pytest.mark.unit

SOURCE = Location("events", 1, 10)
OTHER_SOURCE = Location("events", 1, 11)
JOB = Location("jobs", 0, 5)
OTHER_JOB = Location("jobs", 0, 6)
HEAD = Head(SOURCE, JOB, generation=1, segment=2, owner="a")

CASES: list[tuple[str, Location, Location, int, int, Standing]] = [
    ("the same job record is a redelivery", SOURCE, JOB, 1, 2, "taken_over"),
    ("a second copy of the job at work is stale", SOURCE, OTHER_JOB, 1, 2, "stale"),
    ("an earlier segment is stale", SOURCE, OTHER_JOB, 1, 1, "stale"),
    ("an earlier segment is stale from the same record too", SOURCE, JOB, 1, 1, "stale"),
    ("an earlier generation is stale, whatever its segment", SOURCE, OTHER_JOB, 0, 9, "stale"),
    ("a later segment advances", SOURCE, OTHER_JOB, 1, 3, "advanced"),
    ("a later generation advances, whatever its segment", SOURCE, OTHER_JOB, 2, 0, "advanced"),
    ("another source record is a duplicate", OTHER_SOURCE, OTHER_JOB, 1, 2, "duplicate"),
    ("another source record is a duplicate in the same job record too", OTHER_SOURCE, JOB, 1, 2, "duplicate"),
    ("another source record is a duplicate at an earlier segment", OTHER_SOURCE, OTHER_JOB, 1, 0, "duplicate"),
    ("another source record is a duplicate at a later segment", OTHER_SOURCE, OTHER_JOB, 1, 3, "duplicate"),
    ("another source record is a duplicate below the head's generation", OTHER_SOURCE, OTHER_JOB, 0, 0, "duplicate"),
    ("another source record is a duplicate above the head's generation", OTHER_SOURCE, OTHER_JOB, 2, 0, "duplicate"),
    ("the offset alone tells records apart", SOURCE._replace(offset=9), JOB, 1, 2, "duplicate"),
    ("the partition alone tells records apart", SOURCE._replace(partition=0), JOB, 1, 2, "duplicate"),
    ("the topic alone tells records apart", SOURCE, JOB._replace(topic="jobs.low"), 1, 2, "stale"),
]


@pytest.mark.parametrize(
    ("source", "job", "generation", "segment", "standing"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_claim_is_judged_by(
    source: Location, job: Location, generation: int, segment: int, standing: Standing
) -> None:
    assert judge(HEAD, Claim("run", source, job, generation, segment, "b")) == standing


def test_a_run_that_nobody_has_claimed_is_new() -> None:
    assert judge(None, Claim("run", SOURCE, JOB, 3, 4, "b")) == "new"


locations = st.builds(Location, st.sampled_from(["x", "y"]), st.integers(0, 1), st.integers(0, 1))
numbers = st.integers(0, 2)
claims = st.builds(Claim, st.just("run"), locations, locations, numbers, numbers, st.sampled_from("abc"))
heads = st.builds(Head, locations, locations, numbers, numbers, st.sampled_from("abc"))


@given(heads, claims)
def test_who_signs_and_what_is_written_decide_nothing(head: Head, claim: Claim) -> None:
    busy = Head(head.source, head.job, head.generation, head.segment, claim.owner, entries=7, expiring=True)
    assert judge(busy, claim) == judge(head, claim)


@given(st.none() | heads, claims)
def test_what_owns_never_lowers_a_head_and_never_changes_its_source(head: Head | None, claim: Claim) -> None:
    if judge(head, claim) in ("taken_over", "advanced"):
        assert head is not None
        assert claim.source == head.source
        assert (claim.generation, claim.segment) >= (head.generation, head.segment)


@given(st.none() | heads, claims)
def test_a_claim_made_again_once_it_stood_is_a_redelivery(head: Head | None, claim: Claim) -> None:
    if judge(head, claim) in ("new", "taken_over", "advanced"):
        assert judge(read_head(new_head(claim)), claim) == "taken_over"


@given(claims, claims)
def test_a_head_is_stored_and_read_back_whole(first: Claim, second: Claim) -> None:
    stored = new_head(first)
    assert read_head(stored) == Head(first.source, first.job, first.generation, first.segment, first.owner)
    stored |= owned_by(second)
    assert read_head(stored) == Head(first.source, second.job, second.generation, second.segment, second.owner)


@given(st.integers(0, 99_999_999), st.integers(0, 99_999_999))
def test_entries_sort_as_their_numbers(first: int, second: int) -> None:
    assert (entry_id("run", first) < entry_id("run", second)) == (first < second)


@dataclass(frozen=True)
class Job:
    """A record in the jobs topic."""

    source: Location
    location: Location
    generation: int
    segment: int


@dataclass
class Worker:
    """Somebody who has read a job record: what they saw of the head, whether they own, whether they are fenced."""

    job: Job
    claim: Claim
    seen: Head | None = None
    standing: Standing | None = None
    written: list[str] = field(default_factory=list)


class OneRun(RuleBasedStateMachine):
    """One run, many workers; every rule is one step that the store makes as a whole.

    A worker reads the head, compares and sets, appends, and ends by emitting jobs and committing its record, as one
    Kafka transaction. Between any two steps anything else may happen: a redelivery of a record that is not committed, a
    second copy of a job, a duplicate of the event, a redrive. Kafka fences a worker whose record went to another one;
    the store must not need that, so every worker here goes on for as long as it likes.
    """

    jobs = Bundle("jobs")
    readers = Bundle("readers")
    owners = Bundle("owners")

    def __init__(self) -> None:
        super().__init__()
        self.head: Head | None = None
        self.journal: list[str] = []
        self.workers: list[Worker] = []
        self.committed: set[Job] = set()
        self.offset = 0
        self.highest = (0, 0)
        self.generation = 0

    def record(self, source: Location, generation: int, segment: int) -> Job:
        self.offset += 1
        return Job(source, Location("jobs", self.offset % 2, self.offset), generation, segment)

    @initialize(target=jobs)
    def the_event_arrives(self) -> Job:
        return self.record(SOURCE, 0, 0)

    @rule(target=jobs)
    def the_event_arrives_again(self) -> Job:
        return self.record(OTHER_SOURCE, 0, 0)

    @rule(target=jobs, job=jobs)
    def a_job_is_emitted_twice(self, job: Job) -> Job:
        return self.record(job.source, job.generation, job.segment)

    @rule(target=jobs, job=jobs)
    def a_run_is_redriven(self, job: Job) -> Job:
        self.generation += 1
        return self.record(job.source, self.generation, 0)

    @rule(target=readers, job=jobs)
    def a_job_is_delivered(self, job: Job) -> Worker:
        """For the first time, or again: whoever reads an uncommitted record makes a claim of its own."""
        if job in self.committed:
            return multiple()  # type: ignore[return-value]
        claim = Claim("run", job.source, job.location, job.generation, job.segment, f"owner-{len(self.workers)}")
        worker = Worker(job, claim, seen=self.head)
        self.workers.append(worker)
        return worker

    @rule(target=owners, worker=consumes(readers))
    def a_worker_compares_and_sets(self, worker: Worker) -> Worker:
        """Judged again, if the head changed since it was read."""
        if worker.seen is None:
            seen = self.head  # an insert that finds an id is followed by a read
        else:
            same = self.head is not None and _identity(self.head) == _identity(worker.seen)
            seen = worker.seen if same else self.head
        worker.standing = judge(seen, worker.claim)
        redelivery = self.head is not None and self.head.job == worker.job.location
        if redelivery and self.head is not None and _place(self.head) == _place(worker.claim):
            assert worker.standing == "taken_over", "a redelivery was dropped"
        if worker.standing in ("duplicate", "stale"):
            self.committed.add(worker.job)
            return multiple()  # type: ignore[return-value]
        claim = worker.claim
        entries = len(self.journal)
        source = claim.source if self.head is None else self.head.source
        self.head = Head(source, claim.job, claim.generation, claim.segment, claim.owner, entries)
        return worker

    @rule(worker=owners)
    def a_worker_appends(self, worker: Worker) -> None:
        assert self.head is not None
        if self.head.owner == worker.claim.owner:
            self.journal.append(worker.claim.owner)

    @rule(target=jobs, worker=owners)
    def a_worker_ends_its_segment(self, worker: Worker) -> Job:
        """The next job and the commit are one Kafka transaction, which only one reader of a record can make."""
        if worker.job in self.committed:
            return multiple()  # type: ignore[return-value]
        self.committed.add(worker.job)
        return self.record(worker.job.source, worker.job.generation, worker.job.segment + 1)

    @invariant()
    def at_most_one_worker_can_append(self) -> None:
        able = [w for w in self.workers if self.head is not None and w.claim.owner == self.head.owner]
        assert len(able) <= 1
        assert all(worker.standing in ("new", "advanced", "taken_over") for worker in able)

    @invariant()
    def generation_and_segment_never_fall(self) -> None:
        if self.head is not None:
            assert _place(self.head) >= self.highest
            self.highest = _place(self.head)

    @invariant()
    def a_duplicate_never_owns(self) -> None:
        if self.head is not None:
            owner = next(worker for worker in self.workers if worker.claim.owner == self.head.owner)
            assert owner.job.source == self.head.source
            assert all(
                w.standing == "duplicate" for w in self.workers if w.standing and w.job.source != self.head.source
            )

    @invariant()
    def entries_of_owners_never_mix(self) -> None:
        """Once an owner has been followed by another, it writes nothing any more."""
        turns = [owner for n, owner in enumerate(self.journal) if n == 0 or self.journal[n - 1] != owner]
        assert len(turns) == len(set(turns))

    @invariant()
    def the_run_is_never_lost(self) -> None:
        """What was dropped as stale leaves somebody who can go on: the head's job, or what its end emitted."""
        dropped = [w for w in self.workers if w.standing == "stale"]
        if dropped:
            assert self.head is not None
            assert all(_place(self.head) >= _place(worker.claim) for worker in dropped)
            assert all(self.head.job != w.claim.job for w in dropped if _place(w.claim) == _place(self.head))


def _place(of: Head | Claim) -> tuple[int, int]:
    return of.generation, of.segment


def _identity(head: Head) -> tuple[str, int, int]:
    """What a compare-and-set compares."""
    return head.owner, head.generation, head.segment


OneRun.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestOneRunUnderAnyInterleaving = OneRun.TestCase
