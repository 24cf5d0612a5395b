"""`llm.prompt`: one question to a configured, OpenAI-compatible endpoint."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, cast

import orjson
from pydantic import Field, StringConstraints, model_validator
from yarl import URL

from headrace.contracts.automation import Retry
from headrace.engine.connections import LlmConnection
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform, checked
from headrace.engine.steps.connections import NO_CONNECTION, ConnectionRef, connection_of
from headrace.engine.steps.inputs import JsonObject, ShortText, Text
from headrace.engine.steps.llm_schema import mismatch
from headrace.engine.web import answers
from headrace.engine.web.messages import HttpAnswer, HttpFailure, HttpRequest
from headrace.engine.web.urls import host_of

MAX_PROMPT = 1 << 20
"""Characters of all messages: a million tokens' worth is a mistake, and would stand in memory per run."""

_TRY_AGAIN = frozenset((408, 409, 425, 429))
"""Statuses below 500 that speak of the moment; these endpoints say 409 for a request that is under way already."""


class Message(Inputs):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text


class LlmPromptInputs(Inputs):
    """`prompt` is one message of the user, `messages` a whole conversation; `system` goes before either.

    With `schema`, a JSON Schema of an object, the answer is JSON that fits it.
    """

    connection: ConnectionRef
    prompt: Text | None = None
    messages: Annotated[tuple[Message, ...], Field(max_length=200)] = ()
    system: Text | None = None
    model: Annotated[ShortText, StringConstraints(min_length=1, max_length=200)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    schema_: JsonObject | None = Field(default=None, alias="schema")

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("a question is either `prompt` or `messages`")
        size = sum(len(each.content) for each in self.conversation())
        if size > MAX_PROMPT:
            raise ValueError(f"the messages have {size} characters; {MAX_PROMPT} are accepted")
        return self

    def conversation(self) -> list[Message]:
        """All messages in their order."""
        first = [] if self.system is None else [Message(role="system", content=self.system)]
        if self.prompt is not None:
            return [*first, Message(role="user", content=self.prompt)]
        return [*first, *self.messages]


class LlmPrompt(AwaitingStep):
    """Asks a language model, at least once, with an `Idempotency-Key` that stays the same.

    An answer that does not fit the schema is an error, not asked for again by itself: each asking costs.
    """

    use = "llm.prompt"
    inputs = LlmPromptInputs
    outputs: ClassVar[dict[str, str]] = {
        "text": "the answer as text",
        "data": "the answer as JSON, where a schema was given",
        "model": "the model that answered, as it names itself",
        "finish_reason": "why the answer ends, such as stop or length",
        "tokens": "{prompt, completion, total}, as the endpoint counts",
    }
    effect = "at_least_once"
    errors: ClassVar[dict[str, str]] = {
        "no_connection": NO_CONNECTION,
        "no_model": "neither the step nor the connection names a model",
        "http_status": "the endpoint refused; retryable for 408, 409, 425, 429 and 5xx, after its Retry-After",
        "connection": "the endpoint cannot be reached; retryable",
        "timeout": "the endpoint did not answer in time; retryable",
        "bad_answer": "the endpoint answered with something that is no completion, or longer than 1 MB",
        "cut_off": "the answer was to be JSON and ends at max_tokens",
        "refused": "the model refuses to answer",
        "no_json": "the answer was to be JSON and is none",
        "bad_shape": "the answer does not fit the schema",
    }
    retry = Retry(attempts=3, backoff=1.0, factor=2.0, max=30.0)
    example = """\
- id: mood
  use: llm.prompt
  with:
    connection: assistant
    system: Judge the mood of a passenger's message.
    prompt: "{{ trigger.row.message }}"
    schema:
      type: object
      properties: {mood: {type: string, enum: [calm, upset]}}
      required: [mood]
      additionalProperties: false
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs."""
        inputs = checked(LlmPromptInputs, rendered)

        async def perform(run: Run) -> Outputs:
            connection = connection_of(run, inputs.connection, LlmConnection)
            request = _request(inputs, connection, run.key)
            try:
                # One request, no redirects: its URL is the operator's and its header holds the key.
                answer = await run.ports.http.send(request)
            except HttpFailure as failure:
                raise StepError(failure.type, failure.message, retryable=failure.retryable) from failure
            _check_status(answer, run)
            return _outputs(answer, inputs, host_of(URL(request.url)))

        return perform


def _request(inputs: LlmPromptInputs, connection: LlmConnection, key: str) -> HttpRequest:
    model = inputs.model or connection.model
    if model is None:
        raise StepError("no_model", "inputs: model: needed, as the connection names none")
    body: dict[str, object] = {"model": model, "messages": [each.model_dump() for each in inputs.conversation()]}
    if inputs.temperature is not None:
        body["temperature"] = inputs.temperature
    if inputs.max_tokens is not None:
        body["max_tokens"] = inputs.max_tokens
    if inputs.schema_ is not None:
        wanted = {"name": "answer", "schema": inputs.schema_, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": key}
    if connection.api_key is not None:
        headers["Authorization"] = f"Bearer {connection.api_key.get_secret_value()}"
    # The operator chose the host, and a model in the own network is the usual reason to choose one: private addresses
    # are open. Link-local and metadata addresses stay closed, as everywhere.
    return HttpRequest("POST", f"{connection.base_url}/chat/completions", headers, dumps(body), True)


def _check_status(answer: HttpAnswer, run: Run) -> None:
    if 200 <= answer.status < 300:
        return
    raise StepError(
        "http_status",
        f"the endpoint's status is {answer.status}; expected 2xx",
        retryable=answer.status >= 500 or answer.status in _TRY_AGAIN,
        retry_after=answers.retry_after(answer, run.ports.clock.now()),
        outputs={"status": answer.status, "data": answers.outputs(answer)["data"]},
    )


def _outputs(answer: HttpAnswer, inputs: LlmPromptInputs, host: str) -> Outputs:
    completion = _object(answers.outputs(answer)["data"])
    choices = completion.get("choices")
    choice = _object(cast(list[object], choices)[0] if isinstance(choices, list) and choices else None)
    message = _object(choice.get("message"))
    text, refusal = message.get("content"), message.get("refusal")
    if isinstance(refusal, str) and refusal:
        raise StepError("refused", "the model refuses to answer", outputs={"refusal": refusal})
    if not isinstance(text, str) or answer.truncated:
        raise StepError("bad_answer", f"{host} answered with something that is no completion, or longer than 1 MB")
    outputs: Outputs = {
        "success": True,
        "text": text,
        "model": completion.get("model"),
        "finish_reason": choice.get("finish_reason"),
        "tokens": _tokens(completion),
    }
    return outputs if inputs.schema_ is None else {**outputs, "data": _data(text, inputs.schema_, outputs)}


def _tokens(completion: Mapping[str, object]) -> Mapping[str, object]:
    usage = _object(completion.get("usage"))
    return {name: usage.get(f"{name}_tokens") for name in ("prompt", "completion", "total")}


def _data(text: str, schema: Mapping[str, object], outputs: Outputs) -> object:
    """The answer as JSON; what does not fit is an error that still tells the tokens."""
    if outputs["finish_reason"] == "length":
        raise StepError("cut_off", "the answer ends at max_tokens, before its JSON does", outputs=outputs)
    try:
        data: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise StepError("no_json", "the answer is no JSON", outputs=outputs) from None
    if (wrong := mismatch(data, schema)) is not None:
        raise StepError("bad_shape", f"the answer does not fit the schema: {wrong}", outputs=outputs)
    return data


def _object(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}
