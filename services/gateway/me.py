"""Whose key it is."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict

from headrace.contracts.roles import Role
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import BEARER, admitted


class Me(BaseModel):
    """A key and its role by app; `*` is every app."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "4f2a90c1d3e7", "name": "ci", "scopes": {"*": "editor"}}]}
    )

    key: str
    name: str
    scopes: dict[str, Role]


def router(context: Context) -> APIRouter:
    """`/api/v1/me`."""
    routes = APIRouter(prefix="/api/v1", tags=["identity"])

    async def anybody(request: Request, _: Annotated[object, Depends(BEARER)]) -> Caller:
        return await admitted(context.keys, request)

    @routes.get("/me")
    async def me(caller: Annotated[Caller, Depends(anybody)]) -> Me:
        """Whose key this is, and what it may do."""
        return Me(key=caller.id, name=caller.name, scopes=dict(caller.scopes))

    return routes
