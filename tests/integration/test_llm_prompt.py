"""`llm.prompt` against a real HTTP server that speaks as OpenAI-compatible endpoints do."""

from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from single_steps import error, outputs, run_step

from headrace.contracts.runs import StepResult
from headrace.engine.apps import AppConfig
from headrace.engine.connections import LlmConnection

pytestmark = pytest.mark.integration

SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["calm", "upset"]},
        "words": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["mood"],
    "additionalProperties": False,
}


class Endpoint:
    """Remembers what it was asked, and answers what it was told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.answer: Any = completion("hello")
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/moved/chat/completions", self._move)
        self.server = TestServer(app)

    async def _move(self, request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/v1/chat/completions")

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(orjson.loads(await request.read()))
        self.headers.append(dict(request.headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            text = f"bad key {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": text}}, status=status, headers={"Retry-After": "0"})
        return web.json_response(self.answer)

    async def ask(self, path: str = "/v1", data: Any = None, **inputs: Any) -> StepResult:
        connection = LlmConnection(
            type="llm",
            base_url=str(self.server.make_url(path)),
            api_key=SecretStr("sk-secret-key"),
            model="small",
        )
        config = AppConfig(connections={"assistant": connection})
        return await run_step("llm.prompt", {"connection": "assistant", **inputs}, config=config, data=data)


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "model": "small-2026",
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


@pytest.fixture
async def endpoint() -> AsyncGenerator[Endpoint]:
    found = Endpoint()
    await found.server.start_server()
    yield found
    await found.server.close()


async def test_a_prompt_is_answered_and_its_tokens_are_counted(endpoint: Endpoint) -> None:
    step = await endpoint.ask(
        system="Be kind.", prompt="Hi {{ trigger.data.name }}", temperature=0, max_tokens=50, data={"name": "Ann"}
    )
    assert outputs(step) == {
        "success": True,
        "text": "hello",
        "model": "small-2026",
        "finish_reason": "stop",
        "tokens": {"prompt": 7, "completion": 2, "total": 9},
    }
    assert endpoint.asked == [
        {
            "model": "small",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi Ann"}],
            "temperature": 0,
            "max_tokens": 50,
        }
    ]
    assert endpoint.headers[0]["Authorization"] == "Bearer sk-secret-key"


async def test_a_conversation_goes_as_it_is_and_the_step_may_name_its_model(endpoint: Endpoint) -> None:
    talk = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]
    await endpoint.ask(messages=talk, model="large")
    assert (endpoint.asked[0]["messages"], endpoint.asked[0]["model"]) == (talk, "large")


async def test_an_answer_by_schema_is_data(endpoint: Endpoint) -> None:
    endpoint.answer = completion('{"mood": "calm", "words": [1, 2]}')
    step = await endpoint.ask(prompt="?", schema=SCHEMA)
    assert outputs(step)["data"] == {"mood": "calm", "words": [1, 2]}
    assert endpoint.asked[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }


@pytest.mark.parametrize(
    ("answer", "type"),
    [
        (completion("calm"), "no_json"),
        (completion('{"mood": "angry"}'), "bad_shape"),
        (completion('{"words": []}'), "bad_shape"),
        (completion('{"mood": "calm", "words": ["a"]}'), "bad_shape"),
        (completion('{"mood": "calm", "more": 1}'), "bad_shape"),
        (completion("[]"), "bad_shape"),
        (completion('{"mood": "ca', "length"), "cut_off"),
        (completion(None, refusal="no"), "refused"),
        (completion(None), "bad_answer"),
        ({}, "bad_answer"),
        ({"choices": []}, "bad_answer"),
        ([1], "bad_answer"),
        (completion("x" * (2 << 20)), "bad_answer"),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_an_error_and_asked_once(
    endpoint: Endpoint, answer: Any, type: str
) -> None:
    endpoint.answer = answer
    assert error(await endpoint.ask(prompt="?", schema=SCHEMA)) == (type, False)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_endpoint_that_is_busy_is_asked_again_under_the_same_key(endpoint: Endpoint, status: int) -> None:
    endpoint.statuses = [status]
    step = await endpoint.ask(prompt="?")
    assert (step["status"], len(endpoint.asked)) == ("success", 2)
    assert len({headers["Idempotency-Key"] for headers in endpoint.headers}) == 1


async def test_a_key_that_an_endpoint_quotes_is_masked(endpoint: Endpoint) -> None:
    endpoint.statuses = [401]
    step = await endpoint.ask(prompt="?")
    assert error(step) == ("http_status", False)
    assert outputs(step)["data"] == {"error": {"message": "bad key Bearer ***"}}


async def test_a_redirect_gets_no_key(endpoint: Endpoint) -> None:
    assert error(await endpoint.ask(path="/moved", prompt="?")) == ("http_status", False)
    assert endpoint.asked == []


async def test_link_local_addresses_are_closed_to_operators_too() -> None:
    connection = LlmConnection(type="llm", base_url="http://169.254.169.254/v1", model="m")
    config = AppConfig(connections={"assistant": connection})
    step = await run_step("llm.prompt", {"connection": "assistant", "prompt": "?"}, config=config)
    assert error(step) == ("address_refused", False)
