"""On real servers a run that waits leaves what it waits for beside the event that comes, and goes on with it."""

import pytest
from conftest import Installation, until

from headrace.contracts.resumptions import write_resumption
from headrace.contracts.waits import Arrival, Wait, answer_of, read_wait_record

pytestmark = pytest.mark.integration

APP = "waiting"


def test_a_waiting_run_goes_on_with_its_event_once_however_often_it_is_resumed(installation: Installation) -> None:
    wait = {"id": "paid", "wait_for_event": {"type": "paid", "key": "{{ trigger.data.n }}", "timeout": "2d"}}
    after = {"id": "after", "use": "row.create", "with": {"table": "t", "row": {"by": "{{ steps.paid.data.by }}"}}}
    trigger = {"type": "event", "event": "go"}
    installation.apply({"name": "waits", "app": APP, "trigger": trigger, "steps": [wait, after]})
    with installation.publisher(APP) as publisher:
        publisher.event("go", {"n": 7})
        publisher.event("paid", {"by": "ann"}, key="7")
    (run,) = installation.runs(APP)
    assert (run["status"], run["next"]["what"]) == ("waiting", "event")
    topic = f"{installation.settings.prefix}.waits"
    until(lambda: len(installation.read(topic)) == 2, "the wait and its event")
    records = [read_wait_record(value) for value in installation.read(topic)]
    (waits,) = [each for each in records if isinstance(each, Wait)]
    (came,) = [each for each in records if isinstance(each, Arrival)]
    resumption = answer_of(waits, 0, came)
    for _ in range(2):
        headers = {"headrace_resumes": resumption.run_id}
        installation.produce("jobs.normal", write_resumption(resumption), headers, resumption.record_key)
    until(lambda: installation.ask(lambda storage: storage.rows.count(APP, "t")) == 1, "the row behind the wait")
    (ended,) = installation.runs(APP)
    assert (ended["status"], ended["sequence"]) == ("success", 3)
    assert ended["steps"][0]["outputs"]["data"] == {"by": "ann"}
    assert ended["steps"][1]["status"] == "success"
