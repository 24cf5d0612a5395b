"""`/api/v1/keys`: making, listing and revoking API keys."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace.api_keys import WrongKey, key_facts, make_key, revoke_key
from headrace.contracts.roles import Role, Scopes, allows
from services.gateway.answers import answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import BEARER, admitted
from services.gateway.problems import FieldError, Problem, not_found


class NewKey(BaseModel):
    """A key to be made: its name, and its role in each app; `*` is every app."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "shop-backend", "scopes": {"shop": "operator"}, "expires_at": "2099-01-31T00:00:00Z"}]
        },
    )

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[dict[str, Role], Field(min_length=1, max_length=100)]
    expires_at: AwareDatetime | None = None


def router(context: Context) -> APIRouter:
    """The routes. Whoever is admin of all apps of a key makes and revokes it, and sees it."""
    routes = APIRouter(prefix="/api/v1/keys", tags=["identity"])
    storage = context.storage

    async def admin(request: Request, _: Annotated[object, Depends(BEARER)]) -> Caller:
        found = await admitted(context.keys, request)
        if "admin" not in found.scopes.values():
            raise _forbidden(found, "any app")
        return found

    @routes.get("")
    async def list_keys(caller: Annotated[Caller, Depends(admin)]) -> Response:
        """Keys, the oldest first, with prefix, roles, expiry and last use. Nothing shows a key's text again."""
        found = [each for each in await storage.keys.all() if _rules(caller, each.scopes)]
        return answer({"keys": [key_facts(each) for each in found]})

    @routes.post("", status_code=HTTPStatus.CREATED)
    async def create(new: NewKey, caller: Annotated[Caller, Depends(admin)]) -> Response:
        """Makes a key. `text` is the key itself, which is told this once."""
        if not _rules(caller, new.scopes):
            raise _forbidden(caller, "every app of the key")
        try:
            made = await make_key(storage, new.name, new.scopes, caller.by, new.expires_at)
        except WrongKey as error:
            told = [FieldError("body", str(error))]
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_key", str(error), errors=told) from None
        return answer({**key_facts(made.key), "text": made.text}, HTTPStatus.CREATED)

    @routes.delete("/{id}", status_code=HTTPStatus.NO_CONTENT)
    async def revoke(id: str, caller: Annotated[Caller, Depends(admin)]) -> Response:
        """Ends a key: every gateway refuses it within 2 s."""
        found = await storage.keys.get(id)
        # One of other apps is none.
        if found is None or not _rules(caller, found.scopes):
            raise not_found(f"no key {id[:64]!r} of your apps")
        try:
            await revoke_key(storage, id, caller.by)
        except WrongKey as error:
            raise Problem(HTTPStatus.CONFLICT, "revoked", str(error)) from None
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return routes


def _rules(caller: Caller, scopes: Scopes) -> bool:
    return all(allows(caller.scopes, app, "admin") for app in scopes)


def _forbidden(caller: Caller, where: str) -> Problem:
    told = f"{caller.kind} {caller.id} has not the role admin of {where}, which this takes"
    return Problem(HTTPStatus.FORBIDDEN, "forbidden", told)
