"""Which parts of a request its record shows, and which not."""

from typing import Any

import pytest

from headrace.engine.steps.http_masks import masked

pytestmark = pytest.mark.unit

HIDDEN = [
    "password", "Passwd", "SECRET", "token", "access_token", "access-token", "accessToken", "refresh_token", "api_key",
    "apikey", "API-Key", "client_secret", "authorization", "private_key",
]  # fmt: skip


@pytest.mark.parametrize("body", ["json", "form"])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_credential_in_a_body_does_not_stand_in_the_record(body: str, name: str) -> None:
    inputs: dict[str, Any] = {body: {name: "hunter2", "user": "ann", "list": [{name: ["hunter2"], "n": 1}]}}
    stored: Any = masked(inputs)[body]
    assert stored == {name: "***", "user": "ann", "list": [{name: "***", "n": 1}]}
    assert inputs[body][name] == "hunter2"


@pytest.mark.parametrize(
    "value", [{"key": 1, "code": "x", "tokens": 5, "password_hint": "dog"}, [1, None], "text", None]
)
def test_a_body_without_credentials_stands_as_it_is(value: object) -> None:
    assert masked({"json": value}) == {"json": value}


def test_what_is_too_deep_or_too_much_to_be_looked_at_is_hidden_whole() -> None:
    deep: Any = {"password": "hunter2"}
    for _ in range(500):
        deep = [deep]
    many = [*([0] * 40_000), {"password": "hunter2"}]
    assert "hunter2" not in str(masked({"json": {"deep": deep, "many": many}}))
