"""`/api/v1/apps/{app}/dead-letters`: what could not be processed, and what is done with it."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace import letter_actions
from headrace.letter_facts import content, facts
from headrace.redriving import How
from headrace.storage import LetterFilter, LetterState
from services.gateway.answers import MOST, Cursor, Limit, answer, cursor_of, read_cursor
from services.gateway.bodies import Reason
from services.gateway.caller import Caller
from services.gateway.context import Context
from services.gateway.identity import requires
from services.gateway.problems import not_found

Ids = Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST)]


class Redrive(BaseModel):
    """Open letters, and how their runs go on: at the step that failed or from the beginning (`restart`), with the
    version that they had or with the live one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"letters": ["headrace.jobs.dlq/0/17"]}]})

    letters: Ids
    mode: Literal["resume", "restart"] = "resume"
    version: Literal["same", "latest"] = "same"


class Discard(BaseModel):
    """Open letters that nobody needs, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"letters": ["headrace.jobs.dlq/0/17"], "reason": "a test"}]}
    )

    letters: Ids
    reason: Reason


def router(context: Context) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/api/v1/apps/{app}/dead-letters", tags=["dead letters"])
    settings, storage = context.settings, context.storage
    viewer, operator = requires(context.keys, "viewer"), requires(context.keys, "operator")

    @routes.get("")
    async def list_letters(
        app: str,
        _: Annotated[Caller, Depends(viewer)],
        automation: str | None = None,
        error: Annotated[str | None, Query(description="The type of the reason, for example not_json")] = None,
        key: str | None = None,
        since: AwareDatetime | None = None,
        until: AwareDatetime | None = None,
        state: LetterState = "open",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """Letters without their bytes, newest first."""
        asked = LetterFilter((), app, automation, error, key, since, until, state)
        found = await storage.dead_letters.find(asked, limit, None if cursor is None else read_cursor(cursor))
        next_cursor = cursor_of(found[-1].at, found[-1].id) if len(found) == limit else None
        return answer({"letters": [facts(each) for each in found], "next": next_cursor})

    @routes.get("/{topic}/{partition}/{offset}")
    async def show(
        app: str, topic: str, partition: int, offset: int, _: Annotated[Caller, Depends(viewer)]
    ) -> Response:
        """One letter, with its record's headers and bytes, which may hold what an app's senders sent in confidence."""
        id = f"{topic}/{partition}/{offset}"
        found = await storage.dead_letters.find(LetterFilter(ids=(id,), app=app, state=None), 1)
        whole = await storage.dead_letters.read([id])
        if not found or id not in whole:
            raise not_found(f"no dead letter {id[:300]!r} in app {app[:64]!r}")
        return answer({**facts(found[0]), **content(whole[id])})

    @routes.post("/redrive")
    async def redrive(app: str, asked: Redrive, caller: Annotated[Caller, Depends(operator)]) -> Response:
        """Takes letters up again. Those that are not there, not open or another app's are not counted."""
        how = How(asked.mode == "restart", asked.version)
        letters = LetterFilter(ids=asked.letters, app=app)
        done = await letter_actions.redrive(settings, storage, letters, how, caller.by, asyncio.Event())
        return answer(_told(done, "redriven"))

    @routes.post("/discard")
    async def discard(app: str, asked: Discard, caller: Annotated[Caller, Depends(operator)]) -> Response:
        """Puts letters away: by no filter are they shown or redriven any more."""
        letters = LetterFilter(ids=asked.letters, app=app)
        done = await letter_actions.discard(storage, letters, asked.reason, caller.by, asyncio.Event())
        return answer(_told(done, "discarded"))

    return routes


def _told(done: letter_actions.Done, what: str) -> dict[str, object]:
    reasons = [{"letter": id, "reason": why} for id, why in done.refused]
    return {"action": done.tally.id, what: done.tally.count, "refused": done.refused_count, "reasons": reasons}
