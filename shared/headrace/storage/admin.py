"""What starting and checking a MongoDB needs of the driver."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

_NOT_INITIATED = 94
"""Code NotYetInitialized of replSetGetConfig."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a MongoDB says of itself."""

    version: str
    replica_set: str | None
    writable: bool


def ensure_replica_set(address: str, name: str, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> None:
    """Makes the mongod at `address` the writable one-node replica set `name`, on new data or old.

    Old data name the port of an earlier start; the configuration is then forced to the present one. Raises
    TimeoutError after `timeout_s`, or as soon as the server is not `alive`.
    """
    asyncio.run(_ensure(address, name, time.monotonic() + timeout_s, alive))


def server_facts(uri: str, timeout_s: float = 5.0) -> ServerFacts:
    """Version, replica set and whether it takes writes; raises ConnectionError without the URI's secrets."""
    return asyncio.run(_facts(uri, timeout_s))


def write_to_majority(uri: str, database: str, timeout_s: float = 5.0) -> None:
    """Writes a document in a transaction that a majority confirms, and removes it; raises ConnectionError.

    The collection is `headrace_doctor`, gone afterwards.
    """
    asyncio.run(_write(uri, database, timeout_s))


async def _ensure(address: str, name: str, deadline: float, alive: Callable[[], bool]) -> None:
    last = "not asked yet"
    while alive() and time.monotonic() < deadline:
        # A client made before the initiation keeps believing that sessions are not supported.
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=1_000
        )
        try:
            if (await client.admin.command("hello")).get("isWritablePrimary"):
                return
            await _configure(client, address, name)
        except PyMongoError as error:
            last = type(error).__name__
            await asyncio.sleep(0.1)
        else:
            last = "no primary yet"
            await asyncio.sleep(0.05)
        finally:
            client.close()
    raise TimeoutError(f"did not become a writable replica set in time ({last})")


async def _configure(client: "AsyncIOMotorClient[dict[str, Any]]", address: str, name: str) -> None:
    member = {"_id": 0, "host": address}
    try:
        found = (await client.admin.command("replSetGetConfig"))["config"]
    except OperationFailure as error:
        if error.code != _NOT_INITIATED:
            raise
        await client.admin.command("replSetInitiate", {"_id": name, "members": [member]})
        return
    if found["members"][0]["host"] != address:
        found["members"] = [{**found["members"][0], "host": address}]
        found["version"] += 1
        await client.admin.command("replSetReconfig", found, force=True)


async def _facts(uri: str, timeout_s: float) -> ServerFacts:
    try:
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            uri, serverSelectionTimeoutMS=int(timeout_s * 1000)
        )
    except PyMongoError as error:  # the URI is malformed, or its DNS seed list is away
        raise ConnectionError(_words(error)) from None
    try:
        hello = await client.admin.command("hello")
        build = await client.admin.command("buildInfo")
    except PyMongoError as error:
        raise ConnectionError(_words(error)) from None
    finally:
        client.close()
    return ServerFacts(str(build["version"]), hello.get("setName"), bool(hello.get("isWritablePrimary")))


async def _write(uri: str, database: str, timeout_s: float) -> None:
    milliseconds = int(timeout_s * 1000)
    try:
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri, serverSelectionTimeoutMS=milliseconds)
    except PyMongoError as error:
        raise ConnectionError(_words(error)) from None
    collection = client[database].get_collection("headrace_doctor")
    majority = WriteConcern("majority", wtimeout=milliseconds)
    try:
        async with await client.start_session() as session, session.start_transaction(write_concern=majority):
            await collection.insert_one({"purpose": "headrace doctor writes to a majority"}, session=session)
        await collection.drop()
    except PyMongoError as error:
        raise ConnectionError(_words(error)) from None
    finally:
        client.close()


def _words(error: PyMongoError) -> str:
    """The server's own words where it spoke; the driver's may quote the URI's hosts, never its password."""
    if isinstance(error, OperationFailure):
        return f"MongoDB refuses: {str((error.details or {}).get('errmsg', type(error).__name__))[:200]}"
    return f"MongoDB does not answer ({type(error).__name__})"
