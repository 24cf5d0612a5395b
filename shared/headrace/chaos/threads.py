"""An event loop in a thread of its own: what serves others goes on while the harness itself waits or works."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import TypeVar

_T = TypeVar("_T")

ANSWER_TIMEOUT_S = 30.0
"""Everything asked of such a loop takes milliseconds."""


class LoopThread:
    """A running event loop. `close` ends it; a daemon, so that it never keeps the process."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, _T]) -> _T:
        """The result of `work`, done in the loop; raises what it raises. Not to be called from the loop itself."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """Cancels what is under way and ends the loop."""
        if self._loop.is_closed():
            return
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_TIMEOUT_S)
        self._loop.close()


def now_us() -> int:
    """The wall clock in microseconds: the clock that run records use, on the same machine."""
    return time.time_ns() // 1_000


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
