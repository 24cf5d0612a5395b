"""`/api/v1/apps/{app}/automations/{name}/versions`: what an automation was, and how it has changed."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from headrace.contracts.automation import Automation
from headrace.differences import differences
from services.gateway.answers import Limit, answer
from services.gateway.context import Context
from services.gateway.identity import Caller, requires
from services.gateway.problems import not_found

MOST_VERSIONS = (1 << 31) - 1
"""A number that any version has: beyond 64 bits MongoDB would refuse to look for it."""

Number = Annotated[int, Path(ge=1, le=MOST_VERSIONS)]
Before = Annotated[int | None, Query(ge=1, le=MOST_VERSIONS, description="`next` of the page before")]


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/automations/{name}/versions", tags=["automations"])
    store, viewer = context.storage.automations, requires(context.keys, "viewer")

    async def find(app: str, name: str, version: int) -> dict[str, object]:
        found = await store.version(f"{app}/{name}", version)
        if found is None:
            raise not_found(f"automation {app[:64]}/{name[:64]} has no version {version}")
        return _written(found)

    @routes.get("")
    async def list_versions(
        app: str, name: str, _: Annotated[Caller, Depends(viewer)], limit: Limit = 50, cursor: Before = None
    ) -> Response:
        """Versions without their documents, newest first, and which one is live."""
        id = f"{app}/{name}"
        live, found = await store.live(id), await store.versions(id, limit, cursor)
        if live is None and not found:
            raise not_found(f"no automation {app[:64]}/{name[:64]}")
        versions = [{"version": each.version, "by": each.by, "saved_at": each.saved_at} for each in found]
        following = found[-1].version if len(found) == limit else None
        return answer({"versions": versions, "live": None if live is None else live.version, "next": following})

    @routes.get("/{version}")
    async def show(app: str, name: str, version: Number, _: Annotated[Caller, Depends(viewer)]) -> Response:
        """A version's document, which never changes."""
        return answer({"version": version, "document": await find(app, name, version)})

    @routes.get("/{version}/diff/{other}")
    async def diff(
        app: str, name: str, version: Number, other: Number, _: Annotated[Caller, Depends(viewer)]
    ) -> Response:
        """What `other` has that `version` has not, and the other way round: each part that differs, with its path."""
        before, after = await find(app, name, version), await find(app, name, other)
        found = [each.facts() for each in differences(before, after)]
        return answer({"version": version, "other": other, "differences": found})

    return routes


def _written(document: Automation) -> dict[str, object]:
    """As it is stored: without what nobody gave."""
    return document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
