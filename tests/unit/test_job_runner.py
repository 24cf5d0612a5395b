"""What a job leads to beside its record: an answer for who waits for its run, headers that all that follows carries."""

from typing import Any, cast

import pytest
from test_limits import OnePlan, handled, job, record, runner

from headrace.contracts.jobs import Job, Parent
from headrace.contracts.replies import read_reply
from headrace.contracts.resumptions import read_timer, resumption_headers
from headrace.contracts.topics import DEAD_LETTERS, REPLIES, WAITS
from headrace.contracts.waits import Arrival, read_wait_record
from headrace.engine import Plan
from services.orchestrator.limits import Limits
from services.orchestrator.pauses import Pauses
from services.orchestrator.plans import UnusablePlan

pytestmark = pytest.mark.unit

CALLED = job().model_copy(update={"parent": Parent(run_id="p", automation="a", step="call", awaits=True)})


class NoPlan(OnePlan):
    def cached(self, job: Job) -> Any:
        return None

    async def load(self, job: Job) -> Plan:
        raise UnusablePlan(job, "unknown_version", "automation shop/a has no version 1")


async def test_who_waits_for_a_run_whose_version_is_not_there_is_told_so() -> None:
    letter, told = await handled(runner(Limits(), NoPlan()), record(0, CALLED))
    assert letter.topic == f"headrace.{DEAD_LETTERS.name}"
    assert told.topic == f"headrace.{WAITS.name}"
    answer = read_wait_record(told.value)
    assert isinstance(answer, Arrival)
    data = cast("dict[str, Any]", answer.data)
    assert (data["run_id"], data["status"]) == ("r", "dead_lettered")
    assert data["error"]["type"] == "unknown_version"


async def test_the_caller_of_a_webhook_is_told_of_the_end_and_of_a_dead_letter() -> None:
    asked = job().model_copy(update={"reply": True})
    run, told = await handled(runner(Limits(), OnePlan()), record(0, asked))
    assert (run.topic, told.topic, told.key) == ("headrace.runs", f"headrace.{REPLIES.name}", b"r")
    assert read_reply(told.value).status == "success"
    letter, told = await handled(runner(Limits(), NoPlan()), record(0, asked))
    assert (letter.topic, told.topic) == (f"headrace.{DEAD_LETTERS.name}", f"headrace.{REPLIES.name}")
    assert read_reply(told.value).status == "dead_lettered"


async def test_nobody_is_told_where_nobody_waits() -> None:
    (letter,) = await handled(runner(Limits(), NoPlan()), record(0, job()))
    assert letter.topic == f"headrace.{DEAD_LETTERS.name}"


async def test_what_resumes_a_run_carries_its_trace_and_its_replay() -> None:
    pauses = Pauses()
    pauses._reasons["shop/a"] = "paused by ann"  # pyright: ignore[reportPrivateUsage]
    trace = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    started = record(0, job().model_copy(update={"replay": "again"}))._replace(headers=[trace])
    _, timer = await handled(runner(Limits(), OnePlan(), pauses=pauses), started)
    resumes = read_timer(timer.value or b"").resumes
    assert resumption_headers(resumes) == [("headrace_resumes", b"r"), trace, ("headrace_replay", b"again")]
    assert [name for name, _ in resumption_headers(resumes.model_copy(update={"traceparent": "", "replay": ""}))] == [
        "headrace_resumes"
    ]
