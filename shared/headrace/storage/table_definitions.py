"""Tables' definitions, and the rule of each collection by which MongoDB takes a row or refuses it.

MongoDB checks every write itself, in the write's own transaction: so a table holds for steps, for people and for other
programs alike, and a row is never compared with a definition that has just been replaced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from headrace.contracts.automation.fields import FieldType
from headrace.contracts.tables import Column, Table
from headrace.storage.driver import NAMESPACE_EXISTS, Database, Document, reaching_mongodb
from headrace.storage.row_documents import collection_name
from headrace.storage.tables import make_table

_MARK = "headrace: table, revision "
"""Begins the title of a rule, which says the revision of the definition that it was made of."""

_BSON: Mapping[FieldType, tuple[str, ...]] = {
    "text": ("string",),
    "number": ("int", "long", "double", "decimal"),
    "boolean": ("bool",),
    "time": ("date",),
    "array": ("array",),
    "object": ("object",),
    "any": (),
}


@dataclass(frozen=True, slots=True)
class SavedTable:
    """A definition with its revision, which counts its changes from 1."""

    table: Table
    revision: int
    by: str
    saved_at: datetime


class TableStore:
    """`tables` (`_id` = app/name), changed by compare-and-set on the revision, and the rules of collections."""

    def __init__(self, database: Database, rows: Database) -> None:
        self._tables = database["tables"]
        self._rows = rows

    async def get(self, id: str) -> SavedTable | None:
        """The table `app/name`; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._tables.find_one({"_id": id, "removed": False})
        return None if found is None else _saved(found)

    async def all(self, app: str | None = None) -> list[SavedTable]:
        """All tables, of one app or all, by id; raises PlatformUnavailable."""
        asked: Document = {"removed": False}
        if app is not None:
            # Ids are app/name, and "0" follows "/": the range is the app's, by the index on _id.
            asked["_id"] = {"$gte": f"{app}/", "$lt": f"{app}0"}
        with reaching_mongodb():
            found = await self._tables.find(asked).sort("_id", 1).to_list(None)
        return [_saved(each) for each in found]

    async def save(self, table: Table, by: str, revision: int | None = None) -> SavedTable | None:
        """Saves a definition over the one of `revision` (0: there is none; None: whichever), and makes MongoDB hold to
        it. None, and nothing is changed, if it is another by now.

        Rows that are there stay, also those that do not fit: see `misfits`. One of these may be changed without
        fitting after it. Raises PlatformUnavailable, after which the definition may be saved and not yet held to
        (`settle` does that, and so does saving again), and RowRefused for an app that can have no tables.
        """
        collection_name(table.app, table.name)
        document = table.model_dump(mode="json", exclude_defaults=True)
        written: Document = {"removed": False, "by": by, "saved_at": _now(), "document": document}
        return _saved(saved) if (saved := await self._put(table.id, written, revision)) is not None else None

    async def remove(self, id: str, by: str, revision: int | None = None) -> bool:
        """Takes a definition away: its rows stay, and any row is taken. False if it is of another revision, or gone."""
        with reaching_mongodb():
            found = await self._tables.find_one({"_id": id, "removed": False})
        if found is None:
            return False
        # It stays as a mark of the revision, which counts on if the table is defined again.
        written: Document = {"removed": True, "by": by, "saved_at": _now(), "document": None}
        return await self._put(id, written, found["revision"] if revision is None else revision) is not None

    async def settle(self) -> None:
        """Makes MongoDB hold to each definition, where a save was cut off before that. Raises PlatformUnavailable."""
        with reaching_mongodb():
            held = {each["name"]: _revision(each) for each in await (await self._rows.list_collections()).to_list(None)}
            async for found in self._tables.find({}, {"revision": 1}):
                if held.get(_collection(found["_id"])) != found["revision"]:
                    await self._hold(found["_id"])

    async def misfits(self, id: str, most: int) -> list[str]:
        """Ids of up to `most` rows that do not fit the table's definition; raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._tables.find_one({"_id": id, "removed": False})
            if found is None:
                return []
            asked = {"$nor": [{"$jsonSchema": _schema(Table.model_validate(found["document"]))}]}
            rows = self._rows[_collection(id)].find(asked, {"_id": 1}, limit=most)
            return [str(row["_id"]) for row in await rows.to_list(None)]

    async def _put(self, id: str, written: Document, revision: int | None) -> Document | None:
        with reaching_mongodb():
            while True:
                found = await self._tables.find_one({"_id": id})
                current = 0 if found is None or found["removed"] else int(found["revision"])
                if revision is not None and revision != current:
                    return None
                document = {**written, "revision": 1 if found is None else int(found["revision"]) + 1}
                if await self._compare_and_set(id, found, document):
                    await self._hold(id)
                    return {"_id": id, **document}
                if revision is not None:
                    return None

    async def _compare_and_set(self, id: str, found: Document | None, written: Document) -> bool:
        if found is None:
            try:
                await self._tables.insert_one({"_id": id, **written})
            except DuplicateKeyError:
                return False
            return True
        done = await self._tables.update_one({"_id": id, "revision": found["revision"]}, {"$set": written})
        return done.matched_count == 1

    async def _hold(self, id: str) -> None:
        """Gives the collection the rule of the definition that is there, until none has come meanwhile."""
        held = -1
        while (found := await self._tables.find_one({"_id": id})) is not None and found["revision"] != held:
            held = int(found["revision"])
            await self._give_rule(_collection(id), _rule(found))

    async def _give_rule(self, name: str, rule: Document) -> None:
        # "moderate": a row that did not fit when its table was defined may still be changed, and mended in steps.
        how: Document = {"validator": rule, "validationLevel": "moderate", "validationAction": "error"}
        try:
            await make_table(self._rows, name)
        except (CollectionInvalid, OperationFailure) as error:
            if getattr(error, "code", None) != NAMESPACE_EXISTS:
                raise
        await self._rows.command({"collMod": name, **how})


def _collection(id: str) -> str:
    app, _, name = id.partition("/")
    return collection_name(app, name)


def _rule(found: Document) -> Document:
    title = f"{_MARK}{found['revision']}"
    if found["removed"]:
        return {"$jsonSchema": {"title": title}}
    return {"$jsonSchema": {"title": title, **_schema(Table.model_validate(found["document"]))}}


def _revision(collection: Mapping[str, object]) -> int | None:
    options = cast(Document, collection.get("options") or {})
    title = str(options.get("validator", {}).get("$jsonSchema", {}).get("title", ""))
    return int(title.removeprefix(_MARK)) if title.startswith(_MARK) else None


def _schema(table: Table) -> Document:
    required = sorted(name for name, column in table.columns.items() if column.required)
    schema: Document = {"bsonType": "object", "properties": {name: _property(c) for name, c in table.columns.items()}}
    if required:
        schema["required"] = required
    if not table.open:
        # Ours: the row's id, and what tells whose step made it.
        schema["patternProperties"] = {"^_": {}}
        schema["additionalProperties"] = False
    return schema


def _property(column: Column) -> Document:
    types = _BSON[column.type]
    if not types:
        return {"not": {"bsonType": "null"}} if column.required else {}
    property: Document = {"bsonType": [*types, *(() if column.required else ("null",))]}
    if column.options:
        property["enum"] = [*column.options, *(() if column.required else (None,))]
    return property


def _saved(found: Document) -> SavedTable:
    table = Table.model_validate(found["document"])
    return SavedTable(table, int(found["revision"]), str(found["by"]), cast(datetime, found["saved_at"]))


def _now() -> datetime:
    # MongoDB keeps milliseconds: what is answered is what is read later.
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
