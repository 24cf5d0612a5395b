"""Which runs an automation's cancel ends: those whose first job was written before it, whatever they have become."""

from datetime import UTC, datetime, timedelta

import pytest

from headrace.contracts.control import Cancel, write_cancel
from headrace.contracts.jobs import Cause, Job, Retried, dated, next_attempt, next_segment, read_job, redriven
from headrace.service import Loop
from headrace.streams import Record
from services.orchestrator.cancellations import Cancellations

pytestmark = pytest.mark.unit

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CAUSE = Cause(id="e", source="s", type="t", topic="events", partition=0, offset=0, time=AT)
JOB = Job(
    format=1,
    run_id="r",
    app="shop",
    automation="pay",
    version=1,
    generation=0,
    segment=0,
    attempt=1,
    key="k",
    priority="normal",
    trigger={},
    cause=CAUSE,
)
RETRIED = Retried(attempt=1, step="s", error_type="x", message="", failed_at=AT, due=AT)


@pytest.fixture
def cancellations() -> Cancellations:
    """All that the automation had at AT is to end."""
    made = Cancellations(Loop())
    asked = Cancel(app="shop", automation="pay", at=AT, by="ann", reason="wrong")
    made.apply(Record("control", 0, 0, 0, asked.record_key, write_cancel(asked), ()))
    return made


def successors(written: datetime) -> list[Job]:
    """What may follow in the same generation from a first job that was written then."""
    first = dated(JOB, written)
    tried = read_job(next_attempt(first, RETRIED))
    return [read_job(next_segment(first)), tried, read_job(next_segment(dated(tried, AT + 9 * SECOND)))]


def test_a_run_that_began_before_the_cancel_ends_whenever_it_goes_on(cancellations: Cancellations) -> None:
    assert cancellations.of(JOB, AT) is not None
    for job in successors(AT):
        assert cancellations.of(job, AT + 60 * SECOND) is not None


def test_a_run_that_began_after_the_cancel_is_not_concerned(cancellations: Cancellations) -> None:
    assert cancellations.of(JOB, AT + SECOND) is None
    for job in successors(AT + SECOND):
        assert cancellations.of(job, AT + 60 * SECOND) is None


def test_a_generation_that_began_after_the_cancel_is_not_concerned(cancellations: Cancellations) -> None:
    for job in successors(AT):
        again = redriven(job, version=1, is_restart=False, had_outcome=True)
        assert cancellations.of(again, AT + SECOND) is None
        assert cancellations.of(again, AT) is not None
