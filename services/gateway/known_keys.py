"""API keys, known for a few seconds."""

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta

import structlog

from headrace.api_keys import Parts, is_valid, parts_of
from headrace.engine.errors import PlatformUnavailable
from headrace.storage import ApiKey, KeyStore
from services.gateway.caller import Caller

KNOWN_FOR_S = 2.0
"""How long a revoked key may still open: MongoDB is not asked at each request."""

MOST_KNOWN = 10_000
"""Keys, and ids that are none: whoever tries ids out takes no more memory than this."""

USE_EVERY = timedelta(minutes=1)
"""How exactly the last use is known; a write for each request would cost more than the request."""


class KnownKeys:
    """Recognises keys. Belongs to one event loop."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._known: OrderedDict[str, tuple[float, ApiKey | None]] = OrderedDict()
        self._used: dict[str, datetime] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def caller(self, text: str) -> Caller | None:
        """Whose key it is, None if it opens nothing; raises PlatformUnavailable."""
        parts = parts_of(text)
        if parts is None:
            return None
        key, now = await self._find(parts), datetime.now(UTC)
        if not is_valid(key, parts.secret, now) or key is None:
            return None
        self._note_use(key, now)
        return Caller(key.id, key.name, key.scopes)

    async def close(self) -> None:
        """Waits for what is being written."""
        await asyncio.gather(*self._writing)

    async def _find(self, parts: Parts) -> ApiKey | None:
        at, key = self._known.get(parts.id, (0.0, None))
        if time.monotonic() - at < KNOWN_FOR_S:
            return key
        key = await self._store.get(parts.id)
        self._known[parts.id] = (time.monotonic(), key)
        self._known.move_to_end(parts.id)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return key

    def _note_use(self, key: ApiKey, now: datetime) -> None:
        last = self._used.get(key.id, key.used_at)
        if last is None or now - last >= USE_EVERY:
            self._used[key.id] = now
            writing = asyncio.create_task(self._write_use(key.id, now))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)

    async def _write_use(self, id: str, at: datetime) -> None:
        try:
            await self._store.touch(id, at)
        except PlatformUnavailable as away:
            # It is told a minute late, with the next use; the request itself does not depend on it.
            self._used.pop(id, None)
            structlog.get_logger().warning("a key's use was not noted", key=id, reason=str(away))
