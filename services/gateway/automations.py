"""`/api/v1/apps/{app}/automations`: the live documents, changed by compare-and-set on their revision."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from headrace import applying
from headrace.contracts.automation import Automation, DocumentError, LiveAutomation
from headrace.documents import checked
from headrace.linting import lint
from headrace.parsing import parse_json, parse_yaml
from headrace.storage import RevisionChanged
from headrace.switching import Asked, NotSwitched, Switch, switch
from headrace.syntax_mistakes import Unreadable
from services.gateway import bodies
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.paths import changed, revision_meant, revision_tag, wanted
from services.gateway.problems import FieldError, Problem, bad_request, not_found

_YAML = ("application/yaml", "application/x-yaml", "text/yaml")

_IfMatch = Annotated[str | None, Header(description='The ETag of what is changed; `"0"`: nothing is there yet')]


class Switching(BaseModel):
    """Why, and for `resume` how many waiting runs a second go on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the bank is down"}]})

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = ""
    rate: Annotated[float | None, Field(strict=True, ge=0.01, le=100_000, allow_inf_nan=False)] = None


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/automations", tags=["automations"])
    settings, storage = context.settings, context.storage
    viewer, operator, editor = (requires(context.keys, role) for role in ("viewer", "operator", "editor"))

    @routes.get("")
    async def list_automations(app: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """All live automations of the app, without their steps."""
        return answer({"automations": [_facts(each) for each in await storage.automations.all(app)]})

    # Before the routes with a name: "validate" would be one.
    @routes.post("/validate", openapi_extra=_DOCUMENT)
    async def validate(app: str, request: Request, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """Whether a document could be applied: 200, or 422 with the path of each mistake. Saves nothing. `findings` is
        what `headrace lint` finds in a valid one, by itself: an `error` never does what its author means."""
        automation = await _read(request, app)
        findings = await asyncio.to_thread(lint, [automation])
        told = [{name: value for name, value in each._asdict().items() if name != "automation"} for each in findings]
        return answer({"automation": automation.id, "findings": told})

    @routes.get("/{name}")
    async def show(request: Request, app: str, name: str, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """The live document and its state. The ETag is its revision."""
        live = await storage.automations.live(f"{app}/{name}")
        if live is None:
            raise not_found(f"no automation {app[:64]}/{name[:64]}")
        headers = {"ETag": revision_tag(live.revision), "Cache-Control": "private, no-cache"}
        if headers["ETag"] in wanted(request, "if-none-match"):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return answer(live.model_dump(mode="json", by_alias=True, exclude_defaults=True), headers=headers)

    @routes.put("/{name}", openapi_extra=_DOCUMENT)
    async def apply(
        app: str, name: str, request: Request, caller: Annotated[Caller, Depends(editor)], _: _IfMatch = None
    ) -> Response:
        """Saves a document as a new version and makes it live; answered when every matcher, orchestrator and scheduler
        has it. The same document again changes nothing."""
        automation, revision = await _read(request, app, name), revision_meant(request)
        try:
            (saved,) = await applying.apply(settings, storage, [automation], caller.by, revision=revision)
        except RevisionChanged as error:
            raise changed(str(error)) from None
        except DocumentError as error:
            raise _wrong(error) from None
        change = "new" if saved.changed else "unchanged"
        return answer({**_facts(saved.live), "change": change}, headers={"ETag": revision_tag(saved.live.revision)})

    def add_switch(which: Switch) -> None:
        async def change(
            app: str, name: str, asked: Switching, caller: Annotated[Caller, Depends(operator)]
        ) -> Response:
            if which in ("pause", "disable") and not asked.reason:
                told = "must be given"
                error = FieldError("body.reason", told)
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_shape", f"reason: {told}", errors=[error])
            if await storage.automations.live(f"{app}/{name}") is None:
                raise not_found(f"no automation {app[:64]}/{name[:64]}")
            try:
                live = await switch(
                    settings, storage, f"{app}/{name}", Asked(which, caller.by, asked.reason, asked.rate)
                )
            except NotSwitched as error:
                raise Problem(HTTPStatus.CONFLICT, "state", str(error)) from None
            return answer(_facts(live), headers={"ETag": revision_tag(live.revision)})

        summary = f"{which.capitalize()} the automation; answered when every process knows."
        routes.add_api_route(f"/{{name}}/{which}", change, methods=["POST"], name=which, description=summary)

    for each in _SWITCHES:
        add_switch(each)
    return routes


_SWITCHES: tuple[Switch, ...] = ("pause", "resume", "disable", "enable")


_READING = asyncio.Semaphore(1)
"""Of documents at a time: the largest takes seconds of one core, which is webhooks' as well."""


async def _read(request: Request, app: str, name: str | None = None) -> Automation:
    """The automation in the body, which is of this app and name; raises Problem with the path of each mistake."""
    body, kind = await request.body(), bodies.media_type(request.headers.get("content-type", ""))
    if not bodies.is_json(kind) and kind not in _YAML:
        raise bodies.unsupported(kind, f"{bodies.JSON} and {_YAML[0]} are accepted")
    try:
        async with _READING:
            automation = await asyncio.to_thread(_parsed, body, bodies.is_json(kind))
    except DocumentError as error:
        raise _wrong(error) from None
    wrong = [
        FieldError(field, f"the path says {asked!r}")
        for field, asked, found in (("app", app, automation.app), ("name", name or automation.name, automation.name))
        if asked != found
    ]
    if wrong:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_document", "this is another automation", errors=wrong)
    return automation


def _parsed(body: bytes, is_json: bool) -> Automation:
    try:
        text = body.decode()
        found = parse_json(text) if is_json else parse_yaml(text)
    except UnicodeDecodeError:
        raise bad_request("not_utf8", "the body is not UTF-8", FieldError("body", "expected UTF-8")) from None
    except Unreadable as error:
        place = "" if error.place is None else f"line {error.place.line}, column {error.place.column}: "
        raise bad_request("not_readable", f"{place}{error.message}", FieldError("body", error.message)) from None
    if len(found) != 1:
        raise bad_request(
            "not_readable", f"expected one document, not {len(found)}", FieldError("body", "one document")
        )
    return checked(found[0].value)


def _wrong(error: DocumentError) -> Problem:
    errors = [FieldError(each.path or "(whole)", each.message) for each in error.mistakes]
    told = "; ".join(f"{each.field}: {each.message}" for each in errors[:5])
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_document", told, errors=errors)


def _facts(live: LiveAutomation) -> dict[str, object]:
    document = live.document
    return {
        "automation": document.id,
        "name": document.name,
        "version": live.version,
        "revision": live.revision,
        "state": live.state,
        "reason": live.reason,
        "by": live.by,
        "trigger": document.trigger.type,
        "priority": document.priority,
    }


_EXAMPLE = {
    "name": "rebooking-desk",
    "app": "airport",
    "trigger": {"type": "event", "event": "flight.*"},
    "steps": [{"id": "only_cancelled", "filter": "{{ trigger.event.type == 'flight.cancelled' }}"}],
}
_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {bodies.JSON: {"schema": {"type": "object"}, "example": _EXAMPLE}, _YAML[0]: {"schema": {}}},
    }
}
