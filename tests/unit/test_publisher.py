"""What the SDK refuses before it is sent: all that could only become a dead letter. No broker is asked."""

from collections.abc import Generator
from typing import Any

import pytest

from headrace import Publisher, PublishError
from headrace.contracts import limits
from headrace.publisher import NotPublishable

pytestmark = pytest.mark.unit

NOWHERE = "127.0.0.1:1"
LONG = "ü" * (limits.ATTRIBUTE // 2 + 1)
DEEP: Any = []
for _ in range(220):
    DEEP = [DEEP]


@pytest.fixture
def publisher() -> Generator[Publisher]:
    found = Publisher("shop", bootstrap_servers=NOWHERE)
    yield found
    found.close()


@pytest.mark.parametrize("text", [LONG, "\ud800", 7], ids=["long", "surrogate", "no text"])
@pytest.mark.parametrize("name", ["type", "key", "id", "subject"])
def test_an_events_attribute_that_cannot_travel_is_refused_by_name(publisher: Publisher, name: str, text: Any) -> None:
    arguments: dict[str, Any] = {"type": "hello", "data": {}, name: text}
    with pytest.raises(NotPublishable, match=f"the {name} "):
        publisher.submit_event(**arguments)


@pytest.mark.parametrize("text", [LONG, "\ud800"], ids=["long", "surrogate"])
def test_a_rows_id_that_cannot_travel_is_refused(publisher: Publisher, text: str) -> None:
    with pytest.raises(NotPublishable, match="key"):
        publisher.submit_row("t", text, after={})
    with pytest.raises(NotPublishable, match="id"):
        publisher.submit_row("t", "1", after={}, id=text)


def test_a_rows_key_and_its_parts_share_one_limit(publisher: Publisher) -> None:
    one_too_many = limits.ATTRIBUTE - len("shop/t/") + 1
    with pytest.raises(NotPublishable, match="1025 bytes"):
        publisher.submit_row("t", "x" * one_too_many, after={})


@pytest.mark.parametrize("row", [[1], "text", 7])
def test_a_row_that_is_no_mapping_is_refused(publisher: Publisher, row: Any) -> None:
    with pytest.raises(NotPublishable, match="maps columns"):
        publisher.row_created("t", "1", row)
    with pytest.raises(NotPublishable, match="maps columns"):
        publisher.row_updated("t", "1", row, {})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_none_of_are_refused_wherever_they_stand(publisher: Publisher, number: float) -> None:
    for data in (number, {"a": number}, [None, {"a": (1, number)}]):
        with pytest.raises(NotPublishable, match="NaN or an infinite"):
            publisher.submit_event("hello", data)


@pytest.mark.parametrize("data", [{"a": "\ud800"}, DEEP, {"a": 1 << 64}, {"a": object()}, "x" * limits.EVENT_BODY])
def test_data_that_no_job_could_hold_are_refused(publisher: Publisher, data: Any) -> None:
    with pytest.raises(NotPublishable):
        publisher.submit_event("hello", data)


@pytest.mark.parametrize("source", [LONG, "\ud800"])
def test_a_source_that_cannot_travel_is_refused_at_once(source: str) -> None:
    with pytest.raises(NotPublishable, match="source"):
        Publisher("shop", bootstrap_servers=NOWHERE, source=source)


def test_an_app_whose_name_is_too_long_is_refused() -> None:
    with pytest.raises(NotPublishable, match="app"):
        Publisher("a" * (limits.ATTRIBUTE + 1), bootstrap_servers=NOWHERE)


def test_a_closed_publisher_refuses_instead_of_waiting_for_ever() -> None:
    with Publisher("shop", bootstrap_servers=NOWHERE) as publisher:
        pass
    with pytest.raises(PublishError, match="closed"):
        publisher.event("hello", {})
    with pytest.raises(PublishError, match="closed"):
        publisher.row_created("t", "1", {})
    publisher.close()
