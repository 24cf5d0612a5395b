"""Presets of the HTTP client for services that take messages at a webhook URL. PRESETS is their table.

The URL is the credential of all of them: what is kept of it, and of any echo of it, is scheme and host. Chat services
know no idempotency keys, so a call is made at most once. Redirects are not followed: a POST that ends as the GET of a
login page would look like a message that arrived.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, cast

from yarl import URL

from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.run import Run
from headrace.engine.steps import http_call
from headrace.engine.steps.base import AwaitingStep, Outputs, Perform, checked
from headrace.engine.steps.http_masks import credentials, masked
from headrace.engine.steps.preset_inputs import (
    DiscordInputs,
    HookInputs,
    N8nInputs,
    PresetInputs,
    SlackInputs,
    TeamsInputs,
)
from headrace.engine.web.redaction import Redaction
from headrace.engine.web.urls import MASK

_TOKEN_LENGTH = 16
"""Characters from which a part of a webhook URL's path is taken for a credential by itself: Slack's last part has 24,
Discord's 68, while `services`, `workflows` or an account's number are shorter."""


class Preset(AwaitingStep):
    """Posts JSON to the webhook URL of one service."""

    service: ClassVar[str]
    """Its name, as messages have it."""
    max_bytes: ClassVar[int]
    """Of the body, by the service's documentation."""
    query: ClassVar[dict[str, str]] = {}
    """Added to the URL."""
    outputs: ClassVar[dict[str, str]] = http_call.OUTPUTS
    errors: ClassVar[dict[str, str]] = http_call.ERRORS
    effect = "at_most_once"
    retry = http_call.RETRY

    def stored(self, rendered: Outputs) -> Outputs:
        """Of the URL scheme and host only; no other credentials."""
        stored = masked({name: value for name, value in rendered.items() if name != "url"})
        if "url" in rendered:
            stored = {"url": _masked_hook(rendered["url"]), **stored}
        redaction = Redaction(_hook_credentials(rendered.get("url")))
        return {name: value if name == "url" else redaction.value(value) for name, value in stored.items()}

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs against the service's limits, and writes the request."""
        inputs = cast(PresetInputs, checked(self.inputs, rendered))
        body = dumps(inputs.payload)
        if len(body) > self.max_bytes:
            raise StepError(
                "bad_input", f"inputs: {len(body)} bytes as JSON; {self.service} accepts {self.max_bytes} at most"
            )
        known = URL(inputs.url).query
        call = http_call.written(
            inputs.url,
            query=[(name, value) for name, value in self.query.items() if name not in known],
            headers={},
            # Teams counts a body without a charset as UTF-16, and so twice.
            body=("application/json; charset=utf-8", body),
            auth=inputs.credentials,
            redaction=Redaction([*credentials(rendered), *_hook_credentials(inputs.url)]),
        )
        call = replace(call, follows_redirects=False)

        async def perform(run: Run) -> Outputs:
            return await http_call.perform(call, run)

        return perform


def _masked_hook(url: object) -> object:
    if not url or not isinstance(url, str):
        return MASK if url else url
    try:
        return f"{URL(url).origin()}/{MASK}"
    except ValueError:
        return MASK


def _hook_credentials(url: object) -> Iterator[str]:
    """The parts of a webhook URL that an answer or another input must not show."""
    if not isinstance(url, str):
        return
    try:
        parsed = URL(url)
    except ValueError:
        yield url
        return
    if parsed.raw_path != "/":
        yield from (parsed.raw_path_qs, parsed.raw_path.rstrip("/"))
    values = (*parsed.raw_parts, *parsed.query.values())
    yield from (value for value in values if len(value) >= _TOKEN_LENGTH)


