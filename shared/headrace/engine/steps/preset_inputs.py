"""Inputs of the presets, and the JSON that each service takes."""

from typing import Annotated, Self

import orjson
from pydantic import BeforeValidator, Field, field_validator, model_validator

from headrace.engine.steps.base import Inputs
from headrace.engine.steps.http_auth import Auth, Url
from headrace.engine.steps.inputs import JsonObject, ShortText, Text


class PresetInputs(Inputs):
    """`url` is the webhook URL that the service gave."""

    url: Url

    @property
    def payload(self) -> object:
        """The body, before it is JSON."""
        raise NotImplementedError

    @property
    def credentials(self) -> Auth | None:
        """What the service asks for beside the URL."""
        return None


def _at_most(what: str, service: str, given: int, limit: int) -> None:
    if given > limit:
        raise ValueError(f"{given} {what}; {service} accepts {limit} at most")


def _list(value: object) -> object:
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError("expected an array, or an array as JSON text") from None
    return value


class SlackInputs(PresetInputs):
    """`text` in Slack's mrkdwn; with `blocks` (Block Kit) it is what notifications show."""

    text: Text = ""
    blocks: Annotated[list[JsonObject], BeforeValidator(_list)] = Field(default_factory=list[JsonObject])

    @field_validator("text")
    @classmethod
    def _text(cls, text: str) -> str:
        _at_most("characters", "Slack", len(text), 40_000)
        return text

    @field_validator("blocks")
    @classmethod
    def _blocks(cls, blocks: list[JsonObject]) -> list[JsonObject]:
        _at_most("blocks", "Slack", len(blocks), 50)
        return blocks

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.text and not self.blocks:
            raise ValueError("expected `text`, `blocks` or both")
        return self

    @property
    def payload(self) -> object:
        """The body, before it is JSON."""
        return {"text": self.text, **({"blocks": self.blocks} if self.blocks else {})}


class DiscordInputs(PresetInputs):
    """`content` in Discord's markdown; `username` stands in for the webhook's own name."""

    content: Annotated[Text, Field(min_length=1)]
    username: ShortText = ""

    @field_validator("content")
    @classmethod
    def _content(cls, content: str) -> str:
        _at_most("characters", "Discord", len(content), 2_000)
        return content

    @field_validator("username")
    @classmethod
    def _username(cls, username: str) -> str:
        _at_most("characters", "Discord", len(username), 80)
        return username

    @property
    def payload(self) -> object:
        """The body, before it is JSON."""
        named = {"username": self.username} if self.username else {}
        # Text that came from outside must not be able to ring everyone: @everyone and @here stay text.
        return {"content": self.content, **named, "allowed_mentions": {"parse": ["users", "roles"]}}


class TeamsInputs(PresetInputs):
    """`text`, which becomes a card of one block of markdown, or an adaptive `card` as it is."""

    text: Text | None = None
    card: JsonObject | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.text) == (self.card is not None):
            raise ValueError("expected one of `text` and `card`")
        if self.card is not None and self.card.get("type") != "AdaptiveCard":
            raise ValueError("`card` is an adaptive card: its `type` is AdaptiveCard")
        return self

    @property
    def payload(self) -> object:
        """The body, before it is JSON."""
        card = self.card or {
            "type": "AdaptiveCard",
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "version": "1.4",
            "body": [{"type": "TextBlock", "text": self.text, "wrap": True}],
        }
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return {"type": "message", "attachments": [attachment]}


class HookInputs(PresetInputs):
    """`fields` by name, or any JSON as `body`; without either an empty object is sent."""

    fields: JsonObject | None = None
    body: object = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.fields is not None and "body" in self.model_fields_set:
            raise ValueError("expected one of `fields` and `body`")
        return self

    @property
    def payload(self) -> object:
        """The body, before it is JSON."""
        return self.body if "body" in self.model_fields_set else self.fields or {}


class N8nInputs(HookInputs):
    """As for the others; `auth` where the webhook node asks for it."""

    auth: Auth | None = None

    @property
    def credentials(self) -> Auth | None:
        """What the webhook node asks for."""
        return self.auth
