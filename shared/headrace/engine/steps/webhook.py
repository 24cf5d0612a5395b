"""`webhook.send`: a signed call after the Standard Webhooks specification, 1.0.0."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, ClassVar, Self, cast

from pydantic import BeforeValidator, Field, model_validator

from headrace.contracts.automation import Duration
from headrace.contracts.jobs import derived_uuid
from headrace.engine.plain import dumps
from headrace.engine.run import Run
from headrace.engine.steps import http_call
from headrace.engine.steps.base import AwaitingStep, Inputs, Outputs, Perform, checked
from headrace.engine.steps.http_auth import Headers, Url
from headrace.engine.steps.http_inputs import Expect
from headrace.engine.steps.http_masks import WEBHOOK_SECRET, credentials, masked
from headrace.engine.steps.inputs import Text
from headrace.engine.web.redaction import Redaction

_SECRET_BYTES = range(24, 65)
"""Lengths of a secret that the specification allows."""

MAX_SECRETS = 8
"""A rotation needs two; each adds 48 characters to a header that servers limit."""

_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _secret(value: object) -> object:
    told = f"expected {WEBHOOK_SECRET} and then base64 of {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} bytes"
    if not isinstance(value, str) or not value.startswith(WEBHOOK_SECRET):
        raise ValueError(told)
    try:
        key = b64decode(value.removeprefix(WEBHOOK_SECRET), validate=True)
    except ValueError:
        raise ValueError(told) from None
    if len(key) not in _SECRET_BYTES:
        raise ValueError(told)
    return key


def _as_list(value: object) -> object:
    return cast(list[object], value) if isinstance(value, list) else [value]


Keys = Annotated[
    list[Annotated[bytes, BeforeValidator(_secret)]],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=MAX_SECRETS),
]


class WebhookInputs(Inputs):
    """`json` or `text` is the payload; `secret` is one, or a list of them while they are rotated.

    `timeout` is that of one attempt.
    """

    url: Url
    secret: Keys
    json_: object = Field(default=None, alias="json")
    text: Text | None = None
    headers: Headers = Field(default_factory=dict)
    timeout: Duration | None = None
    expect: Expect | None = None

    @model_validator(mode="after")
    def _has_payload(self) -> Self:
        if ("json_" in self.model_fields_set) == (self.text is not None):
            raise ValueError("a webhook has one payload: `json` or `text`")
        if taken := [name for name in self.headers if name.lower() in _SIGNED]:
            raise ValueError(f"the header {taken[0]} is set by Headrace")
        return self

    @property
    def body(self) -> tuple[str, bytes]:
        """The content type and the bytes."""
        if self.text is not None:
            return "text/plain; charset=utf-8", self.text.encode(errors="replace")
        return "application/json", dumps(self.json_)


class WebhookSend(AwaitingStep):
    """Posts a payload that its receiver can check: signed, with an id that is the same on every attempt.

    Redirects are not followed, as the specification has it: a receiver that moved gets its URL changed here.
    """

    use = "webhook.send"
    inputs = WebhookInputs
    outputs: ClassVar[dict[str, str]] = {**http_call.OUTPUTS, "id": "the webhook-id that was sent"}
    effect = "at_least_once"
    retry = http_call.RETRY
    errors: ClassVar[dict[str, str]] = {
        **http_call.ERRORS,
        "unexpected_answer": "the answer's JSON is not what `expect.json` says. Not retried",
    }
    example = """
- id: tell
  use: webhook.send
  with:
    url: https://partner.example.com/hooks/flights
    secret: "{{ secrets.PARTNER_SIGNING }}"
    json: {type: flight.late, timestamp: "{{ now }}", data: {flight: "{{ trigger.row.flight }}"}}
"""

    def stored(self, rendered: Outputs) -> Outputs:
        """Without credentials."""
        return masked(rendered)

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and writes the request, all but its id, time and signatures."""
        inputs = checked(WebhookInputs, rendered)
        body = inputs.body
        redaction = Redaction(credentials(rendered))
        call = replace(
            http_call.written(inputs.url, headers=inputs.headers, body=body, redaction=redaction),
            timeout=inputs.timeout,
            expect=inputs.expect,
            follows_redirects=False,
        )

        async def perform(run: Run) -> Outputs:
            # Not the step key itself: it holds dots, which stand between the parts of what is signed.
            id = f"msg_{derived_uuid(run.key)}"
            timestamp = int(run.ports.clock.now().timestamp())
            signature = signatures(inputs.secret, id, timestamp, body[1])
            values = (id, str(timestamp), signature)
            return {**await http_call.perform(call, run, dict(zip(_SIGNED, values, strict=True))), "id": id}

        return perform


def signatures(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one `v1` signature for each key; `timestamp` is in seconds since 1970."""
    signed = b"%b.%d.%b" % (id.encode(), timestamp, body)
    return " ".join(f"v1,{b64encode(hmac.digest(key, signed, sha256)).decode()}" for key in keys)
