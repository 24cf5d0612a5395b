"""What is known of a run beside its steps, by the names of the predecessor."""

from datetime import UTC, datetime
from typing import Any

import pytest
from test_engine import NoRows

from headrace.contracts.cloudevents import Location
from headrace.contracts.jobs import Job
from headrace.engine import HttpAnswer, HttpRequest, Ports, Started, get_metadata, has_errored, is_cron
from headrace.engine.run import Run

pytestmark = pytest.mark.unit

AT = datetime(2013, 1, 1, tzinfo=UTC)


class NoHttp:
    async def send(self, request: HttpRequest) -> HttpAnswer:
        raise AssertionError("nobody is called here")


def job(**more: Any) -> Job:
    cause = {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT}
    return Job.model_validate(
        {"format": 1, "run_id": "r", "app": "a", "automation": "b", "version": 1, "generation": 0, "segment": 0,
         "attempt": 1, "key": "k", "priority": "normal", "trigger": {}, "cause": cause, **more}
    )  # fmt: skip


def test_a_run_knows_whether_the_clock_started_it_and_how_long_its_chain_is() -> None:
    assert is_cron(job(trigger={"type": "cron"}))
    assert not is_cron(job(trigger={"type": "manual"}))
    assert get_metadata(job()) == {"automation_chain_count": 0}
    assert get_metadata(job(chain=("shop/x",) * 3)) == {"automation_chain_count": 3}


def test_an_error_shows_in_the_context_and_a_strand_beside_does_not_see_it() -> None:
    run = Run(Started(job(), Location("jobs", 0, 0), AT), Ports(rows=NoRows(), http=NoHttp()), 100.0)
    strand = run.fork()
    strand.failed({"type": "t", "message": "m", "retryable": False})
    assert (has_errored(run.context), has_errored(strand.context)) == (False, True)
    run.join(strand)
    assert has_errored(run.context)
    assert run.first_error == {"type": "t", "message": "m", "retryable": False}
