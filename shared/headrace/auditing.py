"""Writes down who does what, before it is done and after."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace.engine.errors import PlatformUnavailable
from headrace.storage import Action, Conclusion, Storage


@dataclass(slots=True)
class Tally:
    """The action under way: its id, to how many it was done, and whether it was told to stop before its end."""

    id: str
    count: int = 0
    is_interrupted: bool = False


@asynccontextmanager
async def audited(
    storage: Storage, action: str, by: str, asked: Mapping[str, object], how: Mapping[str, object]
) -> AsyncGenerator[Tally]:
    """Within it the action is done, which keeps the tally up to date.

    What is raised in it concludes the action as failed, with what was counted. One that never ends was killed, or lost
    MongoDB. Raises PlatformUnavailable.
    """
    tally = Tally(uuid4().hex)
    given = {name: value for name, value in how.items() if value is not None}

    async def conclude(ended: Conclusion) -> None:
        await storage.audit.end(tally.id, ended, datetime.now(UTC), tally.count)

    await storage.audit.begin(Action(tally.id, action, by, datetime.now(UTC), asked, given))
    try:
        yield tally
    except Exception:
        # What went wrong is what is to be told, not that this could not be written down either.
        with suppress(PlatformUnavailable):
            await conclude("failed")
        raise
    await conclude("interrupted" if tally.is_interrupted else "done")


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
        "counted_at": action.counted_at,
        "ended": action.ended,
        "ended_at": action.ended_at,
    }