class SlackSend(Preset):
    """Posts a message to a Slack channel through an incoming webhook.

    Slack cuts text beyond 40,000 characters (api.slack.com/changelog/2018-04-truncating-really-long-messages) and takes
    50 blocks (docs.slack.dev/reference/block-kit/blocks); a message that would be cut is refused here.
    """

    use = "slack.send"
    service = "Slack"
    inputs = SlackInputs
    max_bytes = 1_000_000
    """Slack names no size in bytes; 40,000 characters and 50 blocks of 3,000 stay below it in any script."""
    example = """
- id: tell
  use: slack.send
  with:
    url: https://hooks.slack.com/services/T000/B000/XXXX
    text: "Flight {{ trigger.row.flight }} is late"
"""


class DiscordSend(Preset):
    """Posts a message to a Discord channel; @everyone and @here in it ring nobody.

    Discord takes 2,000 characters and a name of 80 (discord.com/developers/docs/resources/webhook#execute-webhook). It
    is asked to wait until the message is saved: without, one that it drops is answered like one that it keeps.
    """

    use = "discord.send"
    service = "Discord"
    inputs = DiscordInputs
    max_bytes = 100_000
    """Never met: 2,000 characters have at most 24,000 bytes as JSON."""
    query: ClassVar[dict[str, str]] = {"wait": "true"}
    example = """
- id: tell
  use: discord.send
  with:
    url: https://discord.com/api/webhooks/1000/XXXX
    content: "Flight **{{ trigger.row.flight }}** is late"
    username: Flight desk
"""


class TeamsSend(Preset):
    """Posts an adaptive card to a Microsoft Teams channel, through a workflow or an incoming webhook.

    Teams takes 28 KB (learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook).
    """

    use = "teams.send"
    service = "Teams"
    inputs = TeamsInputs
    max_bytes = 28 << 10
    example = """
- id: tell
  use: teams.send
  with:
    url: https://example.webhook.office.com/webhookb2/XXXX
    text: "Flight **{{ trigger.row.flight }}** is late"
"""


class ZapierSend(Preset):
    """Starts a Zap that begins with Webhooks by Zapier.

    Zapier takes 10 MB (docs.zapier.com/platform/build/operating-constraints).
    """

    use = "zapier.send"
    service = "Zapier"
    inputs = HookInputs
    max_bytes = 10_000_000
    example = """
- id: tell
  use: zapier.send
  with:
    url: https://hooks.zapier.com/hooks/catch/1000/xxxx
    fields: {flight: "{{ trigger.row.flight }}", minutes: "{{ trigger.row.dep_delay }}"}
"""


class MakeSend(Preset):
    """Starts a scenario of Make that begins with a custom webhook.

    Make takes 5 MB (community.make.com, "Webhook and its limitations").
    """

    use = "make.send"
    service = "Make"
    inputs = HookInputs
    max_bytes = 5_000_000
    example = """
- id: tell
  use: make.send
  with:
    url: https://hook.eu1.make.com/xxxx
    fields: {flight: "{{ trigger.row.flight }}", minutes: "{{ trigger.row.dep_delay }}"}
"""


class N8nSend(Preset):
    """Starts a workflow of n8n that begins with a webhook node.

    n8n takes 16 MB where it isn't configured otherwise (docs.n8n.io/hosting/configuration/environment-variables/
    endpoints, N8N_PAYLOAD_SIZE_MAX).
    """

    use = "n8n.send"
    service = "n8n"
    inputs = N8nInputs
    max_bytes = 16_000_000
    errors: ClassVar[dict[str, str]] = {
        **http_call.ERRORS,
        "oauth_failed": "the endpoint of `auth.token_url` gave no token. Retried if 5xx, 408, 425 or 429",
    }
    example = """
- id: tell
  use: n8n.send
  with:
    url: https://n8n.example.com/webhook/xxxx
    auth: {type: api_key, name: X-Hook-Key, value: "{{ secrets.HOOK_KEY }}"}
    body: {flight: "{{ trigger.row.flight }}", minutes: "{{ trigger.row.dep_delay }}"}
"""


PRESETS: tuple[Preset, ...] = (SlackSend(), DiscordSend(), TeamsSend(), ZapierSend(), MakeSend(), N8nSend())
"""One a service."""
