"""Finished turns on their way from the loop, where they end, to the thread that commits them."""

import asyncio
import threading
import time
from collections import deque
from typing import NamedTuple

from headrace.streams.turns import Turn

MOST_AGE_S = 0.05
"""Under load outcomes are gathered for larger transactions, but none waits longer: a transaction takes 5 to 20 ms."""


class Taken(NamedTuple):
    """Turns to commit together, and whom to tell once they, and all that was put before, are committed."""

    turns: list[Turn]
    barriers: list[asyncio.Event]


class Outbox:
    """A queue with a batching rule: what is there goes when nothing more is about to come, or when it is enough.

    Thread-safe: all by the loop but `take`, which is the committing thread's.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._turns: deque[Turn] = deque()
        self._barriers: list[asyncio.Event] = []
        self._changed = threading.Condition()
        self._flushed = False
        self._closed = False
        self._first_at = 0.0

    def put(self, turn: Turn) -> None:
        """Adds a finished turn; it goes with the next `flush`, or earlier."""
        if not self._turns:
            self._first_at = time.monotonic()
        self._turns.append(turn)
        if len(self._turns) >= self._most:
            self.flush()

    def flush(self) -> None:
        """Lets go what is there, if anything is."""
        if self._turns:
            self.nudge()

    def flush_if_late(self) -> None:
        """Lets go what has waited MOST_AGE_S for company."""
        if self._turns and time.monotonic() - self._first_at > MOST_AGE_S:
            self.nudge()

    def nudge(self, barrier: asyncio.Event | None = None) -> None:
        """Makes `take` return, be it with nothing; `barrier` comes with the last of what is there now."""
        with self._changed:
            if barrier is not None:
                self._barriers.append(barrier)
            self._flushed = True
            self._changed.notify()

    def close(self) -> None:
        """`take` answers None once all is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> Taken | None:
        """Waits until something is let go, then takes it, up to the limits; None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._flushed or self._closed)
            if not self._turns and not self._flushed:
                return None
            taken: list[Turn] = []
            size = 0
            while self._turns and len(taken) < self._most and size < self._most_bytes:
                turn = self._turns.popleft()
                size += turn.size
                taken.append(turn)
            self._flushed = bool(self._turns)
            barriers: list[asyncio.Event] = []
            if not self._turns:
                barriers, self._barriers = self._barriers, []
            return Taken(taken, barriers)
