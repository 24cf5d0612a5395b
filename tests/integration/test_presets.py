"""The presets of the HTTP client, and the examples of all HTTP steps, against a real server."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import yaml
from aiohttp import web
from http_support import Server, call, outputs, ports, serving
from pydantic import SecretStr

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.engine import compile_plan
from headrace.engine.apps import AppConfig
from headrace.engine.steps import STEPS
from headrace.engine.steps.presets import PRESETS

pytestmark = pytest.mark.integration

HOOK = "/services/T0001/B0001/a-token-of-24-characters"
SMALL: dict[str, dict[str, Any]] = {
    "slack.send": {"text": "late"},
    "discord.send": {"content": "late"},
    "teams.send": {"text": "late"},
    "zapier.send": {"fields": {"flight": "UA 1"}},
    "make.send": {"body": [1]},
    "n8n.send": {},
}
CARD = {"type": "AdaptiveCard", "version": "1.4", "body": []}


@pytest.fixture
async def server() -> AsyncGenerator[Server]:
    async with serving() as found:
        yield found


def wrapped(card: Any) -> Any:
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


@pytest.mark.parametrize(
    ("use", "inputs", "body"),
    [
        ("slack.send", {"text": "late"}, {"text": "late"}),
        ("slack.send", {"text": "l", "blocks": [{"type": "divider"}]}, {"text": "l", "blocks": [{"type": "divider"}]}),
        ("slack.send", {"blocks": '[{"type": "divider"}]'}, {"text": "", "blocks": [{"type": "divider"}]}),
        ("teams.send", {"card": CARD}, wrapped(CARD)),
        ("zapier.send", {"fields": {"flight": "UA 1"}}, {"flight": "UA 1"}),
        ("make.send", {"body": [1, None]}, [1, None]),
        ("n8n.send", {}, {}),
    ],
)
async def test_a_service_gets_the_json_it_takes(server: Server, use: str, inputs: Any, body: Any) -> None:
    step = await call({"url": server.url + HOOK, **inputs}, use=use)
    assert step["status"] == "success", step
    ((method, path, headers, received),) = server.calls
    assert (method, path) == ("POST", HOOK)
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert orjson.loads(received) == body


async def test_text_for_teams_becomes_a_card(server: Server) -> None:
    await call({"url": server.url + HOOK, "text": "late"}, use="teams.send")
    card = orjson.loads(server.calls[0][3])["attachments"][0]["content"]
    assert (card["type"], card["body"]) == ("AdaptiveCard", [{"type": "TextBlock", "text": "late", "wrap": True}])


async def test_discord_is_asked_to_confirm_and_rings_not_everyone(server: Server) -> None:
    await call(
        {"url": f"{server.url}{HOOK}?thread_id=7", "content": "@everyone", "username": "Desk"}, use="discord.send"
    )
    ((_, path, _, body),) = server.calls
    assert path == f"{HOOK}?thread_id=7&wait=true"
    assert orjson.loads(body) == {
        "content": "@everyone", "username": "Desk", "allowed_mentions": {"parse": ["users", "roles"]},
    }  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.use)
async def test_of_a_webhook_url_only_scheme_and_host_are_kept(server: Server, preset: Any) -> None:
    async def cannot(request: web.Request) -> web.Response:
        return web.Response(status=404, text=f"Cannot POST {request.path}; no {HOOK.rpartition('/')[2]}")

    server.routes[HOOK] = cannot
    auth: dict[str, Any] = {"auth": {"type": "bearer", "token": "n8n-token"}} if preset.use == "n8n.send" else {}
    url = f"{server.url}{HOOK}?sig=a-signature-of-azure"
    step = await call({"url": url, **SMALL[preset.use], **auth}, use=preset.use)
    inputs: Any = step.get("inputs")
    assert inputs["url"] == f"{server.url}/***"
    assert step.get("error", {}).get("type") == "http_status"
    kept = repr(step)
    for part in ("T0001/B0001", "a-token", "a-signature", "n8n-token"):
        assert part not in kept
    assert outputs(step)["status"] == 404


@pytest.mark.parametrize(("status", "tries"), [(500, 1), (429, 3)])
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.use)
async def test_a_message_is_sent_once_unless_it_was_refused_for_now(
    server: Server, preset: Any, status: int, tries: int
) -> None:
    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": "0"})

    server.routes[HOOK] = busy
    retry = {"attempts": 3, "backoff": "10ms"}
    step = await call({"url": server.url + HOOK, **SMALL[preset.use]}, use=preset.use, retry=retry)
    assert step.get("error", {}).get("retryable") is True
    assert len(server.calls) == tries


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.use)
async def test_a_redirect_to_a_page_is_no_message(server: Server, preset: Any) -> None:
    async def login(request: web.Request) -> web.Response:
        raise web.HTTPFound("/login")

    server.routes[HOOK] = login
    step = await call({"url": server.url + HOOK, **SMALL[preset.use]}, use=preset.use)
    assert step.get("error", {}).get("type") == "http_status"
    assert server.seen("/login") == []


@pytest.mark.parametrize(
    ("use", "fits", "too_much", "named"),
    [
        ("slack.send", {"text": "x" * 40_000}, {"text": "x" * 40_001}, "Slack accepts 40000"),
        ("slack.send", {"blocks": [{}] * 50}, {"blocks": [{}] * 51}, "Slack accepts 50"),
        ("discord.send", {"content": "ü" * 2_000}, {"content": "ü" * 2_001}, "Discord accepts 2000"),
        (
            "discord.send",
            {"content": "x", "username": "x" * 80},
            {"content": "x", "username": "x" * 81},
            "Discord accepts 80",
        ),
        ("teams.send", {"text": "x" * 28_000}, {"text": "x" * 29_000}, "Teams accepts 28672"),
        ("zapier.send", {"body": ["x"]}, {"body": ["x" * 1_000_000] * 10}, "Zapier accepts 10000000"),
        ("make.send", {"body": ["x" * 1_000_000] * 4}, {"body": ["x" * 1_000_000] * 5}, "Make accepts 5000000"),
        ("n8n.send", {"body": ["x" * 1_000_000] * 8}, {"body": ["x" * 1_000_000] * 16}, "n8n accepts 16000000"),
    ],
)
async def test_a_message_beyond_the_limit_of_its_service_is_refused_and_the_limit_named(
    server: Server, use: str, fits: dict[str, Any], too_much: dict[str, Any], named: str
) -> None:
    def templates(inputs: dict[str, Any]) -> dict[str, str]:
        return {name: f"{{{{ trigger.{name} }}}}" for name in inputs}

    url = {"url": server.url + HOOK}
    assert (await call({**url, **templates(fits)}, use=use, trigger=fits))["status"] == "success"
    step = await call({**url, **templates(too_much)}, use=use, trigger=too_much)
    assert step.get("error", {}).get("type") == "bad_input"
    assert named in step.get("error", {}).get("message", "")
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("use", "inputs"),
    [
        ("slack.send", {}),
        ("slack.send", {"blocks": "no json"}),
        ("discord.send", {"content": ""}),
        ("teams.send", {}),
        ("teams.send", {"text": "a", "card": CARD}),
        ("teams.send", {"card": {"type": "MessageCard"}}),
        ("zapier.send", {"fields": {}, "body": 1}),
        ("zapier.send", {"auth": {"type": "bearer", "token": "x"}}),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_when_saved(use: str, inputs: dict[str, Any]) -> None:
    step = {"id": "s", "use": use, "with": {"url": "https://hooks.example.com/x", **inputs}}
    document = {"name": "a", "app": "b", "trigger": {"type": "event", "event": "x"}, "steps": [step]}
    with pytest.raises(DocumentError):
        compile_plan(parse_automation(document), 1)


SECRETS = {
    "HOOK_KEY": SecretStr("a-key-of-n8n"),
    "PAGER_TOKEN": SecretStr("a-token-of-the-pager"),
    "PARTNER_SIGNING": SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
}
"""What the examples name."""


@pytest.mark.parametrize("use", ["http.request", "webhook.send", *SMALL])
async def test_the_example_of_a_step_works(server: Server, use: str) -> None:
    async def accepted(request: web.Request) -> web.Response:
        return web.json_response({"accepted": True})

    server.routes["/example"] = accepted
    (step,) = yaml.safe_load(STEPS[use].example)
    assert (step["use"], step.keys()) == (use, {"id", "use", "with"})
    row = {"flight": "UA 1", "carrier": "UA", "dep_delay": 75}
    mine = replace(ports(), apps=lambda app: AppConfig(secrets=SECRETS))
    inputs = {**step["with"], "url": f"{server.url}/example"}
    result = await call(inputs, use=use, trigger={"row": row}, on=mine)
    await mine.http.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert result["status"] == "success", result
    assert b"UA 1" in server.calls[0][3]
