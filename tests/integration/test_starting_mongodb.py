"""A member of a replica set that answers before it can do anything."""

import contextlib
from dataclasses import replace

import pytest
from pymongo.hello import Hello

from headrace.contracts.cloudevents import Location
from headrace.engine import Claim
from headrace.engine.errors import PlatformUnavailable
from headrace.settings import Settings
from headrace.storage import Storage

CLAIM = Claim("run", Location("events", 0, 0), Location("jobs", 0, 0), 0, 0, "owner")

pytestmark = pytest.mark.integration


async def test_connections_made_too_early_are_made_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, storage = Storage(settings), Storage(settings)
    try:
        with monkeypatch.context() as starting:
            # What a member says of sessions in the first moment after a kill, which no test can hold still.
            starting.setattr(Hello, "logical_session_timeout_minutes", None)
            await storage.heads.claim(CLAIM)
            with pytest.raises(PlatformUnavailable, match="not ready yet"):
                await storage.heads.append(CLAIM, 0, b"entry")
        for _ in range(5):
            # One that was under way is found out by the next call.
            with contextlib.suppress(PlatformUnavailable):
                await storage.heads.append(CLAIM, 0, b"entry")
        again = await storage.heads.claim(replace(CLAIM, owner="other"))
        assert (again.standing, again.journal) == ("taken_over", (b"entry",))
    finally:
        storage.close()
        beside.close()
