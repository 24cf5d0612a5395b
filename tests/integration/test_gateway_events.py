"""Domain events over HTTP: the SDK's rules, confirmed by Kafka, each with its place."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest
from conftest import Installation
from gateway_support import APP, Client, client_of, key_of, records

from headrace.embedded import Supervisor
from headrace.installation import READS
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]

PATH = f"/api/v1/apps/{APP}/events"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "o-1", "source": "/shop", "type": "order.created"}


@pytest.fixture
def gateway(topics: Settings, start_services: Start) -> Installation:
    return Installation(topics, start_services(topics, ("gateway",)))


@pytest.fixture
def client(gateway: Installation) -> Client:
    return client_of(gateway, key_of(gateway, "operator"))


def test_an_event_that_is_sent_twice_is_one_run(topics: Settings, start_services: Start) -> None:
    installation = Installation(topics, start_services(topics, (*READS, "gateway")))
    steps = [{"id": "out", "collect": "{{ trigger.data.n }}"}]
    installation.apply({"name": "a", "app": APP, "trigger": {"type": "event", "event": "order.*"}, "steps": steps})
    client = client_of(installation, key_of(installation, "operator"))
    event = {**EVENT, "data": {"n": 7}, "partitionkey": "customer-3"}
    answers = [client.post(PATH, event, **STRUCTURED) for _ in range(2)]
    assert [each.status for each in answers] == [202, 202]
    (run,) = installation.runs(APP)
    assert (run["collected"], run["event"]["id"], run["event"]["source"], run["key"]) == (
        7,
        "o-1",
        "/shop",
        "customer-3",
    )


def test_all_three_modes_make_the_same_record(gateway: Installation, client: Client) -> None:
    at = "2013-01-31T10:00:00+00:00"
    attributes = {"subject": "süß", "time": at, "partitionkey": "k", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    binary = {f"ce-{name}": value for name, value in {**EVENT, **attributes}.items()}
    binary["ce-subject"] = "s%C3%BC%C3%9F"
    whole = {**EVENT, **attributes, "data": {"n": 1}}
    answers = [
        client.post(PATH, whole, **STRUCTURED),
        client.post(PATH, {"n": 1}, **binary),
        client.post(PATH, [whole], **BATCH),
    ]
    assert [each.status for each in answers] == [202, 202, 202]
    found = records(gateway, "events")
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    key, value, headers = found[0]
    assert (key, value) == (b"k", {"n": 1})
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": "o-1",
        "ce_source": "/shop",
        "ce_type": "order.created",
        "ce_time": "2013-01-31T10:00:00.000000+00:00",
        "ce_subject": "süß",
        "ce_app": APP,
        "traceparent": attributes["traceparent"],
        "content-type": "application/json",
    }
    place = answers[0].json["events"][0]
    assert place == {
        "id": "o-1",
        "topic": f"{gateway.settings.prefix}.events",
        "partition": place["partition"],
        "offset": place["offset"],
    }


def test_a_batch_keeps_its_order_and_is_taken_whole_or_not_at_all(gateway: Installation, client: Client) -> None:
    events = [{**EVENT, "id": str(number), "partitionkey": "k", "data": number} for number in range(500)]
    answer = client.post(PATH, events, **BATCH)
    assert answer.status == 202
    assert [each["id"] for each in answer.json["events"]] == [str(number) for number in range(500)]
    assert [value for _, value, _ in records(gateway, "events")] == list(range(500))
    events[3] = {**events[3], "type": ""}
    wrong = client.post(PATH, events, **BATCH)
    assert (wrong.status, wrong.problem) == (422, "bad_event")
    assert [each["field"] for each in wrong.json["errors"]] == ["3.type"]
    assert len(records(gateway, "events")) == 500


@pytest.mark.parametrize(
    ("value", "headers", "status", "field"),
    [
        ({**EVENT, "type": "headrace.started"}, STRUCTURED, 422, "(whole)"),
        ({**EVENT, "id": "x" * 1025}, STRUCTURED, 422, "(whole)"),
        ({**EVENT, "specversion": "0.3"}, STRUCTURED, 422, "specversion"),
        ({**EVENT, "time": "2013-01-31T10:00:00"}, STRUCTURED, 422, "time"),
        ({**EVENT, "time": "soon"}, STRUCTURED, 422, "time"),
        ({**EVENT, "data_base64": "AA=="}, STRUCTURED, 422, "data_base64"),
        ({**EVENT, "datacontenttype": "text/xml"}, STRUCTURED, 422, "datacontenttype"),
        ({**EVENT, "traceparent": "00-x"}, STRUCTURED, 422, "traceparent"),
        ([EVENT], STRUCTURED, 422, "(whole)"),
        (EVENT, BATCH, 422, "(whole)"),
        ([], BATCH, 422, "(whole)"),
        ([1], BATCH, 422, "0.(whole)"),
        (EVENT, {}, 415, "header.content-type"),
        ({}, {"ce-id": "1", "ce-type": "t"}, 422, "specversion"),
        ({}, {"ce-id": "%zz", "ce-type": "t"}, 400, "header.ce-id"),
        ({}, {"ce-id": "%ff", "ce-type": "t"}, 400, "header.ce-id"),
    ],
)
def test_what_the_sdk_would_not_publish_is_refused_with_its_field(
    shared_gateway: Installation, value: object, headers: dict[str, str], status: int, field: str
) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "operator"))
    answer = client.post(PATH, value, **headers)
    assert answer.status == status, answer.body
    assert answer.problem
    assert field in [each["field"] for each in answer.json["errors"]]
    assert records(shared_gateway, "events") == []


def test_a_body_that_is_no_json_says_so(client: Client) -> None:
    for body in (b"{", b"\xff", b"[" * 100_000, orjson.dumps(EVENT)[:-1] + b',"data":1e999}'):
        answer = client.call("POST", PATH, body, STRUCTURED)
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, "body")
    assert client.post("/api/v1/apps/No%20App/events", EVENT, **STRUCTURED).status == 403
