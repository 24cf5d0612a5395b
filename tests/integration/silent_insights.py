"""Insights whose Faust stops at the first record without a word: silent_insights.py agent|fetcher|consumer|loop."""

import asyncio
import sys
import time
from typing import Any

from headrace import service
from services.insights.wiring import build
from services.insights.worker import NAME, Worker

PATIENCE_S = 3.0
"""In place of two minutes."""


async def _silenced(worker: Any, event: Any) -> None:
    """The first record is counted no more, or the last that is."""
    match sys.argv[1]:
        case "agent":
            await asyncio.Event().wait()
        case "fetcher":
            await worker._app._fetcher.stop()
        case "consumer":
            await worker._app.consumer._thread.stop()
        case "loop":
            time.sleep(1_000)  # noqa: ASYNC251 - that nothing else gets on is what is wanted
        case other:
            raise ValueError(other)
    await _take(worker, event)


service.STALLED_AFTER_S = PATIENCE_S
_take, Worker._take = Worker._take, _silenced  # pyright: ignore[reportAttributeAccessIssue]
service.main(NAME, build)
