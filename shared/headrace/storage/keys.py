"""API keys: what is needed to recognise one, never the key itself."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from pymongo import ASCENDING

from headrace.contracts.roles import Role
from headrace.storage.driver import Database, Document, plain, reaching_mongodb


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored. `id` is its public part, by which people name it; `digest` the SHA-256 of its secret part.

    Times are aware; `expires_at` None: never. `used_at` is right to the minute.
    """

    id: str
    digest: bytes = field(repr=False)
    name: str
    scopes: dict[str, Role]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    used_at: datetime | None = None


class KeyStore:
    """Collection `api_keys`: `_id` = the key's id. A revoked key stays, so that the audit's ids mean something."""

    def __init__(self, database: Database) -> None:
        self._keys = database["api_keys"]

    async def add(self, key: ApiKey) -> None:
        """Stores a new key; raises PlatformUnavailable."""
        with reaching_mongodb():
            await self._keys.insert_one(_document(key))

    async def get(self, id: str) -> ApiKey | None:
        """The key, revoked or not; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._keys.find_one({"_id": id})
        return None if found is None else _key(found)

    async def all(self) -> list[ApiKey]:
        """All keys, the oldest first; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._keys.find().sort([("created_at", ASCENDING), ("_id", ASCENDING)]).to_list(None)
        return [_key(each) for each in found]

    async def revoke(self, id: str, by: str, at: datetime) -> bool:
        """Ends a key; False if it is not there, or is revoked already. Raises PlatformUnavailable."""
        change = {"$set": {"revoked_at": at, "revoked_by": by}}
        with reaching_mongodb():
            changed = await self._keys.update_one({"_id": id, "revoked_at": None}, change)
        return changed.matched_count == 1

    async def touch(self, id: str, at: datetime) -> None:
        """Notes a use; raises PlatformUnavailable."""
        with reaching_mongodb():
            await self._keys.update_one({"_id": id}, {"$max": {"used_at": at}})


def _document(key: ApiKey) -> Document:
    return {
        "_id": key.id,
        "digest": key.digest,
        "name": key.name,
        # As pairs: a name of a field may not be `*` everywhere.
        "scopes": [{"app": app, "role": role} for app, role in key.scopes.items()],
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "used_at": key.used_at,
    }


def _key(document: Document) -> ApiKey:
    found = cast("dict[str, Any]", plain(document))
    scopes: dict[str, Role] = {str(each["app"]): cast(Role, each["role"]) for each in found.pop("scopes")}
    return ApiKey(id=found.pop("_id"), digest=bytes(found.pop("digest")), scopes=scopes, **found)
