"""The OpenAPI document is true: requests that it allows, and such as it does not, are never a server error, and every
answer is one that it has."""

from contextlib import suppress
from typing import Any

import pytest
import requests
import schemathesis
from conftest import Installation
from gateway_support import client_of, key_of
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

pytestmark = pytest.mark.integration

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]

EXAMPLES = 3
"""Of each operation, fitting ones and wrong ones: the whole takes half a minute. The seed is always the same."""


def test_what_is_made_of_the_document_is_answered_as_it_says(shared_gateway: Installation) -> None:
    client = client_of(shared_gateway, key_of(shared_gateway, "admin", "*"))
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json)
    statuses: list[int] = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {client.key}"

        def ask(case: Any) -> None:
            answer = case.call(base_url=f"http://127.0.0.1:{client.port}", session=session, timeout=60)
            statuses.append(answer.status_code)
            # Of secrets there are none: this gateway has no key for them, and says so.
            if b"no_secrets_key" not in answer.content:
                case.validate_response(answer, checks=CHECKS)

        operations: list[Any] = [*schema.get_all_operations()]
        for found in operations:
            for mode in schemathesis.GenerationMode:
                cases = found.ok().as_strategy(generation_mode=mode)
                # What takes nothing has no wrong requests.
                with suppress(Unsatisfiable):
                    _BOUNDED(seed(7)(given(case=cases)(ask)))()
    assert len(statuses) > 200
    assert {200, 202, 404, 422} <= set(statuses)


_BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
