"""Several coroutines at once, of which none outlives the others."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TypeVar

_T = TypeVar("_T")


async def together(works: Sequence[Coroutine[object, object, _T]]) -> list[_T]:
    """Their results in order, when all are through.

    The first exception cancels the others, and is raised when they have ended. Cancelling this cancels all.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as raised:
        first = raised.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]
