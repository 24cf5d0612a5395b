"""Who asks: the API key of a request, known for a few seconds, and what it may do."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from headrace.api_keys import Parts, is_valid, parts_of
from headrace.contracts.roles import ALL_APPS, Role, Scopes, allows
from headrace.engine.errors import PlatformUnavailable
from headrace.storage import ApiKey, KeyStore
from services.gateway.problems import Problem

KNOWN_FOR_S = 2.0
"""How long a revoked key may still open: MongoDB is not asked at each request."""

MOST_KNOWN = 10_000
"""Keys, and ids that are none: whoever tries ids out takes no more memory than this."""

USE_EVERY = timedelta(minutes=1)
"""How exactly the last use is known; a write for each request would cost more than the request."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `by` is how the audit names them."""

    id: str
    name: str
    scopes: Scopes

    @property
    def by(self) -> str:
        """The key's id, with its name for people."""
        return f"key {self.id} ({self.name})"


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


BEARER = HTTPBearer(auto_error=False, scheme_name="API key", description="`Authorization: Bearer hr_…`")

Identify = Callable[[Request, object], Awaitable[Caller]]


def requires(keys: KnownKeys, role: Role, app: str | None = None) -> Identify:
    """A dependency that answers the caller, who has `role` in the app of the path, or in `app`.

    Raises Problem 401 and 403, PlatformUnavailable.
    """

    async def identify(request: Request, _: Annotated[object, Depends(BEARER)]) -> Caller:
        found = await caller_of(keys, request)
        asked = app or str(request.path_params.get("app", ALL_APPS))
        if not allows(found.scopes, asked, role):
            where = "all apps" if asked == ALL_APPS else f"app {asked[:64]!r}"
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"key {found.id} has not the role {role} of {where}, which this takes",
            )
        return found

    return identify


async def caller_of(keys: KnownKeys, request: Request) -> Caller:
    """Whoever it is; raises Problem 401, PlatformUnavailable."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise _unauthorized("an API key is needed: Authorization: Bearer hr_…; `headrace keys create` makes one")
    found = await keys.caller(text.strip())
    if found is None:
        # Not which of these: that would tell whoever tries ids out.
        raise _unauthorized("this API key is unknown, expired or revoked")
    return found


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
