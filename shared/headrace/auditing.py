"""Writes down who does what, before it is done and after."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace.storage import Action, Storage


@dataclass(slots=True)
class Tally:
    """To how many it was done."""

    count: int = 0


@asynccontextmanager
async def audited(
    storage: Storage, action: str, by: str, asked: Mapping[str, object], how: Mapping[str, object]
) -> AsyncGenerator[Tally]:
    """Within it the action is done, whose `count` it is told; whoever fails in it leaves an action that has not ended.

    Raises PlatformUnavailable.
    """
    id, tally = uuid4().hex, Tally()
    given = {name: value for name, value in how.items() if value is not None}
    await storage.audit.begin(Action(id, action, by, datetime.now(UTC), asked, given))
    yield tally
    await storage.audit.end(id, "done", datetime.now(UTC), tally.count)


def action_facts(action: Action) -> dict[str, object]:
    """The action as JSON shows it."""
    return {
        "id": action.id,
        "action": action.action,
        "by": action.by,
        "at": action.at,
        "asked": dict(action.asked),
        "how": dict(action.how),
        "count": action.count,
        "ended": action.ended,
        "ended_at": action.ended_at,
    }
