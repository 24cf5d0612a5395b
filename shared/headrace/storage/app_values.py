"""What apps keep here: secrets and environment variables, sealed. This folder never sees one in clear."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from headrace.keyring import Place, Sealed
from headrace.storage.driver import Database, Document, plain, reaching_mongodb

Kind = Literal["secret", "environment"]


@dataclass(frozen=True, slots=True)
class Former:
    """What a value was until `until`: runs that read it may go on, and must not show it."""

    sealed: Sealed
    until: datetime


@dataclass(frozen=True, slots=True)
class AppValue:
    """A value as it is stored; `sealed` None: it was deleted. `revision` is another after every change, also of the key
    alone; "" where it has never been stored."""

    place: Place
    sealed: Sealed | None
    former: tuple[Former, ...]
    revision: str
    by: str
    at: datetime

    @property
    def id(self) -> str:
        """As the collection has it."""
        return _id(self.place)

    @property
    def keys(self) -> frozenset[str]:
        """The ids of all keys with which anything of it is sealed."""
        own = () if self.sealed is None else (self.sealed.key,)
        return frozenset((*own, *(each.sealed.key for each in self.former)))


class AppValueStore:
    """Collection `app_values`: `_id` = app/kind/name."""

    def __init__(self, database: Database) -> None:
        self._values = database["app_values"]

    async def get(self, place: Place) -> AppValue | None:
        """What is stored there, deleted or not; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._values.find_one({"_id": _id(place)})
        return None if found is None else _value(found)

    async def of_app(self, app: str, kind: Kind) -> list[AppValue]:
        """Those of an app that are not deleted, by name; raises PlatformUnavailable."""
        wanted = {"app": app, "kind": kind, "sealed": {"$ne": None}}
        with reaching_mongodb():
            found = await self._values.find(wanted).sort("name").to_list(None)
        return [_value(each) for each in found]

    async def revisions(self) -> dict[str, str]:
        """The revision of each id; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._values.find({}, {"revision": 1}).to_list(None)
        return {str(each["_id"]): str(each["revision"]) for each in found}

    async def find(self, ids: Sequence[str]) -> list[AppValue]:
        """Those of `ids` that are there; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._values.find({"_id": {"$in": list(ids)}}).to_list(None)
        return [_value(each) for each in found]

    async def keys(self) -> set[str]:
        """The ids of all keys with which anything is sealed; raises PlatformUnavailable."""
        with reaching_mongodb():
            current = await self._values.distinct("sealed.key")
            former = await self._values.distinct("former.sealed.key")
        return {str(each) for each in (*current, *former) if each is not None}

    async def not_of(self, key: str, most: int) -> list[AppValue]:
        """Up to `most` values of which a part is sealed with another key; raises PlatformUnavailable."""
        other = {"$nin": [key, None]}
        wanted = {"$or": [{"sealed.key": other}, {"former": {"$elemMatch": {"sealed.key": {"$ne": key}}}}]}
        with reaching_mongodb():
            found = await self._values.find(wanted).limit(most).to_list(None)
        return [_value(each) for each in found]

    async def put(self, value: AppValue) -> bool:
        """Stores it over the one of `value.revision`, under a new revision; False if that is no longer the stored one.
        Raises PlatformUnavailable."""
        document = _document(value)
        with reaching_mongodb():
            if value.revision:
                known = {"_id": value.id, "revision": value.revision}
                return (await self._values.replace_one(known, document)).matched_count == 1
            try:
                await self._values.insert_one(document)
            except DuplicateKeyError:
                return False
        return True


def _id(place: Place) -> str:
    return "/".join((place.app, place.kind, place.name))


def _sealed(sealed: Sealed) -> Document:
    return {"key": sealed.key, "data": sealed.data}


def _document(value: AppValue) -> Document:
    return {
        "_id": value.id,
        **value.place._asdict(),
        "sealed": None if value.sealed is None else _sealed(value.sealed),
        "former": [{"sealed": _sealed(each.sealed), "until": each.until} for each in value.former],
        "revision": uuid4().hex,
        "by": value.by,
        "at": value.at,
    }


def _read(found: dict[str, Any]) -> Sealed:
    return Sealed(str(found["key"]), bytes(found["data"]))


def _value(document: Document) -> AppValue:
    found = cast("dict[str, Any]", plain(document))
    return AppValue(
        Place(found["app"], found["kind"], found["name"]),
        None if found["sealed"] is None else _read(found["sealed"]),
        tuple(Former(_read(each["sealed"]), each["until"]) for each in found["former"]),
        found["revision"],
        found["by"],
        found["at"],
    )
