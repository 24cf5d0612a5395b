"""Writers that take their callers together: who asks while a write is under way goes in the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Generic, Protocol, TypeVar

from pymongo.errors import PyMongoError

from headrace.engine.errors import PlatformUnavailable
from headrace.storage.driver import reaching_mongodb

R = TypeVar("R")


class Wish(Protocol):
    """What a coalescing writer needs of a `Waiting`, whatever its outcome."""

    keys: tuple[str, ...]
    shared: tuple[str, ...]
    size: int

    def end(self, outcome: Exception) -> None:
        """Ends it, if it has no outcome yet."""
        ...


W = TypeVar("W", bound=Wish)


class Waiting(Generic[R]):
    """One caller's wish and its outcome.

    Of two that have one of their `keys` in common, the later one goes in a later write; `size` are the bytes it adds.
    A `shared` key keeps a wish apart from those that have it among their `keys`, and not from one another.
    """

    shared: tuple[str, ...] = ()

    def __init__(self, keys: tuple[str, ...], size: int = 0) -> None:
        self.keys = keys
        self.size = size
        self._done: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Whether it has an outcome, or its caller was cancelled."""
        return self._done.done()

    async def outcome(self) -> R:
        """What it ended with; raises it, if that is an exception."""
        return await self._done

    def end(self, outcome: R | Exception) -> None:
        """The first outcome counts; a caller that was cancelled gets none."""
        if self._done.done():
            return
        if isinstance(outcome, Exception):
            self._done.set_exception(outcome)
        else:
            self._done.set_result(outcome)


class Coalescer(Generic[W]):
    """Hands wishes to `write`, one batch at a time, in the order of their coming.

    A batch has at most `most` wishes and `most_bytes` bytes, but always one wish. `write` ends every one of its batch,
    or raises: PlatformUnavailable and the driver's errors end all that have no outcome yet.
    """

    def __init__(self, write: Callable[[Sequence[W]], Awaitable[None]], most: int, most_bytes: float = inf) -> None:
        self._write = write
        self._most = most
        self._most_bytes = most_bytes
        self._waiting: list[W] = []
        self._writer: asyncio.Task[None] | None = None

    def add(self, wish: W) -> None:
        """Takes a wish in; await its `outcome()`. Cancelling that does not take the wish back."""
        self._waiting.append(wish)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        batch: Sequence[W] = ()
        try:
            while self._waiting:
                batch, self._waiting = split(self._waiting, self._most, self._most_bytes)
                await self._write_batch(batch)
        except Exception as error:
            # A bug: its callers say so, in place of waiting for a platform that is not away.
            for wish in batch:
                wish.end(error)
            raise
        finally:
            self._writer = None
            # Only a writer that was cancelled or has a bug leaves any without an outcome; nobody may wait for ever.
            for wish in (*batch, *self._waiting):
                wish.end(PlatformUnavailable("the writer ended"))
            self._waiting = []

    async def _write_batch(self, batch: Sequence[W]) -> None:
        try:
            with reaching_mongodb():
                await self._write(batch)
        except PlatformUnavailable as error:
            for wish in batch:
                wish.end(PlatformUnavailable(*error.args))
        except PyMongoError as error:
            for wish in batch:
                wish.end(error)


def split(waiting: Sequence[W], most: int, most_bytes: float) -> tuple[list[W], list[W]]:
    """The next batch and what waits for a later one. One wish goes at least; wishes of one key keep their order."""
    batch: list[W] = []
    left: list[W] = []
    keys: set[str] = set()
    shared: set[str] = set()
    size = 0
    for position, wish in enumerate(waiting):
        full = len(batch) == most or (batch and size + wish.size > most_bytes)
        if full:
            left += waiting[position:]
            break
        if keys.isdisjoint(wish.keys) and keys.isdisjoint(wish.shared) and shared.isdisjoint(wish.keys):
            batch.append(wish)
            size += wish.size
            shared.update(wish.shared)
        else:
            left.append(wish)
            keys.update(wish.shared)
        keys.update(wish.keys)
    return batch, left
