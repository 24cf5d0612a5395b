"""The collections of rows: made with images, so that a change of a row tells what it was before and is after."""

from collections.abc import Mapping
from typing import Any

from headrace.contracts.cloudevents import is_name
from headrace.storage.driver import Database
from headrace.storage.row_documents import RESERVED_APP

IMAGES = {"enabled": True}
"""Of a collection's option `changeStreamPreAndPostImages`."""

TABLE_PATTERN = rf"^(?!{RESERVED_APP}\.)[a-z0-9_-]+\.[a-z0-9_-]+$"
"""Names of collections that hold rows."""

NAMESPACE_NOT_FOUND = 26


def table_of(collection: str) -> tuple[str, str] | None:
    """The app and the table whose rows a collection holds; None where it holds none."""
    app, _, table = collection.partition(".")
    return (app, table) if is_name(app) and is_name(table) and app != RESERVED_APP else None


async def make_table(database: Database, name: str) -> None:
    """Makes a collection of rows; raises CollectionInvalid or OperationFailure where that exists or cannot be."""
    await database.create_collection(name, check_exists=False, changeStreamPreAndPostImages=IMAGES)


async def tables_without_images(database: Database, name: str | None = None) -> list[str]:
    """Collections of rows, or the one of this name, whose changes are recorded without images."""
    found = await database.list_collections(filter={"type": "collection", **({} if name is None else {"name": name})})
    return [
        str(each["name"])
        for each in await found.to_list(None)
        if table_of(str(each["name"])) is not None and not _has_images(each)
    ]


async def add_images(database: Database, name: str) -> None:
    """From now on the collection's changes are recorded with images; nothing where it is gone. Raises
    OperationFailure."""
    await database.command(
        {"collMod": name, "changeStreamPreAndPostImages": IMAGES}, allowable_errors=[NAMESPACE_NOT_FOUND]
    )


def _has_images(collection: Mapping[str, Any]) -> bool:
    return bool(collection.get("options", {}).get("changeStreamPreAndPostImages", {}).get("enabled"))
