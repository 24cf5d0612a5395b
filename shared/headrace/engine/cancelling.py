"""A run that is to end although it is not at its end."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from headrace.contracts.runs import ErrorInfo


class Cancellation:
    """Whether one run is to end, and what is cut off by that. Used in the event loop's thread only."""

    def __init__(self) -> None:
        self.error: ErrorInfo | None = None
        """Who asked for it and why, as the run's error; None while nobody has."""
        self._limits: set[asyncio.Timeout] = set()

    def ask(self, by: str, reason: str) -> None:
        """The run begins no further step, and the calls under way are cut off. What it was first asked by stays."""
        if self.error is None:
            self.error = {"type": "cancelled", "message": f"cancelled by {by}: {reason}", "retryable": False}
            for limit in self._limits:
                limit.reschedule(asyncio.get_running_loop().time())

    @contextmanager
    def cutting(self, limit: asyncio.Timeout) -> Generator[None]:
        """Within it, which is within `limit`, a cancellation ends `limit` at once."""
        self._limits.add(limit)
        if self.error is not None:
            limit.reschedule(asyncio.get_running_loop().time())
        try:
            yield
        finally:
            self._limits.discard(limit)


NEVER = Cancellation()
"""Of a run that nobody can reach while it is made: it never waits."""
