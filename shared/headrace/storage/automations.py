"""Automations: immutable versions, and one live document each, changed by compare-and-set on its revision."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import orjson
from bson import encode
from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from headrace.contracts.automation import (
    RELEASE_RATE,
    Automation,
    DocumentError,
    LiveAutomation,
    LiveState,
    awaited_types,
)
from headrace.storage.driver import NOT_BSON, Database, Document, plain, reaching_mongodb


@dataclass(frozen=True, slots=True)
class Saved:
    """What `save` left live; `changed` is False when the same document was live already."""

    live: LiveAutomation
    changed: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A version, of which the document is known by asking for it."""

    version: int
    by: str
    saved_at: datetime


class RevisionChanged(Exception):
    """The live document is another than its changer has seen; the message says which."""


class AutomationStore:
    """`automation_versions` (`_id` = app/name@version, never changed) and `automations` (`_id` = app/name)."""

    def __init__(self, database: Database) -> None:
        self._versions = database["automation_versions"]
        self._live = database["automations"]

    async def prepare(self) -> None:
        """Makes the index that `save` finds an automation's newest version by."""
        await self._versions.create_index([("automation", 1), ("version", DESCENDING)])

    async def save(self, automation: Automation, by: str, revision: int | None = None) -> Saved:
        """Makes `automation` the live version; the same document again changes nothing.

        Where `revision` is given it must be the live one's, 0 where there is none: else raises RevisionChanged.

        It is enabled, unless a person has paused or disabled it: then it stays so, whoever applies.

        A crash between its two writes leaves an unused version, which the next save of that document takes up. Raises
        PlatformUnavailable, and DocumentError for a document that MongoDB cannot hold.
        """
        document = automation.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        try:
            encode(document)
        except NOT_BSON as error:
            raise DocumentError(f"the document cannot be stored as BSON ({type(error).__name__})") from None
        with reaching_mongodb():
            while True:
                found = await self._live.find_one({"_id": automation.id})
                _refuse_other(automation.id, found, revision)
                # What earlier versions waited for stays: their runs may still be under way.
                awaits = sorted({*(found or {}).get("awaits", ()), *awaited_types(automation)})
                kept = _kept(found)
                is_same = found is not None and _same(found["document"], document) and found["state"] == kept["state"]
                if found is not None and is_same and found.get("awaits", []) == awaits:
                    return Saved(_live(found), changed=False)
                version = await self._version(automation.id, document, by)
                revision = found["revision"] + 1 if found else 1
                written: Document = {
                    "revision": revision,
                    "version": version,
                    "by": by,
                    **kept,
                    "release_rate": RELEASE_RATE if found is None else found.get("release_rate", RELEASE_RATE),
                    "awaits": awaits,
                }
                written["document"] = document
                if await self._compare_and_set(automation.id, found, written):
                    return Saved(_live({"_id": automation.id, **written}), changed=True)

    async def change_state(
        self, live: LiveAutomation, state: LiveState, reason: str, by: str, *, release_rate: float | None = None
    ) -> LiveAutomation | None:
        """Puts the automation into `state`; None, and nothing is changed, if it is no longer as in `live`. What still
        waits goes on at the rate that it had, unless another is given. Raises PlatformUnavailable."""
        rate = live.release_rate if release_rate is None else release_rate
        changes: Document = {"revision": live.revision + 1, "state": state, "reason": reason, "by": by}
        changes["release_rate"] = rate
        with reaching_mongodb():
            found = {"revision": live.revision}
            is_changed = await self._compare_and_set(live.document.id, found, changes)
        return live.model_copy(update=changes) if is_changed else None

    async def version(self, automation_id: str, version: int) -> Automation | None:
        """A version, whether live or not; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._versions.find_one({"_id": _version_id(automation_id, version)})
        return None if found is None else Automation.model_validate(plain(found["document"]))

    async def versions(self, automation_id: str, limit: int, before: int | None = None) -> list[Version]:
        """The newest versions, at most `limit`, those below `before`; raises PlatformUnavailable."""
        asked: Document = {"automation": automation_id}
        if before is not None:
            asked["version"] = {"$lt": before}
        shown = {"version": 1, "by": 1, "saved_at": 1}
        with reaching_mongodb():
            found = await self._versions.find(asked, shown).sort("version", DESCENDING).limit(limit).to_list(None)
        return [Version(int(each["version"]), str(each["by"]), each["saved_at"]) for each in found]

    async def live(self, automation_id: str) -> LiveAutomation | None:
        """The live version and state; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._live.find_one({"_id": automation_id})
        return None if found is None else _live(found)

    async def all(self, app: str | None = None) -> list[LiveAutomation]:
        """All live automations, of one app or all, by id; raises PlatformUnavailable."""
        # Ids are app/name, and "0" follows "/": the range is the app's, by the index on _id.
        asked: Document = {} if app is None else {"_id": {"$gte": f"{app}/", "$lt": f"{app}0"}}
        with reaching_mongodb():
            found = await self._live.find(asked).sort("_id", 1).to_list(None)
        return [_live(each) for each in found]

    async def _version(self, automation_id: str, document: Document, by: str) -> int:
        """The number under which `document` is saved: the newest version's if it is the same, else a new one."""
        while True:
            newest = await self._versions.find_one({"automation": automation_id}, sort=[("version", -1)])
            if newest and _same(newest["document"], document):
                return int(newest["version"])
            version = int(newest["version"]) + 1 if newest else 1
            try:
                await self._versions.insert_one(
                    {
                        "_id": _version_id(automation_id, version),
                        "automation": automation_id,
                        "version": version,
                        "document": document,
                        "by": by,
                        "saved_at": datetime.now(UTC),
                    }
                )
            except DuplicateKeyError:
                continue  # another save took the number; look again
            return version

    async def _compare_and_set(self, automation_id: str, found: Document | None, written: Document) -> bool:
        if found is None:
            try:
                await self._live.insert_one({"_id": automation_id, **written})
            except DuplicateKeyError:
                return False
            return True
        result = await self._live.update_one({"_id": automation_id, "revision": found["revision"]}, {"$set": written})
        return result.matched_count == 1


def _refuse_other(automation_id: str, found: Document | None, revision: int | None) -> None:
    live = 0 if found is None else int(found["revision"])
    if revision not in (None, live):
        raise RevisionChanged(f"{automation_id} has revision {live} by now, not {revision}: read it, and change that")


_KEPT_STATES: tuple[LiveState, ...] = ("paused", "disabled")


def _kept(found: Document | None) -> Document:
    """What of the live document another version leaves as it is, and its state."""
    if found is None or found["state"] not in _KEPT_STATES:
        return {"state": "enabled", "reason": ""}
    return {name: found[name] for name in ("state", "reason", "by")}


def _version_id(automation_id: str, version: int) -> str:
    return f"{automation_id}@{version}"


def _same(stored: Document, document: Document) -> bool:
    """Compared as JSON: to Python `true`, 1 and 1.0 are equal, to a template they are not."""
    first, second = (orjson.dumps(each, option=orjson.OPT_SORT_KEYS) for each in (plain(stored), document))
    return first == second


def _live(found: Document) -> LiveAutomation:
    return LiveAutomation(
        format=1,
        revision=int(found["revision"]),
        version=int(found["version"]),
        state=cast(LiveState, found["state"]),
        reason=str(found["reason"]),
        by=str(found["by"]),
        release_rate=float(found.get("release_rate", RELEASE_RATE)),
        awaits=tuple(found.get("awaits", ())),
        document=Automation.model_validate(plain(found["document"])),
    )
