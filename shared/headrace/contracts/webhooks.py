"""A request to a webhook, as the gateway hands it on."""

from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.contracts.errors import ContractError
from headrace.contracts.validation import explain


class WebhookRequest(BaseModel):
    """`headers` have lower-case names; `query` gives of a name that is there twice all values; `body` is parsed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: str
    headers: dict[str, str] = {}
    query: dict[str, str | list[str]] = {}
    body: object = None


def read_webhook_request(data: object) -> WebhookRequest:
    """The request in a parsed body; raises ContractError."""
    try:
        return WebhookRequest.model_validate(data)
    except ValidationError as error:
        raise ContractError(*explain(error, "webhook request")) from None


def webhook_of(record_key: str, app: str) -> str:
    """The webhook's id, from the record's key `app/webhook-id`; raises ContractError."""
    start, _, webhook = record_key.partition("/")
    if start != app or not webhook:
        raise ContractError("bad_key", "a webhook's record has the key app/webhook-id")
    return webhook
