"""Access tokens of a process: each fetched once for all runs that need it, and again shortly before it expires."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

MAX_TOKENS = 1_000
"""Kept at once, the least recently used dropped: an author's template could otherwise name clients without end."""

EARLY = 30.0
"""Seconds before its expiry a token is given up: a request under way must not arrive with an expired one."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and the seconds it is good for since it was asked for."""

    value: str
    lifetime: float


@dataclass(slots=True)
class _Entry:
    # Runs that need the same token at once wait for one fetch.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: str | None = None
    good_until: float = 0.0


class TokenCache:
    """Tokens by a key that names who may use them; used from one event loop."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(
        self, key: str, perf: Callable[[], float], fetch: Callable[[], Awaitable[Token]], refused: str | None = None
    ) -> str:
        """The token of `key`, from `fetch` where there is none or it is about to expire by the clock `perf`.

        `refused` is a token that its receiver has just turned down: it is never answered. What `fetch` raises goes on
        to the caller alone; the next one fetches again.
        """
        entry = self._entry(key)
        async with entry.lock:
            asked_at = perf()
            if entry.value is not None and entry.value != refused and asked_at < entry.good_until:
                return entry.value
            entry.value = None
            token = await fetch()
            # A token that lives shorter than a minute is used for half its life, else it would never be used twice.
            entry.good_until = asked_at + max(token.lifetime - EARLY, token.lifetime / 2)
            entry.value = token.value
            return token.value

    def _entry(self, key: str) -> _Entry:
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_TOKENS:
            self._entries.popitem(last=False)
        return entry
