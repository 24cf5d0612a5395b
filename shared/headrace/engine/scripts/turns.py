"""Places for a few, given to many in turn."""

import asyncio
from collections import deque


class Turns:
    """`places` at a time. Where more wait, the apps take turns, and within an app who came first goes first."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By app, the next one first."""

    async def take(self, app: str) -> None:
        """Returns with a place, which must be given back."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(app, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # It may have been given the place and be cancelled before it knew.
            if turn.done() and not turn.cancelled():
                self.give_back()
            raise

    def give_back(self) -> None:
        """Gives the place to the next one who still waits."""
        while self._waiting:
            app = next(iter(self._waiting))
            line = self._waiting.pop(app)
            while line and line[0].done():  # cancelled
                line.popleft()
            if line:
                line.popleft().set_result(None)
                if line:
                    self._waiting[app] = line
                return
        self._free += 1
