"""`/api/v1/audit`: who did what."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from headrace.auditing import action_facts
from headrace.contracts.roles import ALL_APPS
from services.gateway.answers import Limit, answer
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires


def router(context: Context) -> APIRouter:
    """The route. An action may concern several apps: it takes a role in all of them."""
    routes = APIRouter(prefix="/api/v1", tags=["identity"])
    admin = requires(context.keys, "admin", ALL_APPS)

    @routes.get("/audit")
    async def audit(_: Annotated[Caller, Depends(admin)], limit: Limit = 50) -> Response:
        """What people and keys did, newest first."""
        return answer({"actions": [action_facts(each) for each in await context.storage.audit.find(limit)]})

    return routes
